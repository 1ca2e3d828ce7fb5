//! The tables that hold the rows of tables: themselves, and whatever inherits from them or is a partition
//! of them.

use sqlx::Row;
use upshift_shared::{
    Error, Result, digest::DigestedTable, pg::PgConnection, pg::ident::QualifiedName,
};

const TABLES: &str = "-- upshift: tables that hold rows
WITH RECURSIVE named (root, relation) AS (
    SELECT n.name, to_regclass(n.name)::oid FROM unnest($1::text[]) AS n (name)
    UNION
    SELECT named.root, i.inhrelid
    FROM named JOIN pg_catalog.pg_inherits i ON i.inhparent = named.relation
), root (relation, names) AS (
    SELECT named.relation, array_agg(named.root) FROM named GROUP BY named.relation
)
SELECT n.nspname::text AS schema, c.relname::text AS name, c.oid::bigint AS relation,
       coalesce(root.names, '{}') AS roots,
       CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint
            ELSE pg_relation_size(c.oid) / 100 END AS rows,
       pg_relation_size(c.oid) AS bytes,
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
               AND a.attname !~ '^upshift_kept_' ORDER BY a.attnum) AS columns
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN root ON root.relation = c.oid
WHERE c.relkind = 'r' AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND n.nspname !~ '^upshift(_kept.*)?$'
  AND ($1::text[] IS NULL OR root.relation IS NOT NULL)
ORDER BY bytes DESC, 1, 2";

/// A table.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) table: DigestedTable,
    /// Its oid.
    pub(crate) relation: u32,
    /// Which of the names asked for it is, or is a part of.
    pub(crate) roots: Vec<String>,
    /// Rows, as the statistics have it.
    pub(crate) rows: u64,
}

/// The tables by these names (quoted and qualified; those that are not there are passed over), or all;
/// the largest first.
pub(crate) async fn find(conn: &mut PgConnection, names: Option<&[String]>) -> Result<Vec<Found>> {
    let failed = || Error::database("listing tables");
    let rows = sqlx::query(TABLES)
        .bind(names)
        .persistent(false)
        .fetch_all(conn)
        .await
        .map_err(failed())?;
    rows.iter()
        .map(|row| {
            let relation: i64 = row.try_get("relation")?;
            let schema: String = row.try_get("schema")?;
            let name: String = row.try_get("name")?;
            Ok(Found {
                table: DigestedTable {
                    name: QualifiedName::new(schema, name),
                    columns: row.try_get("columns")?,
                },
                relation: u32::try_from(relation).unwrap_or_default(),
                roots: row.try_get("roots")?,
                rows: row.try_get::<i64, _>("rows")?.unsigned_abs(),
            })
        })
        .collect::<sqlx::Result<_>>()
        .map_err(failed())
}
