//! What a run left when it was prepared: rows and digests of the tables that it wrote or built, and
//! every object of the schema by a hash of its definition. `upshift verify` compares it with what is
//! there now. Gone with the first step of a way back.

use serde::Serialize;
use sqlx::{PgConnection, Row};

use super::{
    fence::{self, Holder},
    options::Verify,
};
use crate::{Error, Result, ids::RunId, pg};

/// Kind, name and a hash of the definition of every object of the schema: hashed by the server, so that
/// nothing of it travels.
const OBJECTS: &str = include_str!("objects.sql");

/// What it is, beside its tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftState {
    /// `counts` or `full`.
    pub verify: Verify,
    /// `server_version_num`: of another major version, neither digests nor definitions compare.
    pub server_version: u32,
    /// RFC 3339, UTC.
    pub recorded_at: String,
}

/// A table as a run left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftTable {
    /// Quoted and qualified.
    pub name: String,
    /// Its oid.
    pub relation: u32,
    /// `None` where counting would have cost more than the work.
    pub rows: Option<u64>,
    /// Its digest, where one was made: see [`crate::digest`].
    pub content: Option<String>,
}

/// What became of an object of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectChange {
    /// It was not there.
    Added,
    /// It is not there any more.
    Removed,
    /// Its definition is another.
    Changed,
}

/// An object of the schema that is not as the run left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangedObject {
    /// Such as `index`.
    pub kind: String,
    /// Such as `public.t.c` for a column.
    pub name: String,
    /// What became of it.
    pub change: ObjectChange,
}

/// Records what a run left, in place of what was recorded before.
///
/// # Errors
/// [`Error::Fenced`] when somebody else drives the run.
pub async fn record(
    conn: &mut PgConnection,
    holder: Holder,
    verify: Verify,
    tables: &[LeftTable],
) -> Result<()> {
    fence::run(conn, "record what the run leaves", holder, |tx, _scope| {
        let tables = tables.to_vec();
        Box::pin(async move {
            forget_within(tx, holder.run).await?;
            insert(tx, holder.run, verify, &tables).await
        })
    })
    .await
}

async fn insert(
    tx: &mut PgConnection,
    run: RunId,
    verify: Verify,
    tables: &[LeftTable],
) -> Result<()> {
    let failed = || Error::database("recording what the run leaves");
    leave_path(tx).await?;
    sqlx::query(
        "-- record that a run's end is recorded
        INSERT INTO upshift.left_state (run, verify, server_version)
        VALUES ($1::uuid, $2, current_setting('server_version_num')::integer)",
    )
    .bind(run.to_string())
    .bind(verify.name())
    .execute(&mut *tx)
    .await
    .map_err(failed())?;
    let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    let oids: Vec<i64> = tables
        .iter()
        .map(|table| i64::from(table.relation))
        .collect();
    let rows: Vec<Option<i64>> = tables
        .iter()
        .map(|table| table.rows.and_then(|rows| i64::try_from(rows).ok()))
        .collect();
    let contents: Vec<Option<&str>> = tables
        .iter()
        .map(|table| table.content.as_deref())
        .collect();
    sqlx::query(
        "-- record the tables that a run leaves
        INSERT INTO upshift.left_table (run, name, relation, rows, content)
        SELECT $1::uuid, t.name, t.relation::oid, t.rows, t.content
        FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::text[])
             AS t (name, relation, rows, content)",
    )
    .bind(run.to_string())
    .bind(names)
    .bind(oids)
    .bind(rows)
    .bind(contents)
    .execute(&mut *tx)
    .await
    .map_err(failed())?;
    sqlx::query(pg::sql(format!(
        "/* upshift: record the schema that a run leaves */
        INSERT INTO upshift.left_object (run, kind, name, definition)
        SELECT $1::uuid, o.kind, o.name, o.definition FROM (\n{OBJECTS}\n) AS o"
    )))
    .bind(run.to_string())
    .execute(tx)
    .await
    .map_err(failed())?;
    Ok(())
}

/// Definitions are written with names that depend on the search path.
async fn leave_path(tx: &mut PgConnection) -> Result<()> {
    pg::execute_raw(tx, "SET LOCAL search_path TO pg_catalog")
        .await
        .map_err(Error::database("leaving the search path"))?;
    Ok(())
}

/// What was recorded of a run's end; `None` where nothing was.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn load(
    conn: &mut PgConnection,
    run: RunId,
) -> Result<Option<(LeftState, Vec<LeftTable>)>> {
    let failed = || Error::database("reading what the run left");
    if !super::has_table(conn, "upshift.left_state").await? {
        return Ok(None);
    }
    let state = sqlx::query(
        "-- is a run's end recorded
        SELECT verify, server_version,
               to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS recorded_at
        FROM upshift.left_state WHERE run = $1::uuid",
    )
    .bind(run.to_string())
    .fetch_optional(&mut *conn)
    .await
    .map_err(failed())?;
    let Some(state) = state else {
        return Ok(None);
    };
    let verify: String = state.try_get("verify").map_err(failed())?;
    let version: i32 = state.try_get("server_version").map_err(failed())?;
    let state = LeftState {
        verify: Verify::parse(&verify).ok_or_else(|| {
            Error::Format(format!(
                "the ledger has a level of verification \"{verify}\", which this program does not know"
            ))
        })?,
        server_version: version.unsigned_abs(),
        recorded_at: state.try_get("recorded_at").map_err(failed())?,
    };
    let rows = sqlx::query(
        "-- the tables that a run left
        SELECT name, relation::bigint AS relation, rows, content
        FROM upshift.left_table WHERE run = $1::uuid ORDER BY name",
    )
    .bind(run.to_string())
    .fetch_all(conn)
    .await
    .map_err(failed())?;
    let tables = rows
        .iter()
        .map(|row| {
            let relation: i64 = row.try_get("relation")?;
            let rows: Option<i64> = row.try_get("rows")?;
            Ok(LeftTable {
                name: row.try_get("name")?,
                relation: u32::try_from(relation).unwrap_or_default(),
                rows: rows.map(i64::unsigned_abs),
                content: row.try_get("content")?,
            })
        })
        .collect::<sqlx::Result<_>>()
        .map_err(failed())?;
    Ok(Some((state, tables)))
}

/// Objects of the schema that are not as the run left them, by kind and name. To be called within a
/// transaction, whose search path it leaves.
///
/// # Errors
/// When the catalog or the ledger cannot be read.
pub async fn changed_objects(tx: &mut PgConnection, run: RunId) -> Result<Vec<ChangedObject>> {
    let failed = || Error::database("comparing the schema with what the run left");
    leave_path(tx).await?;
    let rows = sqlx::query(pg::sql(format!(
        "/* upshift: compare the schema with what a run left */
        SELECT kind, name, o.definition IS NOT NULL AS there, l.definition IS NOT NULL AS was
        FROM (\n{OBJECTS}\n) AS o
        FULL JOIN (SELECT kind, name, definition FROM upshift.left_object WHERE run = $1::uuid) AS l
             USING (kind, name)
        WHERE o.definition IS DISTINCT FROM l.definition
        ORDER BY kind, name"
    )))
    .bind(run.to_string())
    .fetch_all(tx)
    .await
    .map_err(failed())?;
    rows.iter()
        .map(|row| {
            Ok(ChangedObject {
                kind: row.try_get("kind")?,
                name: row.try_get("name")?,
                change: match (row.try_get("there")?, row.try_get("was")?) {
                    (true, true) => ObjectChange::Changed,
                    (true, false) => ObjectChange::Added,
                    (false, _) => ObjectChange::Removed,
                },
            })
        })
        .collect::<sqlx::Result<_>>()
        .map_err(failed())
}

/// Forgets what a run left: it is about to be taken back.
///
/// # Errors
/// [`Error::Fenced`] when somebody else drives the run.
pub async fn forget(conn: &mut PgConnection, holder: Holder) -> Result<()> {
    fence::run(conn, "forget what the run left", holder, |tx, _scope| {
        Box::pin(forget_within(tx, holder.run))
    })
    .await
}

async fn forget_within(tx: &mut PgConnection, run: RunId) -> Result<()> {
    for statement in [
        "-- forget that a run's end is recorded
        DELETE FROM upshift.left_state WHERE run = $1::uuid",
        "-- forget the tables that a run left
        DELETE FROM upshift.left_table WHERE run = $1::uuid",
        "-- forget the schema that a run left
        DELETE FROM upshift.left_object WHERE run = $1::uuid",
    ] {
        sqlx::query(statement)
            .bind(run.to_string())
            .execute(&mut *tx)
            .await
            .map_err(Error::database("forgetting what the run left"))?;
    }
    Ok(())
}
