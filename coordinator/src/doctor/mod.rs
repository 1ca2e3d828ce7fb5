//! What would get in a run's way: the server, the role's rights, other sessions, replication, space.
//! Read only but for [`measure`], and nothing here needs more than an ordinary role; what such a role cannot see is said.

mod activity;
mod groups;
mod measure;
mod rights;
mod server;
mod snapshots;

use std::fmt;

pub use measure::measure;
use serde::Serialize;
use upshift_shared::{
    Error,
    config::SnapshotSettings,
    ledger,
    pg::{PgConnection, Target},
    plan::Rates,
};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Fine.
    Ok,
    /// A run would work, but see.
    Warn,
    /// A run would fail.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do; empty where nothing is to be done.
    pub advice: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => "ok     ",
            Level::Warn => "warn   ",
            Level::Problem => "problem",
        };
        write!(f, "{level}  {}: {}", self.check, self.found)?;
        if self.advice.is_empty() {
            Ok(())
        } else {
            write!(f, "\n         → {}", self.advice)
        }
    }
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Level::Ok, found, "")
    }

    fn warn(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(check, Level::Warn, found, advice)
    }

    fn problem(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(check, Level::Problem, found, advice)
    }

    fn new(
        check: &'static str,
        level: Level,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            check,
            level,
            found: found.into(),
            advice: advice.into(),
        }
    }

    /// What a hosted server does not show to ordinary roles is no failure of the others.
    fn hidden(check: &'static str, error: &sqlx::Error) -> Self {
        let error = Error::Database {
            context: "this server does not tell".to_owned(),
            source: match error {
                sqlx::Error::Database(_) => sqlx::Error::Protocol(error.to_string()),
                other => sqlx::Error::Protocol(other.to_string()),
            },
        };
        Self::warn(check, error.to_string(), "ask whoever runs the server")
    }
}

/// What work costs on this server, or is taken to cost.
async fn costs(conn: &mut PgConnection) -> Finding {
    let check = "what work costs";
    let micros = |rates: &Rates| {
        let parts = [
            ("copied", rates.copied),
            ("indexed", rates.indexed),
            ("validated", rates.validated),
            ("changed in place", rates.in_place),
            ("for each index of a row in place", rates.entry),
        ];
        let parts = parts.map(|(what, seconds)| format!("{:.2} µs {what}", seconds * 1e6));
        format!("a row: {}", parts.join(", "))
    };
    match ledger::rates::load(conn).await {
        Ok(Some((rates, day))) => {
            Finding::ok(check, format!("measured on {day}; {}", micros(&rates)))
        }
        Ok(None) => Finding::new(
            check,
            Level::Ok,
            format!(
                "figures of an ordinary server; {}",
                micros(&Rates::default())
            ),
            "upshift doctor --measure finds those of this one; plans choose by them",
        ),
        Err(error) => Finding::warn(check, error.to_string(), "plans choose by ordinary figures"),
    }
}

/// Looks at everything.
pub async fn examine(
    conn: &mut PgConnection,
    target: &Target,
    settings: &SnapshotSettings,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(server::version(conn).await);
    findings.push(server::encryption(conn).await);
    findings.extend(server::settings(conn).await);
    findings.push(server::connections(conn).await);
    findings.push(groups::examine(conn).await);
    findings.extend(rights::examine(conn).await);
    findings.extend(activity::examine(conn).await);
    findings.push(server::space(conn).await);
    findings.extend(snapshots::examine(conn, target, settings).await);
    findings.push(costs(conn).await);
    findings
}

/// The result of a check, or that the server does not tell.
fn or_hidden(check: &'static str, found: sqlx::Result<Finding>) -> Finding {
    found.unwrap_or_else(|error| Finding::hidden(check, &error))
}
