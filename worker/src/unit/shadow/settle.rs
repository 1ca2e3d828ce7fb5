//! Settle: statistics and the visibility map, so that the first query of the application is planned
//! and runs as it would on a table that has been there for long. Of an old partition, the constraint
//! that spares the way back a scan is validated.
//!
//! Outside a transaction, because VACUUM has to be; again is fine. Nothing to undo.

use sqlx::PgConnection;
use upshift_shared::{
    Error, Result,
    pg::{execute_raw, ident::QualifiedName},
    plan::Shadow,
};

use super::{
    super::{UnitContext, metadata::capture},
    swap::BOUND,
};

/// What is to be checked of an old table.
const UNCHECKED: &str = "-- a bound that is not checked yet
SELECT format('ALTER TABLE %s VALIDATE CONSTRAINT %I', $1::text, conname)
FROM pg_constraint
WHERE conrelid = to_regclass($1) AND conname = $2 AND NOT convalidated";

pub(super) async fn run(
    conn: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Shadow,
) -> Result<u64> {
    // Nothing is dead in it, so its indexes need no visit.
    let statement = format!(
        "VACUUM (ANALYZE, INDEX_CLEANUP OFF, TRUNCATE OFF) {}",
        op.new_table(unit.holder.run)
    );
    execute_raw(conn, statement)
        .await
        .map_err(Error::database(unit.task.label.clone()))?;
    // The old table of a partition, which nobody reads: see the swap.
    let old = QualifiedName::new(op.old_home(unit.holder.run), &op.table.name).to_string();
    let statements = capture::texts(conn, UNCHECKED, &[Some(&old), Some(BOUND)]).await?;
    for statement in statements {
        execute_raw(conn, statement)
            .await
            .map_err(Error::database(unit.task.label.clone()))?;
    }
    Ok(0)
}
