//! What work costs on this server, as `upshift doctor --measure` found it.

use sqlx::{PgConnection, Row};

use crate::{Error, Result, plan::Rates};

/// Keeps what was measured, in place of what was measured before.
///
/// # Errors
/// When the database cannot be written, or has no ledger.
pub async fn store(conn: &mut PgConnection, rates: &Rates) -> Result<()> {
    sqlx::query(
        "-- what work costs on this server
        WITH gone AS (DELETE FROM upshift.rates)
        INSERT INTO upshift.rates (copied, indexed, validated, in_place, entry)
        VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(rates.copied)
    .bind(rates.indexed)
    .bind(rates.validated)
    .bind(rates.in_place)
    .bind(rates.entry)
    .execute(conn)
    .await
    .map_err(Error::database("keeping what work costs on this server"))?;
    Ok(())
}

/// What was measured, and on which day; `None` where nothing was.
///
/// # Errors
/// When the database cannot be asked.
pub async fn load(conn: &mut PgConnection) -> Result<Option<(Rates, String)>> {
    let failed = || Error::database("reading what work costs on this server");
    if !super::has_table(conn, "upshift.rates").await? {
        return Ok(None);
    }
    let row = sqlx::query(
        "-- what work costs on this server
        SELECT copied, indexed, validated, in_place, entry, measured_at::date::text AS day
        FROM upshift.rates ORDER BY measured_at DESC LIMIT 1",
    )
    .fetch_optional(conn)
    .await
    .map_err(failed())?;
    let Some(row) = row else {
        return Ok(None);
    };
    let rates = Rates {
        copied: row.try_get("copied").map_err(failed())?,
        indexed: row.try_get("indexed").map_err(failed())?,
        validated: row.try_get("validated").map_err(failed())?,
        in_place: row.try_get("in_place").map_err(failed())?,
        entry: row.try_get("entry").map_err(failed())?,
    };
    Ok(Some((rates, row.try_get("day").map_err(failed())?)))
}
