//! What operators of a cluster have done to a run, and who they were.

use sqlx::PgConnection;

use crate::{Error, Result, ids::RunId};

/// One action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who, by certificate or token.
    pub by: String,
    /// What: `submit`, `pause`, `resume`, `rollback`, `commit`; of fleets, `retry` too.
    pub verb: String,
    /// More of it: a checkpoint, a reason.
    pub detail: String,
}

const INSERT: &str = "-- what an operator has done
INSERT INTO upshift.audit (run, by, verb, detail) VALUES ($1::uuid, $2, $3, $4)";

const INSERT_ONCE: &str = "-- what an operator has done, once
INSERT INTO upshift.audit (run, by, verb, detail)
SELECT $1::uuid, $2, $3, $4
WHERE NOT EXISTS (
    SELECT FROM upshift.audit WHERE run = $1::uuid AND by = $2 AND verb = $3 AND detail = $4)";

/// Writes an action.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn insert(conn: &mut PgConnection, run: RunId, entry: &Entry) -> Result<()> {
    write(conn, INSERT, run, entry).await
}

/// Writes an action, unless it is there: whoever goes on after a crash does not know.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn insert_once(conn: &mut PgConnection, run: RunId, entry: &Entry) -> Result<()> {
    write(conn, INSERT_ONCE, run, entry).await
}

async fn write(
    conn: &mut PgConnection,
    statement: &'static str,
    run: RunId,
    entry: &Entry,
) -> Result<()> {
    sqlx::query(statement)
        .bind(run.to_string())
        .bind(&entry.by)
        .bind(&entry.verb)
        .bind(&entry.detail)
        .execute(conn)
        .await
        .map_err(Error::database("recording what an operator has done"))?;
    Ok(())
}
