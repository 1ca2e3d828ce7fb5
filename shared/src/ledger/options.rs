//! What the operator of a run asked for beside the plan. It is stored with the run, so that a resumed
//! one keeps to it, and goes to the workers with each task.

use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Row};

use crate::{Error, Result, ids::RunId};

/// The options of a run. An absent one has its default, so that older runs stay readable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunOptions {
    /// What becomes of rows that a statement cannot work on.
    pub on_bad_data: OnBadData,
    /// So many rows are quarantined at most; [`RunOptions::MAX_BAD_ROWS`] where none is said.
    pub max_bad_rows: Option<u32>,
    /// Milliseconds that the search for bad rows may take in one unit; zero for no search,
    /// [`RunOptions::SEARCH_MILLIS`] where none is said.
    pub search_millis: Option<u64>,
    /// Whether keys and values of bad rows are shown where a failure is told.
    pub show_values: bool,
}

impl RunOptions {
    /// Rows that are quarantined at most, where the operator does not say.
    pub const MAX_BAD_ROWS: u32 = 1000;
    /// Milliseconds that the search for bad rows may take, where the operator does not say.
    pub const SEARCH_MILLIS: u64 = 120_000;
}

/// What becomes of rows that a statement cannot work on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBadData {
    /// The run fails and names them.
    #[default]
    Stop,
    /// They are left out and recorded, the rest goes on.
    Quarantine,
}

/// Stores the options of a run.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn store(conn: &mut PgConnection, run: RunId, options: &RunOptions) -> Result<()> {
    let json = serde_json::to_string(options).expect("options are plain data");
    sqlx::query(
        "-- store a run's options
        UPDATE upshift.run SET options = $2::jsonb WHERE run = $1::uuid",
    )
    .bind(run.to_string())
    .bind(json)
    .execute(conn)
    .await
    .map_err(Error::database("storing the run's options"))?;
    Ok(())
}

/// The options of a run; the default ones where an older program began it.
///
/// # Errors
/// When the ledger cannot be read, or a newer program wrote them.
pub async fn load(conn: &mut PgConnection, run: RunId) -> Result<RunOptions> {
    let json: Option<String> = sqlx::query(
        "-- read a run's options
        SELECT to_jsonb(r) ->> 'options' AS options FROM upshift.run r WHERE run = $1::uuid",
    )
    .bind(run.to_string())
    .fetch_optional(conn)
    .await
    .and_then(|row| row.map(|row| row.try_get("options")).transpose())
    .map_err(Error::database("reading the run's options"))?
    .flatten();
    match json {
        Some(json) => serde_json::from_str(&json).map_err(|error| {
            Error::Format(format!("the options of run {run} cannot be read: {error}"))
        }),
        None => Ok(RunOptions::default()),
    }
}
