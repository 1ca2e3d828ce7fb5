//! Hiding a column, or an object other than a table: it goes out of sight until commit, and what the
//! DROP would take with it is dropped, with its definition recorded.
//!
//! What is hidden is inert: a hidden column has no default, no NOT NULL, no constraint, no index.

use sqlx::{PgConnection, Row};
use upshift_shared::{
    Error, Result,
    ledger::{KEPT_SCHEMA, deferred::Deferred},
    pg::{
        execute_raw,
        ident::{QualifiedName, ident},
        sql,
    },
    plan::Capture,
};

use super::{
    Effects, capture,
    dependents::{self, Gone, Kind, Object},
    hide_table, run_sql,
};
use crate::unit::UnitContext;

/// Hides a column.
pub(super) async fn column(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    (table, column): (&str, &str),
    drop: &str,
    effects: &mut Effects,
) -> Result<()> {
    let Some(found) = find_column(tx, table, column).await? else {
        // DROP … IF EXISTS; without it, PostgreSQL says what is missing.
        return run_sql(tx, unit, drop).await;
    };
    let object = Object {
        class: "pg_class".to_owned(),
        oid: found.relation,
        part: i32::from(found.attribute),
    };
    let gone = dependents::probe(tx, &object, drop, &unit.task.label).await?;
    let hidden = ident(&format!(
        "upshift_kept_{}_{}",
        unit.holder.run.short(),
        found.attribute
    ));
    let (table_name, name) = (&found.table, ident(column));
    let path = capture::enter_qualified(tx).await?;
    let mut undo = vec![format!(
        "ALTER TABLE {table_name} RENAME COLUMN {hidden} TO {name}"
    )];
    let not_null = Capture::NotNull {
        table: table_name.clone(),
        column: column.to_owned(),
    };
    undo.extend(capture::definition(tx, &not_null).await?);
    undo.extend(remove_all(tx, unit, &gone, effects).await?);
    capture::leave_qualified(tx, &path).await?;
    if found.not_null {
        let statement = format!("ALTER TABLE {table_name} ALTER COLUMN {name} DROP NOT NULL");
        run_sql(tx, unit, &statement).await?;
    }
    let statement = format!("ALTER TABLE {table_name} RENAME COLUMN {name} TO {hidden}");
    run_sql(tx, unit, &statement).await?;
    effects.undo(undo);
    effects.deferred.push(Deferred::Column {
        relation: oid(found.relation),
        attribute: found.attribute,
    });
    Ok(())
}

/// Drops what goes with something that is hidden, the last made first; returns what makes it again,
/// in order. Sequences are moved out of sight instead.
pub(super) async fn remove_all(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    gone: &[Gone],
    effects: &mut Effects,
) -> Result<Vec<String>> {
    let mut undo = Vec::new();
    for one in gone {
        if one.kind == Kind::Sequence {
            undo.extend(move_sequence_back(tx, unit, one).await?);
        } else {
            undo.extend(one.definition(tx).await?);
        }
    }
    for one in gone.iter().rev() {
        if let Some(remove) = &one.remove {
            run_sql(tx, unit, remove).await?;
        }
        if one.kind == Kind::Sequence {
            move_sequence(tx, unit, one, effects).await?;
        }
    }
    Ok(undo)
}

/// A unique name among what is kept.
pub(super) fn kept_name(unit: &UnitContext<'_>, oid: i64) -> String {
    format!("{}_{}_{oid}", unit.holder.run.short(), unit.task.id)
}

pub(super) fn oid(number: i64) -> u32 {
    u32::try_from(number).expect("an oid has 32 bits")
}

async fn move_sequence(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    sequence: &Gone,
    effects: &mut Effects,
) -> Result<()> {
    let name = ident(&kept_name(unit, sequence.oid));
    let schema = schema_of(tx, "pg_class", sequence.oid).await?.schema;
    for statement in [
        format!("ALTER SEQUENCE {} OWNED BY NONE", sequence.object),
        format!("ALTER SEQUENCE {} RENAME TO {name}", sequence.object),
        format!(
            "ALTER SEQUENCE {}.{name} SET SCHEMA {KEPT_SCHEMA}",
            ident(&schema)
        ),
    ] {
        run_sql(tx, unit, &statement).await?;
    }
    effects.deferred.push(Deferred::Table {
        relation: oid(sequence.oid),
    });
    Ok(())
}

async fn move_sequence_back(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    sequence: &Gone,
) -> Result<Vec<String>> {
    let kept = ident(&kept_name(unit, sequence.oid));
    let name = schema_of(tx, "pg_class", sequence.oid).await?;
    let schema = ident(&name.schema);
    let mut statements = vec![
        format!("ALTER SEQUENCE {KEPT_SCHEMA}.{kept} SET SCHEMA {schema}"),
        format!(
            "ALTER SEQUENCE {schema}.{kept} RENAME TO {}",
            ident(&name.name)
        ),
    ];
    // Parameters and owning column; not the state, which it keeps.
    let query = include_str!("capture/sequence.sql");
    statements.extend(capture::texts(tx, query, &[Some(&sequence.object)]).await?);
    Ok(statements)
}

struct Column {
    relation: i64,
    attribute: i16,
    not_null: bool,
    table: String,
}

async fn find_column(tx: &mut PgConnection, table: &str, column: &str) -> Result<Option<Column>> {
    let failed = || Error::database(format!("finding column {column} of {table}"));
    let row = sqlx::query(
        "-- find a column to hide
        SELECT c.oid::bigint AS relation, a.attnum, a.attnotnull,
               format('%I.%I', n.nspname, c.relname) AS table_name,
               a.attinhcount > 0
               OR EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid) AS inherited
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = $2 AND NOT a.attisdropped
        WHERE c.oid = to_regclass($1)",
    )
    .bind(table)
    .bind(column)
    .persistent(false)
    .fetch_optional(tx)
    .await
    .map_err(failed())?;
    let Some(row) = row else {
        return Ok(None);
    };
    if row.try_get("inherited").map_err(failed())? {
        return Err(Error::Refused(format!(
            "{table} has partitions or children: dropping its column \"{column}\" has no way back; mark \
             the statement -- upshift: irreversible"
        )));
    }
    Ok(Some(Column {
        relation: row.try_get("relation").map_err(failed())?,
        attribute: row.try_get("attnum").map_err(failed())?,
        not_null: row.try_get("attnotnull").map_err(failed())?,
        table: row.try_get("table_name").map_err(failed())?,
    }))
}

/// The schema and name of an object that has both.
async fn schema_of(tx: &mut PgConnection, class: &str, oid: i64) -> Result<QualifiedName> {
    let failed = || Error::database("finding an object to hide");
    let row = sqlx::query(
        "-- schema and name of an object
        SELECT n.nspname::text AS schema, o.name::text AS name
        FROM (
            SELECT relnamespace AS namespace, relname AS name FROM pg_class
            WHERE $1 = 'pg_class' AND oid = $2::oid
            UNION ALL
            SELECT typnamespace, typname FROM pg_type WHERE $1 = 'pg_type' AND oid = $2::oid
            UNION ALL
            SELECT pronamespace, proname FROM pg_proc WHERE $1 = 'pg_proc' AND oid = $2::oid
        ) o
        JOIN pg_namespace n ON n.oid = o.namespace
        UNION ALL
        SELECT a.object_names[1], a.object_names[2]
        FROM pg_identify_object_as_address($1::text::regclass, $2::oid, 0) a
        WHERE $1 NOT IN ('pg_class', 'pg_type', 'pg_proc')",
    )
    .bind(class)
    .bind(oid)
    .persistent(false)
    .fetch_one(tx)
    .await
    .map_err(failed())?;
    Ok(QualifiedName::new(
        row.try_get::<String, _>("schema").map_err(failed())?,
        row.try_get::<String, _>("name").map_err(failed())?,
    ))
}

/// Where an object is in the catalog: `pg_class` and the like, and its oid; `None` where it is not.
async fn find_object(
    tx: &mut PgConnection,
    class: &str,
    object: &str,
) -> Result<Option<(String, i64)>> {
    let found = match class {
        "SEQUENCE" => "SELECT 'pg_class' AS class, to_regclass($1)::oid::bigint AS oid",
        "TYPE" | "DOMAIN" => "SELECT 'pg_type' AS class, to_regtype($1)::oid::bigint AS oid",
        "FUNCTION" | "PROCEDURE" | "AGGREGATE" | "ROUTINE" => {
            "SELECT 'pg_proc' AS class, to_regprocedure($1)::oid::bigint AS oid"
        }
        _ => {
            "SELECT a.classid::regclass::text AS class, a.objid::bigint AS oid
             FROM pg_get_object_address(
                 CASE $2 WHEN 'STATISTICS' THEN 'statistics object' ELSE lower($2) END,
                 parse_ident($1), '{}') a"
        }
    };
    let failed = || Error::database(format!("finding {class} {object}"));
    let row = sqlx::query(sql(format!(
        "/* upshift: find an object to hide */ {found} WHERE $2::text IS NOT NULL"
    )))
    .bind(object)
    .bind(class)
    .persistent(false)
    .fetch_one(tx)
    .await
    .map_err(failed())?;
    let oid: Option<i64> = row.try_get("oid").map_err(failed())?;
    let class: String = row.try_get("class").map_err(failed())?;
    Ok(oid.map(|oid| (class, oid)))
}

/// Hides an object that ALTER … SET SCHEMA moves: a sequence, type, function, collation, ….
pub(super) async fn object(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    (class, object): (&str, &str),
    drop: &str,
    effects: &mut Effects,
) -> Result<()> {
    if matches!(class, "FOREIGN TABLE" | "MATERIALIZED VIEW" | "TABLE") {
        return hide_table::table(tx, unit, object, drop, effects).await;
    }
    let Some((catalog, number)) = find_object(tx, class, object).await? else {
        return run_sql(tx, unit, drop).await;
    };
    let hidden = Object {
        class: catalog.clone(),
        oid: number,
        part: 0,
    };
    let gone = dependents::probe(tx, &hidden, drop, &unit.task.label).await?;
    let path = capture::enter_qualified(tx).await?;
    let moved = moves(tx, unit, class, &catalog, number).await?;
    // An owning column keeps a sequence in its schema.
    let parameters = match class {
        "SEQUENCE" => {
            let name = schema_of(tx, &catalog, number).await?.to_string();
            let query = include_str!("capture/sequence.sql");
            capture::texts(tx, query, &[Some(&name)]).await?
        }
        _ => Vec::new(),
    };
    let made_again = remove_all(tx, unit, &gone, effects).await?;
    capture::leave_qualified(tx, &path).await?;
    for statement in &moved.there {
        execute_raw(tx, statement.as_str())
            .await
            .map_err(Error::database(unit.task.label.clone()))?;
    }
    let mut undo = moved.back;
    undo.extend(parameters);
    undo.extend(made_again);
    effects.undo(undo);
    effects.deferred.push(Deferred::Statement(moved.destroy));
    Ok(())
}

/// How an object moves out of sight and back, and how it is destroyed there.
struct Moves {
    there: Vec<String>,
    back: Vec<String>,
    destroy: String,
}

async fn moves(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    class: &str,
    catalog: &str,
    number: i64,
) -> Result<Moves> {
    let arguments = match catalog {
        "pg_proc" => {
            let query = "-- argument types of a function
                SELECT '(' || pg_get_function_identity_arguments($1::bigint::oid) || ')'";
            let texts = capture::texts(tx, query, &[Some(&number.to_string())]).await?;
            texts.into_iter().next().unwrap_or_default()
        }
        _ => String::new(),
    };
    let old = schema_of(tx, catalog, number).await?;
    let kept = ident(&kept_name(unit, number));
    let (schema, name) = (ident(&old.schema), ident(&old.name));
    let mut there = Vec::new();
    if class == "SEQUENCE" {
        there.push(format!("ALTER SEQUENCE {old} OWNED BY NONE"));
    }
    there.push(format!("ALTER {class} {old}{arguments} RENAME TO {kept}"));
    there.push(format!(
        "ALTER {class} {schema}.{kept}{arguments} SET SCHEMA {KEPT_SCHEMA}"
    ));
    Ok(Moves {
        there,
        back: vec![
            format!("ALTER {class} {KEPT_SCHEMA}.{kept}{arguments} SET SCHEMA {schema}"),
            format!("ALTER {class} {schema}.{kept}{arguments} RENAME TO {name}"),
        ],
        destroy: format!("DROP {class} {KEPT_SCHEMA}.{kept}{arguments}"),
    })
}
