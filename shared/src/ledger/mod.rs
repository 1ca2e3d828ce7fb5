//! The ledger: the schema `upshift` inside the target database. One file per subject; every query on
//! it is here, so that its format is known in one place.
//!
//! Whoever writes for a run does it as its [`Holder`]: the transaction locks `upshift.fence` first
//! and goes on only while the epoch is still the holder's.

pub mod audit;
pub mod bad_row;
pub mod checkpoint;
pub mod control;
mod create;
pub mod cut;
pub mod deferred;
pub mod event;
pub mod fence;
pub mod group;
pub mod kept;
pub mod left;
pub mod module;
pub mod options;
pub mod rates;
pub mod run;
pub mod sequence;
pub mod shadow;
pub mod snapshot;
pub mod source;
pub mod task;
pub mod took;
pub mod undo;
pub mod unit;
pub mod verification;

use sqlx::{PgConnection, Row};

use crate::{
    Error, Result,
    ids::{RunId, TaskId, UnitId},
};
pub use create::{FORMAT, create, exists};
pub use cut::Bounds;
pub use fence::Holder;

/// The schema that holds what undo needs.
pub const KEPT_SCHEMA: &str = "upshift_kept";

/// What a session that works on a unit is called in `pg_stat_activity`. [`fence::raise`] finds the
/// sessions of a run by how this begins.
#[must_use]
pub fn application_name(run: RunId, task: TaskId, unit: UnitId) -> String {
    format!("upshift {} {task} {unit}", run.short())
}

/// Replaces `{run}` in a template of the plan.
#[must_use]
pub fn substitute(template: &str, run: RunId) -> String {
    template.replace("{run}", &run.short())
}

/// Whether the ledger has a table that older ones lack: whoever only reads does not bring it up.
async fn has_table(conn: &mut PgConnection, table: &str) -> Result<bool> {
    sqlx::query("-- has the ledger a table\nSELECT to_regclass($1) IS NOT NULL AS present")
        .bind(table)
        .fetch_one(conn)
        .await
        .and_then(|row| row.try_get("present"))
        .map_err(Error::database("looking at the ledger"))
}

/// Numbers in the ledger are `integer`; ids in the program are unsigned.
fn signed(number: u32) -> i32 {
    i32::try_from(number).expect("plans have fewer than two thousand million tasks and units")
}

fn unsigned(number: i32) -> u32 {
    u32::try_from(number).expect("the ledger's numbers are never negative")
}
