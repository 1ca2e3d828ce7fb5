//! Index: one index of the new table, built when it is full.
//!
//! Advances its unit to `done`; aborted where the data is not unique. Its undo is that of the build.
//! Several are built at once: CREATE INDEX locks the table against writers only.

use sqlx::PgConnection;
use upshift_shared::{
    Error, Result,
    ledger::shadow::{self, Kind},
    pg::execute_raw,
    plan::Shadow,
};

use super::super::UnitContext;

/// Memory for one index and parallel workers for it: those of the server, shared out over the units
/// that run at once. `maintenance_work_mem` may be set by anybody (PostgreSQL, 20.4.1). The server allows
/// one build so many processes: its own and `max_parallel_maintenance_workers`.
pub(in crate::unit) fn share(units: u32) -> String {
    let units = units.max(1);
    format!(
        "SELECT set_config('maintenance_work_mem', \
           greatest(pg_size_bytes(current_setting('maintenance_work_mem')), \
                    least(pg_size_bytes(current_setting('shared_buffers')) / {units}, 1073741824)) \
             / 1024 || 'kB', true), \
         set_config('max_parallel_maintenance_workers', \
           greatest((current_setting('max_parallel_maintenance_workers')::integer + 1) / {units} - 1, \
                    0)::text, true)"
    )
}

pub(super) async fn run(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Shadow,
    name: &str,
) -> Result<u64> {
    let run = unit.holder.run;
    let statements = shadow::load(tx, run, op.pass, Kind::Index, Some(name)).await?;
    execute_raw(tx, share(unit.units_at_once))
        .await
        .map_err(Error::database("sharing memory out"))?;
    for one in statements {
        execute_raw(tx, one.statement)
            .await
            .map_err(Error::database(format!(
                "building index {name} of {}",
                op.table.plain()
            )))?;
    }
    Ok(0)
}
