//! What a database holds, in few bytes: for every table a digest of its content that does not depend
//! on the order of rows, and the state of every sequence. Computed in the database, so that it costs a
//! scan and moves no rows. `upshift demo` proves its rollback by it; tests compare databases by it.
//!
//! Upshift's own schemas and hidden columns are not part of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Row};

use crate::{
    Error, Result,
    pg::{
        self,
        ident::{QualifiedName, ident, literal},
    },
};

/// So many tables are digested by one statement.
const TABLES_A_STATEMENT: usize = 40;

/// The content of one database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// By `schema.table` (without `public.`), materialized views included.
    pub tables: BTreeMap<String, TableDigest>,
    /// By `schema.sequence` (without `public.`).
    pub sequences: BTreeMap<String, SequenceState>,
}

/// The content of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDigest {
    /// How many rows it has.
    pub rows: i64,
    /// The sums, over all rows, of two independent 64-bit hashes of the row's text.
    pub content: String,
}

/// Where a sequence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceState {
    /// The value last given out (or to be given out first).
    pub last_value: i64,
    /// Whether `last_value` was given out.
    pub is_called: bool,
}

/// A table as the digest sees it: its columns in their order, hidden ones left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestedTable {
    /// Its name.
    pub name: QualifiedName,
    /// Its columns, not quoted.
    pub columns: Vec<String>,
}

impl DigestedTable {
    /// The SQL of the row's text: every column's, NULL told from the empty string.
    #[must_use]
    pub fn row_text(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|c| ident(c)).collect();
        format!("ROW({})::text", columns.join(", "))
    }
}

/// Text of dates, floats and the like must not depend on who asks.
const SESSION: &str = "/* upshift: settings of a digest */
SET datestyle TO 'ISO, MDY'; SET intervalstyle TO 'postgres'; SET timezone TO 'UTC';
SET extra_float_digits TO 1; SET bytea_output TO 'hex'";

const TABLES: &str = "-- upshift: tables to digest
SELECT n.nspname::text AS schema, c.relname::text AS name,
       coalesce(array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attnum IS NOT NULL),
                '{}') AS columns
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_attribute a
    ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
   AND a.attname NOT LIKE 'upshift\\_kept\\_%'
 WHERE c.relkind IN ('r', 'm') AND c.relispopulated AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^upshift(_kept.*)?$'
   AND n.nspname NOT LIKE 'pg\\_toast%'
 GROUP BY n.nspname, c.relname
 ORDER BY 1, 2";

const SEQUENCES: &str = "-- upshift: sequences to digest
SELECT n.nspname::text AS schema, c.relname::text AS name
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'S' AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^upshift(_kept.*)?$'
 ORDER BY 1, 2";

/// Digests a whole database. It changes text settings of the session, such as `datestyle`.
///
/// # Errors
/// Where the database cannot be reached, or a table or sequence may not be read.
pub async fn digest(connection: &mut PgConnection) -> Result<Digest> {
    let tables = tables(connection).await?;
    let mut digest = Digest::default();
    for some in tables.chunks(TABLES_A_STATEMENT) {
        let parts: Vec<String> = some.iter().map(table_query).collect();
        let rows = sqlx::query(pg::sql(union(&parts)))
            .fetch_all(&mut *connection)
            .await
            .map_err(Error::database("digesting tables"))?;
        for (table, row) in some.iter().zip(in_order(rows)) {
            let content = TableDigest {
                rows: row.get("rows"),
                content: row.get("content"),
            };
            digest.tables.insert(table.name.plain(), content);
        }
    }
    digest.sequences = sequences(connection).await?;
    Ok(digest)
}

/// The tables that [`digest`] looks at. It changes text settings of the session.
///
/// # Errors
/// Where the database cannot be reached.
pub async fn tables(connection: &mut PgConnection) -> Result<Vec<DigestedTable>> {
    sqlx::raw_sql(SESSION)
        .execute(&mut *connection)
        .await
        .map_err(Error::database("setting the session up for a digest"))?;
    let rows = sqlx::query(TABLES)
        .fetch_all(&mut *connection)
        .await
        .map_err(Error::database("listing tables to digest"))?;
    let table = |row: &sqlx::postgres::PgRow| DigestedTable {
        name: QualifiedName::new(row.get::<String, _>("schema"), row.get::<String, _>("name")),
        columns: row.get("columns"),
    };
    Ok(rows.iter().map(table).collect())
}

/// The settings that [`digest`] gives its session, for a transaction: names and values as SQL.
pub const SETTINGS: [(&str, &str); 5] = [
    ("datestyle", "'ISO, MDY'"),
    ("intervalstyle", "'postgres'"),
    ("timezone", "'UTC'"),
    ("extra_float_digits", "1"),
    ("bytea_output", "'hex'"),
];

/// The digest of one table. The session has [`SETTINGS`].
///
/// # Errors
/// Where the database cannot be reached, or the table may not be read.
pub async fn of_table(connection: &mut PgConnection, table: &DigestedTable) -> Result<TableDigest> {
    let query = format!("/* upshift: digest */ {}", table_query(table));
    let failed = || Error::database(format!("digesting {}", table.name.plain()));
    let row = sqlx::query(pg::sql(query))
        .persistent(false)
        .fetch_one(connection)
        .await
        .map_err(failed())?;
    Ok(TableDigest {
        rows: row.try_get("rows").map_err(failed())?,
        content: row.try_get("content").map_err(failed())?,
    })
}

/// The state of every sequence.
async fn sequences(connection: &mut PgConnection) -> Result<BTreeMap<String, SequenceState>> {
    let rows = sqlx::query(SEQUENCES)
        .fetch_all(&mut *connection)
        .await
        .map_err(Error::database("listing sequences"))?;
    let names: Vec<QualifiedName> = rows
        .iter()
        .map(|row| QualifiedName::new(row.get::<String, _>("schema"), row.get::<String, _>("name")))
        .collect();
    let mut states = BTreeMap::new();
    for some in names.chunks(TABLES_A_STATEMENT) {
        let parts: Vec<String> = some
            .iter()
            .map(|name| format!("SELECT last_value, is_called FROM {name}"))
            .collect();
        let rows = sqlx::query(pg::sql(union(&parts)))
            .fetch_all(&mut *connection)
            .await
            .map_err(Error::database("reading sequences"))?;
        for (name, row) in some.iter().zip(in_order(rows)) {
            let state = SequenceState {
                last_value: row.get("last_value"),
                is_called: row.get("is_called"),
            };
            states.insert(name.plain(), state);
        }
    }
    Ok(states)
}

/// The digest of one table. `ONLY`: what inherits from it is digested by itself.
fn table_query(table: &DigestedTable) -> String {
    format!(
        "SELECT count(*) AS rows, \
                concat(sum(hashtextextended(t, 0)::numeric), '/', sum(hashtextextended(t, 1)::numeric)) \
                AS content \
           FROM (SELECT {} AS t FROM ONLY {}) AS texts",
        table.row_text(),
        table.name
    )
}

/// One statement for many queries of the same columns, each numbered.
fn union(parts: &[String]) -> String {
    let numbered: Vec<String> = parts
        .iter()
        .enumerate()
        .map(|(i, part)| {
            format!(
                "SELECT {} AS n, p.* FROM ({part}) AS p",
                literal(&format!("{i:06}"))
            )
        })
        .collect();
    format!("/* upshift: digest */ {}", numbered.join(" UNION ALL "))
}

fn in_order(mut rows: Vec<sqlx::postgres::PgRow>) -> Vec<sqlx::postgres::PgRow> {
    rows.sort_by_key(|row| row.get::<String, _>("n"));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_quoted() {
        let table = DigestedTable {
            name: QualifiedName::new("s\"1", "t;--"),
            columns: vec!["a\"b".to_owned(), "Größe".to_owned()],
        };
        let query = table_query(&table);
        assert!(query.contains(r#"ROW("a""b", "Größe")::text"#), "{query}");
        assert!(query.contains(r#"FROM ONLY "s""1"."t;--""#), "{query}");
    }
}
