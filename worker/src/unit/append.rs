//! Append: INSERT … SELECT of a range of the driving table, with the keys of the new rows recorded by
//! the same statement.
//!
//! Advances its unit to `done`. Tried again on a serialisation failure, split on the statement
//! timeout, aborted by anything in the data. Undone by deleting the recorded keys.

use sqlx::PgConnection;
use upshift_shared::{Result, plan::Append};

use super::{
    UnitContext,
    in_place::{execute, expect_rows, forget, join_on},
    run_template,
};
use crate::prepare::kept_name;

/// Runs the unit; returns the rows that it inserted.
pub(super) async fn run(tx: &mut PgConnection, unit: &UnitContext<'_>, op: &Append) -> Result<u64> {
    run_template(tx, unit, (&op.sql, &op.recorded)).await
}

/// Deletes the rows that the unit inserted.
pub(super) async fn undo(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Append,
    touched: u64,
) -> Result<u64> {
    let kept = kept_name(unit.holder.run, &op.recorded).to_string();
    let statement = format!(
        "/* upshift: delete what was inserted */ DELETE FROM {} AS t USING {kept} AS b \
         WHERE b.upshift_unit = $1::integer AND {}",
        op.table,
        join_on(&op.key),
    );
    let deleted = execute(tx, unit, statement, &op.table).await?;
    let forgotten = forget(tx, unit, &kept).await?;
    expect_rows(unit, &op.table, deleted, forgotten.max(touched))?;
    Ok(deleted)
}
