//! Inverse DDL as it was found when a unit ran; executed from the highest number down.

use sqlx::{PgConnection, Row};

use super::signed;
use crate::{
    Error, Result,
    ids::{RunId, TaskId},
};

/// Records statements, numbered in the order given, in the transaction of the work.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn insert(
    tx: &mut PgConnection,
    run: RunId,
    task: TaskId,
    statements: &[String],
) -> Result<()> {
    sqlx::query(
        "-- record how to take a task back
        INSERT INTO upshift.undo (run, task, seq, statement)
        SELECT $1::uuid, $2, s.seq::integer, s.statement
        FROM unnest($3::text[]) WITH ORDINALITY AS s (statement, seq)",
    )
    .bind(run.to_string())
    .bind(signed(task.0))
    .bind(statements)
    .execute(tx)
    .await
    .map_err(Error::database(format!(
        "recording how to take {task} back"
    )))?;
    Ok(())
}

/// Takes a task's statements out of the ledger, in the order in which they are to be executed.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn take(tx: &mut PgConnection, run: RunId, task: TaskId) -> Result<Vec<String>> {
    let rows = sqlx::query(
        "-- take out how to take a task back
        WITH taken AS (
            DELETE FROM upshift.undo WHERE run = $1::uuid AND task = $2 RETURNING seq, statement
        )
        SELECT statement FROM taken ORDER BY seq DESC",
    )
    .bind(run.to_string())
    .bind(signed(task.0))
    .fetch_all(tx)
    .await
    .map_err(Error::database(format!("reading how to take {task} back")))?;
    rows.iter()
        .map(|row| row.try_get("statement"))
        .collect::<sqlx::Result<_>>()
        .map_err(Error::database(format!("reading how to take {task} back")))
}
