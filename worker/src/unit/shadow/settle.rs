//! Settle: statistics and the visibility map, so that the first query of the application is planned
//! and runs as it would on a table that has been there for long, and so that foreign keys are validated
//! by their indexes. It comes before the swap.
//!
//! Outside a transaction, because VACUUM has to be; again is fine. Nothing to undo.

use sqlx::PgConnection;
use upshift_shared::{
    Error, Result,
    pg::execute_raw,
    plan::{Shadow, ShadowStage},
};

use super::super::{UnitContext, verified};

pub(super) async fn run(
    conn: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Shadow,
) -> Result<u64> {
    // Nothing is dead in it, so its indexes need no visit; and no query asks the visibility map of a TOAST
    // table.
    let statement = format!(
        "VACUUM (ANALYZE, INDEX_CLEANUP OFF, TRUNCATE OFF, PROCESS_TOAST OFF) {}",
        op.new_table(unit.holder.run)
    );
    execute_raw(conn, statement)
        .await
        .map_err(Error::database(unit.task.label.clone()))?;
    if let ShadowStage::Settle { carried } = &op.stage {
        verified::settle(conn, unit, op, carried.as_ref()).await?;
    }
    Ok(0)
}
