//! What operators of a cluster have done to a run, and who they were.

use sqlx::PgConnection;

use crate::{Error, Result, ids::RunId};

/// One action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who, by certificate or token.
    pub by: String,
    /// What: `submit`, `pause`, `resume`, `rollback`, `commit`.
    pub verb: String,
    /// More of it: a checkpoint, a reason.
    pub detail: String,
}

/// Writes an action.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn insert(conn: &mut PgConnection, run: RunId, entry: &Entry) -> Result<()> {
    sqlx::query(
        "-- what an operator has done
        INSERT INTO upshift.audit (run, by, verb, detail) VALUES ($1::uuid, $2, $3, $4)",
    )
    .bind(run.to_string())
    .bind(&entry.by)
    .bind(&entry.verb)
    .bind(&entry.detail)
    .execute(conn)
    .await
    .map_err(Error::database("recording what an operator has done"))?;
    Ok(())
}
