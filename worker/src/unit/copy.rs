//! Copies: a statement whose rows cannot be foreseen (MERGE, TRUNCATE, writable CTEs) has the tables
//! that it writes copied before it, in its own transaction and behind a lock that keeps others from
//! writing them. Undo restores the difference: what is extra is deleted, what differs updated, what
//! is missing inserted.
//!
//! While it does, user triggers and rules of the tables are disabled and the foreign keys around them
//! deferred, so that rows may come in any order; all of it is put back before the end.

use std::collections::BTreeSet;

use sqlx::{PgConnection, Row};
use upshift_shared::{
    Error, Result,
    pg::{execute_raw, ident::ident},
    plan::{CopiedTable, KeyColumn},
};

use super::{
    UnitContext,
    in_place::join_on,
    reaction::{self, By},
};
use crate::prepare::{self, create_empty, drop_kept, hidden_columns, kept_name};

/// LOCK statements, to be run before the transaction's snapshot: TRUNCATE would otherwise hide rows
/// from a snapshot taken before it.
pub(super) fn locks(tables: &[CopiedTable]) -> Vec<String> {
    tables
        .iter()
        .map(|table| format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", table.table))
        .collect()
}

/// Copies the tables.
pub(super) async fn make(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    tables: &[CopiedTable],
) -> Result<()> {
    for table in tables {
        let kept = kept_name(unit.holder.run, &table.kept);
        let failed = || Error::database(format!("copying {}", table.table));
        drop_kept(tx, unit.holder.run, &table.kept).await?;
        create_empty(tx, &kept, &table.kept).await?;
        let columns = list(&columns(tx, table).await?);
        execute_raw(
            tx,
            format!(
                "/* upshift: copy a table */ INSERT INTO {kept} (upshift_unit{}{columns}) \
                 SELECT {}{}{columns} FROM {}",
                comma(&columns),
                unit.unit.0,
                comma(&columns),
                table.table,
            ),
        )
        .await
        .map_err(failed())?;
    }
    Ok(())
}

/// Restores the tables; returns the rows that it deleted, updated or inserted.
pub(super) async fn restore(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    tables: &[CopiedTable],
) -> Result<u64> {
    let failed = || Error::database(format!("undo of {}", unit.task.label));
    let foreign_keys = foreign_keys(tx, tables).await?;
    let reactions = reaction::disable(tx, &names(tables), By::Any, None).await?;
    let ordered = parents_first(tables, &foreign_keys);
    for statement in foreign_keys
        .iter()
        .map(ForeignKey::defer)
        .chain(["SET CONSTRAINTS ALL DEFERRED".to_owned()])
    {
        execute_raw(tx, statement).await.map_err(failed())?;
    }
    let mut rows = 0;
    for table in ordered.iter().rev() {
        rows += execute_raw(tx, delete_extra(unit, table))
            .await
            .map_err(failed())?;
    }
    for table in &ordered {
        for statement in put_back(tx, unit, table).await? {
            rows += execute_raw(tx, statement).await.map_err(failed())?;
        }
    }
    for statement in ["SET CONSTRAINTS ALL IMMEDIATE".to_owned()]
        .into_iter()
        .chain(foreign_keys.iter().map(ForeignKey::put_back))
    {
        execute_raw(tx, statement).await.map_err(failed())?;
    }
    reactions.enable(tx).await?;
    for table in tables {
        drop_kept(tx, unit.holder.run, &table.kept).await?;
    }
    Ok(rows)
}

/// What a copy holds: the columns of the plan, and those that this run has hidden.
async fn columns(tx: &mut PgConnection, table: &CopiedTable) -> Result<Vec<String>> {
    let mut columns = table.columns.clone();
    columns.extend(hidden_columns(tx, &table.table).await?);
    Ok(columns)
}

fn list(columns: &[String]) -> String {
    let columns: Vec<String> = columns.iter().map(|column| ident(column)).collect();
    columns.join(", ")
}

/// A table may have no columns at all.
fn comma(list: &str) -> &'static str {
    if list.is_empty() { "" } else { ", " }
}

fn delete_extra(unit: &UnitContext<'_>, table: &CopiedTable) -> String {
    let kept = kept_name(unit.holder.run, &table.kept);
    if table.key.is_empty() {
        return format!("/* upshift: empty */ DELETE FROM {}", table.table);
    }
    format!(
        "/* upshift: delete what is extra */ DELETE FROM {} AS t \
         WHERE NOT EXISTS (SELECT FROM {kept} AS b WHERE {})",
        table.table,
        join_on(&table.key, ("t", "b")),
    )
}

/// Row images (`*<>`) compare any type, even one without equality, and tell 1.0 from 1.00.
async fn put_back(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    table: &CopiedTable,
) -> Result<Vec<String>> {
    let kept = kept_name(unit.holder.run, &table.kept);
    let all = columns(tx, table).await?;
    let columns = list(&all);
    if table.key.is_empty() {
        return Ok(vec![format!(
            "/* upshift: fill again */ INSERT INTO {} ({columns}) OVERRIDING SYSTEM VALUE \
             SELECT {columns} FROM {kept}",
            table.table,
        )]);
    }
    let mut statements = Vec::new();
    let assignable = assignable(tx, table, all).await?;
    if !assignable.is_empty() {
        let side = |alias: &str| {
            let columns: Vec<String> = assignable
                .iter()
                .map(|column| format!("{alias}.{}", ident(column)))
                .collect();
            format!("(ROW({}))::record", columns.join(", "))
        };
        let assignments: Vec<String> = assignable
            .iter()
            .map(|column| ident(column))
            .map(|column| format!("{column} = b.{column}"))
            .collect();
        statements.push(format!(
            "/* upshift: update what differs */ UPDATE {} AS t SET {} FROM {kept} AS b \
             WHERE {} AND {} OPERATOR(pg_catalog.*<>) {}",
            table.table,
            assignments.join(", "),
            join_on(&table.key, ("t", "b")),
            side("t"),
            side("b"),
        ));
    }
    statements.push(format!(
        "/* upshift: insert what is missing */ INSERT INTO {} ({columns}) OVERRIDING SYSTEM VALUE \
         SELECT {columns} FROM {kept} AS b WHERE NOT EXISTS (SELECT FROM {} AS t WHERE {})",
        table.table,
        table.table,
        join_on(&table.key, ("t", "b")),
    ));
    Ok(statements)
}

/// Columns that an UPDATE may assign: not the key, and not GENERATED ALWAYS AS IDENTITY.
async fn assignable(
    tx: &mut PgConnection,
    table: &CopiedTable,
    columns: Vec<String>,
) -> Result<Vec<String>> {
    let query = sqlx::query_scalar(
        "-- columns that may be assigned
        SELECT attname::text FROM pg_attribute
        WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped
          AND attgenerated = '' AND attidentity <> 'a'",
    );
    let names = prepare::columns(tx, query.bind(table.table.as_str()), &table.table).await?;
    let names: BTreeSet<String> = names.into_iter().collect();
    let is_key = |name: &String| table.key.iter().any(|key: &KeyColumn| key.name == *name);
    Ok(columns
        .into_iter()
        .filter(|name| names.contains(name) && !is_key(name))
        .collect())
}

/// A foreign key from or to a copied table.
#[derive(Debug)]
struct ForeignKey {
    name: String,
    child: String,
    /// Places of the two tables among those that are copied, from 1.
    child_place: Option<i32>,
    parent_place: Option<i32>,
    deferrable: bool,
    deferred: bool,
}

impl ForeignKey {
    fn defer(&self) -> String {
        format!(
            "ALTER TABLE {} ALTER CONSTRAINT {} DEFERRABLE INITIALLY DEFERRED",
            self.child,
            ident(&self.name)
        )
    }

    fn put_back(&self) -> String {
        let state = match (self.deferrable, self.deferred) {
            (false, _) => "NOT DEFERRABLE",
            (true, false) => "DEFERRABLE INITIALLY IMMEDIATE",
            (true, true) => "DEFERRABLE INITIALLY DEFERRED",
        };
        format!(
            "ALTER TABLE {} ALTER CONSTRAINT {} {state}",
            self.child,
            ident(&self.name)
        )
    }
}

async fn foreign_keys(tx: &mut PgConnection, tables: &[CopiedTable]) -> Result<Vec<ForeignKey>> {
    let failed = || Error::database("reading foreign keys");
    let rows = sqlx::query(
        "-- foreign keys around copied tables
        SELECT k.conname::text AS name, format('%I.%I', n.nspname, c.relname) AS child,
               array_position($1::text[]::regclass[]::oid[], k.conrelid) AS child_place,
               array_position($1::text[]::regclass[]::oid[], k.confrelid) AS parent_place,
               k.condeferrable, k.condeferred
        FROM pg_constraint k
        JOIN pg_class c ON c.oid = k.conrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE k.contype = 'f' AND k.conparentid = 0
          AND (k.conrelid = ANY ($1::text[]::regclass[]) OR k.confrelid = ANY ($1::text[]::regclass[]))
        ORDER BY k.oid",
    )
    .bind(names(tables))
    .persistent(false)
    .fetch_all(tx)
    .await
    .map_err(failed())?;
    rows.iter()
        .map(|row| {
            Ok(ForeignKey {
                name: row.try_get("name")?,
                child: row.try_get("child")?,
                child_place: row.try_get("child_place")?,
                parent_place: row.try_get("parent_place")?,
                deferrable: row.try_get("condeferrable")?,
                deferred: row.try_get("condeferred")?,
            })
        })
        .collect::<sqlx::Result<_>>()
        .map_err(failed())
}

fn names(tables: &[CopiedTable]) -> Vec<&str> {
    tables.iter().map(|table| table.table.as_str()).collect()
}

/// The tables, each after those that its foreign keys point at, as far as there are no cycles.
fn parents_first<'t>(
    tables: &'t [CopiedTable],
    foreign_keys: &[ForeignKey],
) -> Vec<&'t CopiedTable> {
    let mut left: Vec<(i32, &CopiedTable)> = (1..).zip(tables).collect();
    let mut ordered = Vec::with_capacity(tables.len());
    while !left.is_empty() {
        let waits = |place: i32| {
            foreign_keys.iter().any(|key| {
                key.child_place == Some(place)
                    && key.parent_place != Some(place)
                    && left
                        .iter()
                        .any(|(other, _)| key.parent_place == Some(*other))
            })
        };
        // In a cycle the foreign keys are deferred all the same: any order will do.
        let next = left.iter().position(|(place, _)| !waits(*place));
        ordered.push(left.remove(next.unwrap_or(0)).1);
    }
    ordered
}
