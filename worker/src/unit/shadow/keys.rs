//! Foreign keys that a swap, there or back, has made NOT VALID: one short lock each, and the scan
//! keeps nobody from reading or writing (PostgreSQL, ALTER TABLE … VALIDATE CONSTRAINT).
//!
//! Advances its unit to `done`; aborted where a row has no counterpart. There is nothing to undo: the
//! swap back drops the keys.

use sqlx::{PgConnection, Row};
use upshift_shared::{
    Error, Result,
    pg::{
        execute_raw,
        ident::{QualifiedName, ident},
    },
    plan::{Shadow, TableKeys},
};

use super::{
    super::{UnitContext, metadata::capture},
    index::share,
    swap::BOUND,
};
use crate::failpoint;

/// What is to be checked of an old table.
const UNCHECKED: &str = "-- a bound that is not checked yet
SELECT format('ALTER TABLE %s VALIDATE CONSTRAINT %I', $1::text, conname)
FROM pg_constraint
WHERE conrelid = to_regclass($1) AND conname = $2 AND NOT convalidated";

/// Validates those of the keys that are there and not valid: of a table, and of others.
pub(super) async fn validate(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    (table, keys): (&QualifiedName, &[String]),
    others: &[TableKeys],
) -> Result<u64> {
    // The scan may sort or hash in as much memory as an index is built with.
    execute_raw(tx, share(unit.units_at_once))
        .await
        .map_err(Error::database("sharing memory out"))?;
    of_table(tx, unit, table, keys).await?;
    for other in others {
        of_table(tx, unit, &other.table, &other.keys).await?;
    }
    Ok(0)
}

async fn of_table(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    table: &QualifiedName,
    keys: &[String],
) -> Result<()> {
    let failed = || Error::database(format!("validating foreign keys of {}", table.plain()));
    let rows = sqlx::query(
        "-- foreign keys that are not valid
        SELECT conname::text AS name FROM pg_constraint
        WHERE conrelid = to_regclass($1) AND contype = 'f' AND NOT convalidated
          AND conname = ANY ($2::text[])
        ORDER BY conname",
    )
    .bind(table.to_string())
    .bind(keys)
    .persistent(false)
    .fetch_all(&mut *tx)
    .await
    .map_err(failed())?;
    for row in rows {
        let name: String = row.try_get("name").map_err(failed())?;
        failpoint::at(failpoint::DURING_KEYS, unit.task).await;
        let statement = format!("ALTER TABLE {table} VALIDATE CONSTRAINT {}", ident(&name));
        execute_raw(tx, statement).await.map_err(failed())?;
    }
    Ok(())
}

/// Validates the constraint that spares the way back of a partition a scan: that of the old table, which
/// nobody reads.
pub(super) async fn bound(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Shadow,
) -> Result<()> {
    let old = QualifiedName::new(op.old_home(unit.holder.run), &op.table.name).to_string();
    let statements = capture::texts(tx, UNCHECKED, &[Some(&old), Some(BOUND)]).await?;
    for statement in statements {
        execute_raw(tx, statement)
            .await
            .map_err(Error::database(unit.task.label.clone()))?;
    }
    Ok(())
}
