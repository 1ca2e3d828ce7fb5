//! Creating the ledger, and refusing one that a newer Upshift wrote.

use sqlx::{PgConnection, Row};

use crate::{Error, Result, pg::transaction};

/// The ledger's format. A newer one is refused; an older one is brought here by [`create`].
pub const FORMAT: i32 = 4;

const SCHEMA: &str = include_str!("schema.sql");

/// Whether the database has a ledger.
///
/// # Errors
/// When the database cannot be asked, or its ledger is newer than this program.
pub async fn exists(conn: &mut PgConnection) -> Result<bool> {
    Ok(format(conn).await?.is_some())
}

/// Creates the ledger where there is none. Two at once are fine: the second one waits.
///
/// # Errors
/// When the role may not create schemas, or the ledger is newer than this program.
pub async fn create(conn: &mut PgConnection) -> Result<()> {
    if format(conn).await? == Some(FORMAT) {
        return Ok(());
    }
    let created = transaction::run(conn, "create the ledger", |tx, _scope| {
        Box::pin(create_within(tx))
    })
    .await;
    created.map_err(|error| match error.sqlstate().as_deref() {
        Some("42501") => Error::Refused(format!(
            "{error}; the ledger is a schema in the database: GRANT CREATE ON DATABASE to the role \
             that upgrades it"
        )),
        _ => error,
    })
}

async fn create_within(tx: &mut PgConnection) -> Result<()> {
    // CREATE SCHEMA IF NOT EXISTS is not safe against itself: the second of two that run at once
    // fails with a unique violation.
    sqlx::query("-- one creates the ledger at a time\nSELECT pg_advisory_xact_lock(7381014, 1)")
        .execute(&mut *tx)
        .await
        .map_err(Error::database("locking the creation of the ledger"))?;
    if format(tx).await? == Some(FORMAT) {
        return Ok(());
    }
    // Every statement of it leaves alone what is there: an older ledger gets what it lacks.
    sqlx::raw_sql(SCHEMA)
        .execute(&mut *tx)
        .await
        .map_err(Error::database("creating the ledger"))?;
    sqlx::query(
        "-- record the ledger's format
        WITH raised AS (UPDATE upshift.meta SET format = $1 RETURNING format)
        INSERT INTO upshift.meta (format)
        SELECT $1 WHERE NOT EXISTS (SELECT FROM upshift.meta)",
    )
    .bind(FORMAT)
    .execute(tx)
    .await
    .map_err(Error::database("recording the ledger's format"))?;
    Ok(())
}

/// The ledger's format; `None` where there is no ledger.
async fn format(conn: &mut PgConnection) -> Result<Option<i32>> {
    let present: bool = sqlx::query(
        "-- is there a ledger
        SELECT to_regclass('upshift.meta') IS NOT NULL AS present",
    )
    .fetch_one(&mut *conn)
    .await
    .and_then(|row| row.try_get("present"))
    .map_err(Error::database("looking for the ledger"))?;
    if !present {
        return Ok(None);
    }
    let format: Option<i32> =
        sqlx::query("-- the ledger's format\nSELECT max(format) FROM upshift.meta")
            .fetch_one(conn)
            .await
            .and_then(|row| row.try_get(0))
            .map_err(Error::database("reading the ledger's format"))?;
    match format {
        Some(newer) if newer > FORMAT => Err(Error::Format(format!(
            "the ledger in this database has format {newer}, this program knows up to {FORMAT}: use \
             the version of upshift that began the run, or a newer one"
        ))),
        other => Ok(other),
    }
}
