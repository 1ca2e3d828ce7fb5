//! How long a run was driven, by its event log: from where it was begun or gone on with until it ended, or, where
//! whoever drove it died, until the last that is known of that.

use sqlx::{PgConnection, Row};

use super::event;
use crate::{Error, Result, ids::RunId};

/// How long a run was driven, in seconds, all attempts together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Took {
    /// Forward.
    pub forward: f64,
    /// Back, and to close its way back.
    pub other: f64,
}

/// How long it was driven so far; nothing where the ledger is of an older program, without a log.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn read(conn: &mut PgConnection, run: RunId) -> Result<Took> {
    if !event::exists(conn).await? {
        return Ok(Took::default());
    }
    let row = sqlx::query(
        "-- how long a run was driven
        WITH drive AS (
            SELECT seq, at, detail ->> 'going' IN ('forward', 'resumed') AS forward,
                   lead(seq) OVER (ORDER BY seq) AS next
            FROM upshift.event WHERE run = $1::uuid AND kind = 'run_started'
        ), took AS (
            SELECT drive.forward, extract(epoch FROM coalesce(
                       max(e.at) FILTER (WHERE e.kind = 'run_ended'),
                       -- what whoever comes after writes first
                       max(e.at) FILTER (WHERE e.kind <> ALL (
                           '{run_state,taken_over,rollback_begun,rows_retried}')),
                       drive.at) - drive.at) AS seconds
            FROM drive LEFT JOIN upshift.event e
                ON e.run = $1::uuid AND e.seq > drive.seq
                AND (drive.next IS NULL OR e.seq < drive.next)
            GROUP BY drive.seq, drive.at, drive.forward
        )
        SELECT coalesce(sum(seconds) FILTER (WHERE forward), 0)::float8 AS forward,
               coalesce(sum(seconds) FILTER (WHERE forward IS NOT TRUE), 0)::float8 AS other
        FROM took",
    )
    .bind(run.to_string())
    .fetch_one(conn)
    .await
    .map_err(Error::database("reading how long a run was driven"))?;
    let seconds = |name: &str| {
        row.try_get(name)
            .map_err(Error::database("reading how long a run was driven"))
    };
    Ok(Took {
        forward: seconds("forward")?,
        other: seconds("other")?,
    })
}
