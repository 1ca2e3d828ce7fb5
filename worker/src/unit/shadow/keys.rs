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
};

use super::super::UnitContext;
use super::index::share;

/// Validates those of the keys that are there and not valid.
pub(super) async fn validate(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    table: &QualifiedName,
    keys: &[String],
) -> Result<u64> {
    let failed = || Error::database(format!("validating foreign keys of {}", table.plain()));
    // The scan may sort or hash in as much memory as an index is built with.
    execute_raw(tx, share(unit.units_at_once))
        .await
        .map_err(failed())?;
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
        let statement = format!("ALTER TABLE {table} VALIDATE CONSTRAINT {}", ident(&name));
        execute_raw(tx, statement).await.map_err(failed())?;
    }
    Ok(0)
}
