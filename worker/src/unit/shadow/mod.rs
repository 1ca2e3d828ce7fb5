//! Shadow: the stages of a pass that builds a table anew, each a task of its own, one file each.
//!
//! The new table lives in a schema of its own under the same name; the swap moves the old one into
//! another and the new one into its place, so that indexes, constraints and sequences keep their
//! names. Until `commit` the old table is kept, inert: no foreign key, trigger or name of it is in
//! anybody's way.

mod build;
mod fill;
mod heir;
mod index;
mod joined;
mod keys;
mod settle;
mod swap;

use sqlx::PgConnection;
use upshift_shared::{
    Error, Result, ledger,
    plan::{Shadow, ShadowStage},
};

pub(super) use index::share;
pub(super) use joined::bound;

use super::{UnitContext, verified};

/// Whether this stage works outside a transaction.
pub(super) fn is_outside(op: &Shadow) -> bool {
    matches!(op.stage, ShadowStage::Settle { .. })
}

/// Runs a unit of a stage; returns the rows that it wrote.
pub(super) async fn run(tx: &mut PgConnection, unit: &UnitContext<'_>, op: &Shadow) -> Result<u64> {
    match &op.stage {
        ShadowStage::Build { evolve } => build::run(tx, unit, op, evolve).await,
        ShadowStage::Fill {
            sql,
            transforms,
            carried,
            ..
        } => fill::run(tx, unit, op, (sql, transforms, carried.as_ref())).await,
        ShadowStage::Index { name } => index::run(tx, unit, op, name).await,
        ShadowStage::Before { .. } => Ok(0),
        ShadowStage::Swap { .. } => {
            verified::swap(tx, unit, op).await?;
            swap::run(tx, unit, op).await
        }
        ShadowStage::Validate {
            table,
            keys,
            others,
        } => {
            if *table == op.table {
                keys::bound(tx, unit, op).await?;
            }
            keys::validate(tx, unit, (table, keys), others).await
        }
        ShadowStage::Settle { .. } => Err(Error::Refused(
            "VACUUM cannot run inside a transaction: please report this".to_owned(),
        )),
    }
}

/// Takes a unit of a stage back.
pub(super) async fn undo(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Shadow,
) -> Result<u64> {
    match &op.stage {
        ShadowStage::Build { .. } => build::undo(tx, unit, op).await,
        // The new table goes as a whole with the stage that made it: one unit stands for all.
        ShadowStage::Fill { .. } => {
            ledger::unit::undo_all(tx, unit.holder.run, unit.task.id).await?;
            Ok(0)
        }
        ShadowStage::Before {
            table,
            keys,
            others,
        } => keys::validate(tx, unit, (table, keys), others).await,
        ShadowStage::Swap { .. } => swap::undo(tx, unit).await,
        ShadowStage::Index { .. } | ShadowStage::Validate { .. } | ShadowStage::Settle { .. } => {
            Ok(0)
        }
    }
}

/// Statistics and visibility map, outside a transaction.
pub(super) async fn outside(
    conn: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Shadow,
) -> Result<u64> {
    settle::run(conn, unit, op).await
}
