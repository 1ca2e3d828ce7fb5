//! In-place: UPDATE or DELETE of a key range, with before-images written by the same statement.
//!
//! Advances its unit to `done`. Tried again on a serialisation failure (a row that an application
//! changed meanwhile), split on the statement timeout, aborted by anything in the data. Undone by
//! putting the before-images back; where fewer rows take one than were kept, an application has
//! changed their keys meanwhile, and the undo stops unless it is forced. No trigger fires: one on INSERT
//! has seen these rows before.

use sqlx::PgConnection;
use upshift_shared::{
    Error, Result,
    pg::{ident::ident, sql},
    plan::{InPlace, InPlaceAction, KeyColumn},
};

use super::{
    UnitContext,
    reaction::{self, By},
    verified,
};
use crate::prepare::{columns, kept_name};

/// Runs the unit; returns the rows that it changed.
pub(super) async fn run(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &InPlace,
) -> Result<u64> {
    verified::change(tx, unit, op, None).await
}

/// Puts the unit's before-images back.
pub(super) async fn undo(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &InPlace,
    touched: u64,
) -> Result<u64> {
    let kept = kept_name(unit.holder.run, &op.before_images).to_string();
    let (statement, by, assigned) = match &op.action {
        InPlaceAction::Update(columns) => {
            let statement = restore_updated(op, columns, &kept);
            (statement, By::Update, Some(columns.as_slice()))
        }
        InPlaceAction::Delete => {
            let columns = kept_columns(tx, &op.table, &kept).await?;
            (restore_deleted(op, &columns, &kept), By::Insert, None)
        }
    };
    let reactions = reaction::disable(tx, &[&op.table], by, assigned).await?;
    let restored = execute(tx, unit, statement, &op.table).await?;
    reactions.enable(tx).await?;
    let forgotten = forget(tx, unit, &kept).await?;
    expect_rows(unit, &op.table, restored, forgotten.max(touched))?;
    Ok(restored)
}

/// Fails where fewer rows came back than had been changed.
pub(super) fn expect_rows(
    unit: &UnitContext<'_>,
    table: &str,
    restored: u64,
    expected: u64,
) -> Result<()> {
    if restored >= expected || unit.force {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "taking {} of {} back found {restored} of {expected} rows of {table}: an application has \
         deleted the others or changed their keys since; put them right, or roll back with --force \
         to leave them as they are",
        unit.unit, unit.task.id,
    )))
}

/// Takes the unit's rows out of a kept table, so that doing the unit again can fill it again.
pub(super) async fn forget(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    kept: &str,
) -> Result<u64> {
    let statement =
        format!("/* upshift: forget */ DELETE FROM {kept} WHERE upshift_unit = $1::integer");
    execute(tx, unit, statement, kept).await
}

/// Runs a statement whose one parameter is the unit's number.
pub(super) async fn execute(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    statement: String,
    table: &str,
) -> Result<u64> {
    let done = sqlx::query(sql(statement))
        .bind(unit.unit.0.to_string())
        .persistent(false)
        .execute(tx)
        .await
        .map_err(Error::database(format!("taking back changes of {table}")))?;
    Ok(done.rows_affected())
}

/// `t.a = b.a AND t.b = b.b`
pub(super) fn join_on(key: &[KeyColumn], (left, right): (&str, &str)) -> String {
    let pairs: Vec<String> = key
        .iter()
        .map(|column| ident(&column.name))
        .map(|column| format!("{left}.{column} = {right}.{column}"))
        .collect();
    pairs.join(" AND ")
}

fn restore_updated(op: &InPlace, columns: &[String], kept: &str) -> String {
    let assignments: Vec<String> = columns
        .iter()
        .map(|column| ident(column))
        .map(|column| format!("{column} = b.{column}"))
        .collect();
    format!(
        "/* upshift: put before-images back */ UPDATE {} AS t SET {} FROM {kept} AS b \
         WHERE b.upshift_unit = $1::integer AND {}",
        op.table,
        assignments.join(", "),
        join_on(&op.key, ("t", "b")),
    )
}

fn restore_deleted(op: &InPlace, columns: &[String], kept: &str) -> String {
    let columns: Vec<String> = columns.iter().map(|column| ident(column)).collect();
    let columns = columns.join(", ");
    format!(
        "/* upshift: put deleted rows back */ INSERT INTO {} ({columns}) OVERRIDING SYSTEM VALUE \
         SELECT {columns} FROM {kept} AS b WHERE b.upshift_unit = $1::integer",
        op.table,
    )
}

/// The columns of a kept table that its target holds as data of their own.
async fn kept_columns(tx: &mut PgConnection, table: &str, kept: &str) -> Result<Vec<String>> {
    let query = sqlx::query_scalar(
        "-- columns of a kept table
        SELECT k.attname::text
        FROM pg_attribute k
        JOIN pg_attribute t ON t.attname = k.attname AND t.attrelid = $2::regclass
        WHERE k.attrelid = $1::regclass AND k.attnum > 0 AND NOT k.attisdropped
          AND t.attnum > 0 AND NOT t.attisdropped AND t.attgenerated = ''
        ORDER BY t.attnum",
    );
    columns(tx, query.bind(kept).bind(table), table).await
}
