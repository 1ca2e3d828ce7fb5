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

impl FailureClass {
    /// In one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Later => "later",
            Self::TimedOut => "timed_out",
            Self::Operator => "operator",
            Self::Never => "never",
            Self::Fenced => "fenced",
        }
    }
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
/// functions raise may hold any value: those of `rows` are left out, and where it is not known of which
/// rows it speaks, all that it says. The ledger keeps it, so that it is the same for whoever asked for
/// values: to him rows are shown beside it.
pub(super) fn described(error: &Error, rows: &[&Value]) -> String {
    let Error::Database {
        context,
        source: sqlx::Error::Database(source),
    } = error
    else {
        return error.to_string();
    };
    let details = source.try_downcast_ref::<sqlx::postgres::PgDatabaseError>();
    let said = Said {
        code: &source.code().unwrap_or_default(),
        routine: details.and_then(|details| details.routine()),
        message: source.message(),
    };
    let message = said.without_values(rows);
    let mut place = String::new();
    if let Some(table) = details.and_then(|details| details.table())
        && !message.contains(table)
    {
        place = format!(" (table {table})");
    }
    format!("{context}: {message}{place} (SQLSTATE {})", said.code)
}

/// What the server said.
struct Said<'a> {
    code: &'a str,
    /// The C function of the server that reported it.
    routine: Option<&'a str>,
    message: &'a str,
}

impl Said<'_> {
    fn without_values(&self, rows: &[&Value]) -> String {
        if self.is_raised() {
            return match rows {
                [] => "what a function or block raises may hold values, and is not shown: the server's log \
                       has it"
                    .to_owned(),
                rows => masked(self.message.to_owned(), rows),
            };
        }
        if !self.code.starts_with("22") {
            return self.message.to_owned();
        }
        // `invalid byte sequence for encoding "UTF8": 0xe2 0x82`: these are bytes of the value.
        if matches!(self.code, "22021" | "22P05") {
            return "a value has a character that an encoding does not have (it is not shown)"
                .to_owned();
        }
        if let Some(at) = self.message.find(": \"") {
            return format!("{} (the value is not shown)", &self.message[..at]);
        }
        // A value may have quotes itself.
        if let Some((before, rest)) = self.message.split_once('"') {
            let behind = rest.rsplit_once('"').map_or("", |(_, behind)| behind);
            return format!("{before}\"…\"{behind}");
        }
        // The server speaks the language of its lc_messages, some of which quote otherwise: »…«, „…“.
        // In English, what is not between quotes is no value.
        if !self.message.is_ascii() {
            return "a value is refused (the server's message may hold it, and is not shown)"
                .to_owned();
        }
        self.message.to_owned()
    }

    /// Whether it is the text of an author, whatever SQLSTATE he gave it: RAISE and ASSERT of PL/pgSQL
    /// (`exec_stmt_raise`, `exec_stmt_assert` in `pl_exec.c`), errors of other languages.
    fn is_raised(&self) -> bool {
        let languages = [
            "exec_stmt_raise",
            "exec_stmt_assert",
            "PLy_",
            "plperl_",
            "pltcl_",
        ];
        self.code.starts_with("P0")
            || self
                .routine
                .is_some_and(|routine| languages.iter().any(|l| routine.starts_with(l)))
    }
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

    const RAISE: Option<&str> = Some("exec_stmt_raise");

    /// SQLSTATE, routine and text of the server, whether the row is known, and how the text begins then.
    const SAID: &[(&str, Option<&str>, &str, bool, &str)] = &[
        ("P0001", RAISE, "bad Z3", true, "bad …"),
        ("23514", RAISE, "bad Z3", true, "bad …"),
        ("22023", RAISE, "bad Z3", true, "bad …"),
        ("XX001", Some("PLy_elog_impl"), "bad Z3", true, "bad …"),
        ("P0001", RAISE, "bad Z3", false, "what a function"),
        ("23514", RAISE, "bad Z3", false, "what a function"),
        ("42501", RAISE, "bad Z3", false, "what a function"),
        (
            "P0003",
            Some("exec_stmt_execsql"),
            "query returned Z3",
            false,
            "what a function",
        ),
        (
            "22P02",
            Some("pg_strtoint32_safe"),
            "invalid integer: \"Z3\"",
            false,
            "invalid integer",
        ),
        (
            "22003",
            None,
            "value \"Z3\" is out of range",
            false,
            "value \"…\" is out of range",
        ),
        (
            "22003",
            None,
            "value \"a\"Z3\" is out of range",
            false,
            "value \"…\" is out of range",
        ),
        (
            "22P02",
            None,
            "ungültige Eingabe: »Z3«",
            false,
            "a value is refused",
        ),
        (
            "22P02",
            None,
            "неверное значение „Z3“",
            false,
            "a value is refused",
        ),
        (
            "22021",
            None,
            "invalid byte sequence for encoding \"UTF8\": Z3",
            false,
            "a value has a character",
        ),
        (
            "22012",
            Some("int4div"),
            "division by zero",
            false,
            "division by zero",
        ),
        (
            "22001",
            None,
            "too long for varchar(5)",
            false,
            "too long for varchar(5)",
        ),
        (
            "23505",
            None,
            "duplicate key: \"t_pkey\"",
            false,
            "duplicate key: \"t_pkey\"",
        ),
    ];

    /// The value `Z3` cannot be told from the text.
    #[test]
    fn no_value_is_shown_whoever_says_it_in_whatever_language() {
        let row = serde_json::json!({"id": 7, "name": "Z3"});
        for (code, routine, message, rows, expected) in SAID {
            let (routine, rows) = (*routine, *rows);
            let said = Said {
                code,
                routine,
                message,
            };
            let rows: &[&Value] = if rows { &[&row] } else { &[] };
            let text = said.without_values(rows);
            assert!(!text.contains("Z3"), "{code} {message}: {text}");
            assert!(text.starts_with(*expected), "{code} {message}: {text}");
        }
    }
}
