//! Metadata: short DDL under a lock timeout.

use sqlx::PgConnection;
use upshift_shared::{Error, Result, ledger, pg::execute_raw, plan::Metadata};

use super::UnitContext;

/// Runs the actions in order.
pub(super) async fn run(
    _tx: &mut PgConnection,
    _unit: &UnitContext<'_>,
    _op: &Metadata,
) -> Result<u64> {
    Err(Error::Refused("metadata tasks are being built".into()))
}

/// Runs what the ledger recorded.
pub(super) async fn undo(tx: &mut PgConnection, unit: &UnitContext<'_>) -> Result<u64> {
    let statements = ledger::undo::take(tx, unit.holder.run, unit.task.id).await?;
    for statement in statements {
        execute_raw(tx, statement)
            .await
            .map_err(Error::database(format!("undo of {}", unit.task.label)))?;
    }
    Ok(0)
}
