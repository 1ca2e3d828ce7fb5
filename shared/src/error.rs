//! The error of this crate: what went wrong, on what, and whether trying again can help.

use serde::{Deserialize, Serialize};

use crate::pack::Complaint;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whether, and by whom, an operation that failed can be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// At once: the failure is a race that the same attempt is likely to win next time.
    Now,
    /// After a pause: a lock, a connection, a restart.
    Later,
    /// Once an operator has changed something: a privilege, disk space, bad data.
    Operator,
    /// Never: the request itself is wrong.
    Never,
}

/// What can go wrong below the coordinator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One or more complaints about a pack, each with file, line and column.
    #[error("{}", Complaint::render_all(.0))]
    Pack(Vec<Complaint>),
    /// Configuration, connection string or command line.
    #[error("{0}")]
    Config(String),
    /// The database said no. `context` says what was being done, on which object.
    #[error("{context}: {}", describe_sqlx(.source))]
    Database {
        /// What was being done.
        context: String,
        /// What the driver reported.
        source: sqlx::Error,
    },
    /// The ledger or a stored plan was written by a newer or incompatible version.
    #[error("{0}")]
    Format(String),
    /// A request that the state of the run or database does not allow.
    #[error("{0}")]
    Refused(String),
    /// The epoch was raised: somebody else drives this run now.
    #[error("this run was taken over: epoch {held} is older than {current}")]
    Fenced {
        /// The epoch that this process holds.
        held: i64,
        /// The epoch that the ledger holds.
        current: i64,
    },
    /// Another coordinator leads the cluster: it is to be asked.
    #[error("this coordinator no longer leads: ask the one that does")]
    NotLeading,
    /// A function of ours cannot change a value. The key belongs only in reports that ask for it.
    #[error("{what}: a row cannot be changed: {why}; {advice}")]
    BadValue {
        /// The operation and its place.
        what: String,
        /// Column and value of the row's key.
        key: Vec<(String, String)>,
        /// What the function says, without the value.
        why: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// Files and sockets.
    #[error("{context}: {source}")]
    Io {
        /// What was being done.
        context: String,
        /// What the system reported.
        source: std::io::Error,
    },
}

impl Error {
    /// Wraps a driver error with what was being done.
    pub fn database(context: impl Into<String>) -> impl FnOnce(sqlx::Error) -> Self {
        let context = context.into();
        move |source| Self::Database { context, source }
    }

    /// The SQLSTATE, where the server reported one.
    #[must_use]
    pub fn sqlstate(&self) -> Option<String> {
        match self {
            Self::Database {
                source: sqlx::Error::Database(e),
                ..
            } => e.code().map(|code| code.into_owned()),
            _ => None,
        }
    }

    /// Whether trying again can help. SQLSTATE classes are those of PostgreSQL's documentation,
    /// appendix A.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Database { source, .. } => match source {
                sqlx::Error::Database(_) => retry_of_sqlstate(self.sqlstate().as_deref()),
                sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Protocol(_) => {
                    Retry::Later
                }
                _ => Retry::Never,
            },
            Self::Io { .. } => Retry::Later,
            Self::Refused(_) | Self::BadValue { .. } => Retry::Operator,
            Self::Pack(_)
            | Self::Config(_)
            | Self::Format(_)
            | Self::Fenced { .. }
            | Self::NotLeading => Retry::Never,
        }
    }
}

/// Classifies a SQLSTATE: serialisation failures and deadlocks at once, locks and connections
/// later, resources and privileges by an operator, everything else never.
#[must_use]
pub fn retry_of_sqlstate(sqlstate: Option<&str>) -> Retry {
    match sqlstate {
        Some("40001" | "40P01") => Retry::Now,
        // lock_not_available, object_in_use, query_canceled (a timeout or an operator's cancel),
        // admin_shutdown, crash_shutdown, cannot_connect_now, too_many_connections
        Some("55P03" | "55006" | "57014" | "57P01" | "57P02" | "57P03" | "53300") => Retry::Later,
        Some(code) if code.starts_with("08") => Retry::Later,
        Some(code) if code.starts_with("53") || code == "42501" => Retry::Operator,
        _ => Retry::Never,
    }
}

/// The server's message without DETAIL: DETAIL may carry values of the user's rows, which belong
/// only in reports that ask for them.
fn describe_sqlx(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(e) => match e.code() {
            Some(code) => format!("{} (SQLSTATE {code})", e.message()),
            None => e.message().to_owned(),
        },
        other => other.to_string(),
    }
}
