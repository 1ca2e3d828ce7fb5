//! Fill: a range of the old table's pages, changed, into the new table. What transforms in the pass make
//! of it comes first, each into a temporary table that the INSERT joins.
//!
//! Advances its unit to `done`; split on the statement timeout; aborted by anything in the data. Its
//! undo is that of the build, which drops the new table.

use sqlx::PgConnection;
use upshift_shared::{
    Error, Result,
    pg::execute_raw,
    plan::{Carried, JoinedTransform, Shadow, Template},
};

use super::{
    super::{UnitContext, verified},
    joined,
};

/// Memory for what the unit joins, shared out over the units that run at once; no parallel workers,
/// because the units are.
fn share(units: u32) -> String {
    let units = units.max(1);
    format!(
        "SELECT set_config('work_mem', \
           greatest(pg_size_bytes(current_setting('work_mem')), \
                    least(pg_size_bytes(current_setting('shared_buffers')) / 4 / {units}, 67108864)) \
             / 1024 || 'kB', true), set_config('max_parallel_workers_per_gather', '0', true)"
    )
}

pub(super) async fn run(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Shadow,
    (template, transforms, carried): (&Template, &[JoinedTransform], Option<&Carried>),
) -> Result<u64> {
    execute_raw(tx, share(unit.units_at_once))
        .await
        .map_err(Error::database("sharing memory out"))?;
    for transform in transforms {
        joined::run(tx, unit, (op, transform)).await?;
    }
    verified::fill(tx, unit, op, (template, carried)).await
}
