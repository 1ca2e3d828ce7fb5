//! A change of type that loses information: the old values are kept in a hidden column until commit.
//!
//! The hidden column is added as GENERATED ALWAYS AS the old one, which writes it in one pass without
//! firing a trigger, and then made an ordinary column. It is inert: no default, no NOT NULL, nothing
//! refers to it.

use sqlx::{PgConnection, Row};
use upshift_shared::{
    Error, Result,
    ledger::deferred::Deferred,
    pg::{execute_raw, ident::ident},
};

use super::{Effects, capture};
use crate::unit::UnitContext;

/// Keeps the column's values, changes its type by `change`, and records the way back.
pub(super) async fn run(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    (table, column): (&str, &str),
    change: &str,
    effects: &mut Effects,
) -> Result<()> {
    let found = find(tx, table, column).await?;
    let hidden = ident(&format!(
        "upshift_kept_{}_{}_{}",
        unit.holder.run.short(),
        found.attribute,
        unit.task.id
    ));
    let old_path = capture::enter_qualified(tx).await?;
    let mut undo = capture::column_type(tx, table, column, Some(&hidden)).await?;
    capture::leave_qualified(tx, &old_path).await?;
    undo.push(format!("ALTER TABLE {table} DROP COLUMN {hidden}"));
    for statement in [
        format!(
            "ALTER TABLE {table} ADD COLUMN {hidden} {} GENERATED ALWAYS AS ({}) STORED",
            found.type_name,
            ident(column)
        ),
        format!("ALTER TABLE {table} ALTER COLUMN {hidden} DROP EXPRESSION"),
        change.to_owned(),
    ] {
        execute_raw(tx, statement)
            .await
            .map_err(Error::database(unit.task.label.clone()))?;
    }
    let kept = find(tx, table, hidden.trim_matches('"')).await?;
    effects.undo(undo);
    effects.deferred.push(Deferred::Column {
        relation: kept.relation,
        attribute: kept.attribute,
    });
    Ok(())
}

struct Found {
    relation: u32,
    attribute: i16,
    type_name: String,
}

async fn find(tx: &mut PgConnection, table: &str, column: &str) -> Result<Found> {
    let failed = || Error::database(format!("finding column {column} of {table}"));
    let row = sqlx::query(
        "-- find a column and its type
        SELECT a.attrelid::bigint AS relation, a.attnum, a.attgenerated <> '' AS generated,
               format_type(a.atttypid, a.atttypmod)
               || CASE WHEN a.attcollation <> t.typcollation
                       THEN format(' COLLATE %I.%I', n.nspname, l.collname) ELSE '' END AS type_name
        FROM pg_attribute a
        JOIN pg_type t ON t.oid = a.atttypid
        LEFT JOIN pg_collation l ON l.oid = a.attcollation
        LEFT JOIN pg_namespace n ON n.oid = l.collnamespace
        WHERE a.attrelid = to_regclass($1) AND a.attname = $2 AND NOT a.attisdropped",
    )
    .bind(table)
    .bind(column)
    .persistent(false)
    .fetch_optional(tx)
    .await
    .map_err(failed())?
    .ok_or_else(|| Error::Refused(format!("column \"{column}\" of {table} does not exist")))?;
    if row.try_get("generated").map_err(failed())? {
        return Err(Error::Refused(format!(
            "column \"{column}\" of {table} is generated: its type cannot be changed with a way back"
        )));
    }
    let relation: i64 = row.try_get("relation").map_err(failed())?;
    Ok(Found {
        relation: u32::try_from(relation).unwrap_or_default(),
        attribute: row.try_get("attnum").map_err(failed())?,
        type_name: row.try_get("type_name").map_err(failed())?,
    })
}
