//! What operators have done: a line of the log, whatever is logged else, and a row of the ledger of the
//! database that it was done to.

use upshift_shared::{
    Result,
    ids::RunId,
    ledger::audit::{self, Entry},
    pg::PgConnection,
};

use crate::server::Identity;

/// An operator's action.
pub(super) struct Action<'a> {
    pub(super) by: &'a Identity,
    pub(super) verb: &'static str,
    pub(super) run: Option<RunId>,
    /// More of it: a checkpoint, a reason.
    pub(super) detail: String,
}

impl Action<'_> {
    /// Logs it with what came of it.
    pub(super) fn log<T, E: std::fmt::Display>(&self, outcome: &Result<T, E>) {
        let line = serde_json::json!({
            "audit": self.verb,
            "by": self.by.name,
            "run": self.run,
            "detail": self.detail,
            "granted": outcome.is_ok(),
            "refusal": outcome.as_ref().err().map(ToString::to_string),
        });
        // Not by way of UPSHIFT_LOG, which may be off.
        eprintln!("{line}");
    }

    /// Writes it into the ledger of the run's database.
    pub(super) async fn record(&self, conn: &mut PgConnection) -> Result<()> {
        let Some(run) = self.run else {
            return Ok(());
        };
        let entry = Entry {
            by: self.by.name.clone(),
            verb: self.verb.to_owned(),
            detail: self.detail.clone(),
        };
        audit::insert(conn, run, &entry).await
    }
}
