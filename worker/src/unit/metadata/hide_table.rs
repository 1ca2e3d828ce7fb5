//! Hiding a table, foreign table or materialized view: it moves to the schema of kept objects under a unique name, with its indexes and
//! sequences. What would refuse or slow anything that the application does is dropped, its definition
//! recorded: foreign keys both ways, views on it.

use sqlx::{PgConnection, Row};
use upshift_shared::{
    Error, Result,
    ledger::{KEPT_SCHEMA, deferred::Deferred},
    pg::ident::ident,
};

use super::{
    Effects, capture,
    dependents::{self, Gone, Kind, Object},
    hide::{kept_name, oid, remove_all},
    run_sql,
};
use crate::unit::UnitContext;

/// Hides a table.
pub(super) async fn table(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    table: &str,
    drop: &str,
    effects: &mut Effects,
) -> Result<()> {
    let Some(found) = find(tx, table).await? else {
        // DROP … IF EXISTS; without it, PostgreSQL says what is missing.
        return run_sql(tx, unit, drop).await;
    };
    let object = Object {
        class: "pg_class".to_owned(),
        oid: found.oid,
        part: 0,
    };
    let gone = dependents::probe(tx, &object, drop, &unit.task.label).await?;
    // What belongs to the table itself moves along.
    let (own, others): (Vec<Gone>, Vec<Gone>) = gone
        .into_iter()
        .partition(|one| one.relation == found.oid && one.kind != Kind::ForeignKey);
    let path = capture::enter_qualified(tx).await?;
    let made_again = remove_all(tx, unit, &others, effects).await?;
    let moves = moves(tx, unit, &found, &own).await?;
    capture::leave_qualified(tx, &path).await?;
    for one in &moves {
        run_sql(tx, unit, &one.there).await?;
    }
    let mut undo: Vec<String> = moves.into_iter().rev().map(|one| one.back).collect();
    undo.extend(made_again);
    effects.undo(undo);
    effects.deferred.push(Deferred::Table {
        relation: oid(found.oid),
    });
    Ok(())
}

struct Table {
    oid: i64,
    schema: String,
    name: String,
}

async fn find(tx: &mut PgConnection, table: &str) -> Result<Option<Table>> {
    let failed = || Error::database(format!("finding {table}"));
    let row = sqlx::query(
        "-- find a table to hide
        SELECT c.oid::bigint AS oid, n.nspname::text AS schema, c.relname::text AS name,
               c.relkind NOT IN ('r', 'f', 'm') OR c.relispartition
               OR EXISTS (SELECT FROM pg_inherits i WHERE c.oid IN (i.inhparent, i.inhrelid))
                   AS inherited
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = to_regclass($1)",
    )
    .bind(table)
    .persistent(false)
    .fetch_optional(tx)
    .await
    .map_err(failed())?;
    let Some(row) = row else {
        return Ok(None);
    };
    if row.try_get("inherited").map_err(failed())? {
        return Err(Error::Refused(format!(
            "{table} is partitioned, a partition, or in an inheritance tree: dropping it has no way \
             back; mark the statement -- upshift: irreversible"
        )));
    }
    Ok(Some(Table {
        oid: row.try_get("oid").map_err(failed())?,
        schema: row.try_get("schema").map_err(failed())?,
        name: row.try_get("name").map_err(failed())?,
    }))
}

/// A step out of sight, and its inverse.
struct Move {
    there: String,
    back: String,
}

/// Names first, the schema last: names of indexes, sequences and statistics are unique in a schema,
/// and the pack may make, and drop, another table with the same ones.
async fn moves(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    table: &Table,
    own: &[Gone],
) -> Result<Vec<Move>> {
    let schema = ident(&table.schema);
    let mut moves = Vec::new();
    for index in named(tx, table.oid).await? {
        moves.push(rename(
            &index.class,
            &schema,
            &index.name,
            &kept_name(unit, index.oid),
        ));
    }
    for statistics in own.iter().filter(|one| one.kind == Kind::Statistics) {
        let kept = ident(&kept_name(unit, statistics.oid));
        let (its_schema, name) = statistics_name(tx, statistics.oid).await?;
        moves.push(rename(
            "STATISTICS",
            &ident(&its_schema),
            &name,
            &kept_name(unit, statistics.oid),
        ));
        moves.push(Move {
            there: format!(
                "ALTER STATISTICS {}.{kept} SET SCHEMA {KEPT_SCHEMA}",
                ident(&its_schema)
            ),
            back: format!(
                "ALTER STATISTICS {KEPT_SCHEMA}.{kept} SET SCHEMA {}",
                ident(&its_schema)
            ),
        });
    }
    let kept = kept_name(unit, table.oid);
    moves.push(rename("TABLE", &schema, &table.name, &kept));
    let kept = ident(&kept);
    moves.push(Move {
        there: format!("ALTER TABLE {schema}.{kept} SET SCHEMA {KEPT_SCHEMA}"),
        back: format!("ALTER TABLE {KEPT_SCHEMA}.{kept} SET SCHEMA {schema}"),
    });
    Ok(moves)
}

fn rename(class: &str, schema: &str, name: &str, kept: &str) -> Move {
    let (name, kept) = (ident(name), ident(kept));
    Move {
        there: format!("ALTER {class} {schema}.{name} RENAME TO {kept}"),
        back: format!("ALTER {class} {schema}.{kept} RENAME TO {name}"),
    }
}

struct Named {
    class: String,
    oid: i64,
    name: String,
}

/// The table's indexes (which name their constraints) and owned sequences.
async fn named(tx: &mut PgConnection, table: i64) -> Result<Vec<Named>> {
    let failed = || Error::database("reading indexes and sequences of a table to hide");
    let rows = sqlx::query(
        "-- what of a table has a name in its schema
        SELECT 'INDEX' AS class, i.oid::bigint AS oid, i.relname::text AS name
        FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
        WHERE x.indrelid = $1::oid
        UNION ALL
        SELECT 'SEQUENCE', s.oid::bigint, s.relname::text
        FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
          AND d.refobjid = $1::oid AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
        ORDER BY 2",
    )
    .bind(table)
    .persistent(false)
    .fetch_all(tx)
    .await
    .map_err(failed())?;
    rows.iter()
        .map(|row| {
            Ok(Named {
                class: row.try_get("class")?,
                oid: row.try_get("oid")?,
                name: row.try_get("name")?,
            })
        })
        .collect::<sqlx::Result<_>>()
        .map_err(failed())
}

async fn statistics_name(tx: &mut PgConnection, oid: i64) -> Result<(String, String)> {
    let failed = || Error::database("reading statistics of a table to hide");
    let row = sqlx::query(
        "-- schema and name of extended statistics
        SELECT n.nspname::text AS schema, e.stxname::text AS name
        FROM pg_statistic_ext e JOIN pg_namespace n ON n.oid = e.stxnamespace
        WHERE e.oid = $1::oid",
    )
    .bind(oid)
    .persistent(false)
    .fetch_one(tx)
    .await
    .map_err(failed())?;
    Ok((
        row.try_get("schema").map_err(failed())?,
        row.try_get("name").map_err(failed())?,
    ))
}
