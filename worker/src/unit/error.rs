//! Why a unit failed, and what can be done about it.

use std::time::Duration;

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
            Some(source) => format!("{source}: {}", describe(error)),
            None => describe(error),
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
            message: describe(error),
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

/// Data exceptions (SQLSTATE class 22) quote the value at the end of the message, behind a colon:
/// `invalid input syntax for type integer: "…"`. It is left out, as DETAIL is.
fn describe(error: &Error) -> String {
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
