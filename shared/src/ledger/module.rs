//! Modules: what committed runs brought the database to.

use sqlx::{PgConnection, Row};

use super::fence::{self, Holder};
use crate::{Error, Result, ids::RunId};

/// Records the versions that a run brought modules to.
///
/// # Errors
/// [`Error::Fenced`] when somebody else drives the run.
pub async fn record(
    conn: &mut PgConnection,
    holder: Holder,
    modules: &[(String, String)],
) -> Result<()> {
    let modules = modules.to_vec();
    fence::run(conn, "record modules", holder, |tx, _scope| {
        Box::pin(record_within(tx, holder.run, modules.clone()))
    })
    .await
}

/// The same, within a transaction that is fenced already.
pub(super) async fn record_within(
    tx: &mut PgConnection,
    run: RunId,
    modules: Vec<(String, String)>,
) -> Result<()> {
    let (names, versions): (Vec<String>, Vec<String>) = modules.into_iter().unzip();
    sqlx::query(
        "-- record modules
        INSERT INTO upshift.module (name, version, run)
        SELECT m.name, m.version, $1::uuid
        FROM unnest($2::text[], $3::text[]) AS m (name, version)
        ON CONFLICT (name) DO UPDATE
        SET version = excluded.version, run = excluded.run, changed_at = now()",
    )
    .bind(run.to_string())
    .bind(names)
    .bind(versions)
    .execute(tx)
    .await
    .map_err(Error::database("recording modules"))?;
    Ok(())
}

/// Names and versions, by name.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn load(conn: &mut PgConnection) -> Result<Vec<(String, String)>> {
    let rows =
        sqlx::query("-- load modules\nSELECT name, version FROM upshift.module ORDER BY name")
            .fetch_all(conn)
            .await
            .map_err(Error::database("reading modules"))?;
    rows.iter()
        .map(|row| Ok((row.try_get("name")?, row.try_get("version")?)))
        .collect::<sqlx::Result<_>>()
        .map_err(Error::database("reading modules"))
}
