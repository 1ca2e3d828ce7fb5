//! Why a unit failed, and what can be done about it.

use std::time::Duration;

use serde_json::Value;
use upshift_shared::{Error, Retry};

use super::{Direction, UnitContext};

/// So many attempts may fail because a name is another one now.
const NAMES_CHANGE: u32 = 4;

/// What can be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// Serialisation, deadlock: again at once.
    Now,
    /// Locks, connections, a cancel: again after a pause.
    Later,
    /// The statement timeout: split the unit.
    TimedOut,
    /// An operator must mend something first.
    Operator,
    /// Never again as it is.
    Never,
    /// The run is somebody else's.
    Fenced,
}

/// Why a unit failed. The message names the place in the pack and holds no values of rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UnitError {
    /// What can be done about it.
    pub class: FailureClass,
    /// What happened.
    pub message: String,
    /// SQLSTATE, where PostgreSQL reported one.
    pub sqlstate: Option<String>,
}

impl UnitError {
    pub(crate) fn new(error: &Error, unit: &UnitContext<'_>, elapsed: Duration) -> Self {
        let message = match unit.task.sources.first() {
            Some(source) => format!("{source}: {}", described(error, &[])),
            None => described(error, &[]),
        };
        Self {
            class: class(error, unit, elapsed),
            message,
            sqlstate: error.sqlstate(),
        }
    }

    /// Something that went wrong before the unit's transaction began.
    pub(crate) fn before(error: &Error) -> Self {
        let class = match error.retry() {
            Retry::Now => FailureClass::Now,
            Retry::Later => FailureClass::Later,
            Retry::Operator => FailureClass::Operator,
            Retry::Never => FailureClass::Never,
        };
        Self {
            class,
            message: described(error, &[]),
            sqlstate: error.sqlstate(),
        }
    }
}

fn class(error: &Error, unit: &UnitContext<'_>, elapsed: Duration) -> FailureClass {
    if matches!(error, Error::Fenced { .. }) {
        return FailureClass::Fenced;
    }
    if error.sqlstate().as_deref() == Some("57014") {
        // The message would tell a timeout from a cancel, but in the server's language.
        let timeout = unit.timeouts.statement;
        let timed_out = !timeout.is_zero() && elapsed >= timeout && !unit.cancel.is_cancelled();
        return if timed_out {
            FailureClass::TimedOut
        } else {
            FailureClass::Later
        };
    }
    // While rows are put back, another task may take a name back that the catalog gave a moment before.
    let renamed = matches!(
        error.sqlstate().as_deref(),
        Some("42P01" | "42703" | "3F000")
    );
    if unit.direction == Direction::Undo && renamed && unit.attempt <= NAMES_CHANGE {
        return FailureClass::Later;
    }
    UnitError::before(error).class
}

/// The message without values. Data exceptions (SQLSTATE class 22) quote them: `invalid input syntax for
/// type integer: "…"`, `value "…" is out of range`. They are left out, as DETAIL is. What triggers and
/// functions raise may hold any value: those of the rows that it is about are left out.
pub(super) fn described(error: &Error, rows: &[&Value]) -> String {
    let Error::Database {
        context,
        source: sqlx::Error::Database(source),
    } = error
    else {
        return error.to_string();
    };
    let code = source.code().unwrap_or_default();
    let mut message = source.message().to_owned();
    if code.starts_with("22")
        && let Some(at) = message.find(": \"")
    {
        message.truncate(at);
        message.push_str(" (the value is not shown)");
    } else if code.starts_with("22") {
        let quoted: Vec<&str> = message.split('"').collect();
        let parts = quoted.iter().enumerate();
        message = parts
            .map(|(n, part)| if n % 2 == 1 { "\"…\"" } else { part })
            .collect();
    } else if code.starts_with("P0") {
        message = masked(message, rows);
    }
    let mut place = String::new();
    let details = source.try_downcast_ref::<sqlx::postgres::PgDatabaseError>();
    if let Some(table) = details.and_then(|details| details.table())
        && !message.contains(table)
    {
        place = format!(" (table {table})");
    }
    format!("{context}: {message}{place} (SQLSTATE {code})")
}

/// A message in which no value of these rows (JSON objects) stands by itself.
fn masked(message: String, rows: &[&Value]) -> String {
    let mut values: Vec<String> = rows
        .iter()
        .filter_map(|row| row.as_object())
        .flat_map(|row| row.values())
        .filter_map(|value| match value {
            Value::String(text) => Some(text.trim().to_owned()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
        .filter(|value| !value.is_empty())
        .collect();
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    values.dedup();
    let part_of_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    values.iter().fold(message, |message, value| {
        let mut masked = String::with_capacity(message.len());
        let mut rest = message.as_str();
        while let Some(at) = rest.find(value.as_str()) {
            let (before, behind) = (&rest[..at], &rest[at + value.len()..]);
            let before_it = before.chars().next_back().or(masked.chars().next_back());
            let alone = !part_of_word(before_it) && !part_of_word(behind.chars().next());
            masked.push_str(before);
            masked.push_str(if alone { "…" } else { value });
            rest = behind;
        }
        masked.push_str(rest);
        masked
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_rows_are_masked_where_they_stand_alone() {
        let row = serde_json::json!({"id": 7, "name": "Ann B", "note": null, "code": "x"});
        let message = "row 7 of t77: \"Ann B\" has x in max".to_owned();
        assert_eq!(masked(message, &[&row]), "row … of t77: \"…\" has … in max");
    }
}
