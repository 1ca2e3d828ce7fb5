//! Checkpoints: named points of a run that the database can be brought back to.

use sqlx::{PgConnection, Row};

use super::{
    fence::{self, Holder},
    signed, unsigned,
};
use crate::{Error, Result, ids::RunId};

/// A prepared checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Its place in the plan's checkpoints.
    pub place: u32,
    /// Its name.
    pub name: String,
    /// RFC 3339, UTC.
    pub prepared_at: String,
}

/// Records that a checkpoint is prepared. Again is fine.
///
/// # Errors
/// [`Error::Fenced`] when somebody else drives the run.
pub async fn insert(conn: &mut PgConnection, holder: Holder, place: u32, name: &str) -> Result<()> {
    fence::run(conn, "record a checkpoint", holder, |tx, _scope| {
        let name = name.to_owned();
        Box::pin(async move { insert_within(tx, holder.run, place, &name).await })
    })
    .await
}

/// The same, within a transaction that is fenced already.
pub(super) async fn insert_within(
    tx: &mut PgConnection,
    run: RunId,
    place: u32,
    name: &str,
) -> Result<()> {
    sqlx::query(
        "-- record a checkpoint
        INSERT INTO upshift.checkpoint (run, seq, name) VALUES ($1::uuid, $2, $3)
        ON CONFLICT (run, seq) DO NOTHING",
    )
    .bind(run.to_string())
    .bind(signed(place))
    .bind(name)
    .execute(tx)
    .await
    .map_err(Error::database(format!("recording checkpoint {name}")))?;
    Ok(())
}

/// The run's checkpoints, in the plan's order.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn load(conn: &mut PgConnection, run: RunId) -> Result<Vec<Checkpoint>> {
    let rows = sqlx::query(
        "-- load the run's checkpoints
        SELECT seq, name,
               to_char(prepared_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS prepared_at
        FROM upshift.checkpoint WHERE run = $1::uuid ORDER BY seq",
    )
    .bind(run.to_string())
    .fetch_all(conn)
    .await
    .map_err(Error::database("reading checkpoints"))?;
    rows.iter()
        .map(|row| {
            Ok(Checkpoint {
                place: unsigned(row.try_get("seq")?),
                name: row.try_get("name")?,
                prepared_at: row.try_get("prepared_at")?,
            })
        })
        .collect::<sqlx::Result<_>>()
        .map_err(Error::database("reading checkpoints"))
}

/// Forgets the checkpoints at these places of the plan: work that they cover is about to be taken back.
///
/// # Errors
/// [`Error::Fenced`] when somebody else drives the run.
pub async fn forget(conn: &mut PgConnection, holder: Holder, places: &[u32]) -> Result<()> {
    let places = places.to_vec();
    fence::run(conn, "forget checkpoints", holder, |tx, _scope| {
        Box::pin(forget_within(tx, holder.run, places.clone()))
    })
    .await
}

/// The same, within a transaction that is fenced already.
pub(super) async fn forget_within(
    tx: &mut PgConnection,
    run: RunId,
    places: Vec<u32>,
) -> Result<()> {
    let places: Vec<i32> = places.into_iter().map(signed).collect();
    sqlx::query(
        "-- forget checkpoints
        DELETE FROM upshift.checkpoint WHERE run = $1::uuid AND seq = ANY ($2)",
    )
    .bind(run.to_string())
    .bind(places)
    .execute(tx)
    .await
    .map_err(Error::database("forgetting checkpoints"))?;
    Ok(())
}
