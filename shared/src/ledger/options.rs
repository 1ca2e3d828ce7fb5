//! What the operator of a run asked for beside the plan. It is stored with the run, so that a resumed
//! one keeps to it, and goes to the workers with each task.

use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Row};

use super::group::Membership;
use crate::{Error, Result, ids::RunId};

/// The options of a run. An absent one has its default, so that older runs stay readable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunOptions {
    /// The group of databases that the run belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Membership>,
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
