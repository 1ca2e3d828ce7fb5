//! Statement: one statement in one transaction, as its author wrote it.
//!
//! Advances its unit to `done`. Tried again on a serialisation failure or deadlock, aborted by
//! anything else. Undone by its `undo` statements, or by restoring the difference to copies of the
//! tables that it writes; one that is irreversible cannot be.

use sqlx::PgConnection;
use upshift_shared::{
    Error, Result,
    pg::{execute_raw, sql},
    plan::{Statement, StatementUndo},
};

use super::{UnitContext, copy};

/// Runs the statement; returns the rows of its command tag.
pub(super) async fn run(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Statement,
) -> Result<u64> {
    if let StatementUndo::Copy { tables } = &op.undo {
        copy::make(tx, unit, tables).await?;
    }
    let failed = Error::database(unit.task.label.clone());
    if !unit.task.pinned_now {
        return execute_raw(tx, op.sql.as_str()).await.map_err(failed);
    }
    let done = sqlx::query(sql(op.sql.as_str()))
        .bind(unit.pinned_now)
        .persistent(false)
        .execute(tx)
        .await
        .map_err(failed)?;
    Ok(done.rows_affected())
}

/// Takes the statement back.
pub(super) async fn undo(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Statement,
) -> Result<u64> {
    match &op.undo {
        StatementUndo::Nothing => Ok(0),
        StatementUndo::Irreversible => Err(irreversible(unit)),
        StatementUndo::Copy { tables } => copy::restore(tx, unit, tables).await,
        StatementUndo::Sql { statements } => {
            let mut rows = 0;
            for statement in statements {
                rows += execute_raw(tx, statement.clone())
                    .await
                    .map_err(Error::database(format!("undo of {}", unit.task.label)))?;
            }
            Ok(rows)
        }
    }
}

pub(super) fn irreversible(unit: &UnitContext<'_>) -> Error {
    Error::Refused(format!(
        "{} ({}) is irreversible: there is no way back before it",
        unit.task.id, unit.task.label
    ))
}
