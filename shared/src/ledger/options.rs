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
    /// How much is looked at, unit by unit and at the end.
    pub verify: Verify,
    /// What becomes of rows that a statement cannot work on.
    pub on_bad_data: OnBadData,
    /// So many rows are quarantined at most; [`RunOptions::MAX_BAD_ROWS`] where none is said.
    pub max_bad_rows: Option<u32>,
    /// Milliseconds that the search for bad rows may take in one unit; zero for no search,
    /// [`RunOptions::SEARCH_MILLIS`] where none is said.
    pub search_millis: Option<u64>,
    /// Whether keys and values of bad rows are shown where a failure is told.
    pub show_values: bool,
    /// The group of databases that the run belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Membership>,
    /// The fleet whose order began the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet: Option<OfFleet>,
}

/// What a run says of the fleet whose order began it: it is found again by this, and counted in its wave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfFleet {
    /// The fleet's name.
    pub name: String,
    /// The wave, counted from 0; none where it was left alone until an operator named it.
    pub wave: Option<u32>,
    /// How often the order had been begun anew by then.
    #[serde(default)]
    pub round: u32,
}

impl RunOptions {
    /// Rows that are quarantined at most, where the operator does not say.
    pub const MAX_BAD_ROWS: u32 = 1000;
    /// Milliseconds that the search for bad rows may take, where the operator does not say.
    pub const SEARCH_MILLIS: u64 = 120_000;
}

/// How much of what a run does is verified: see `worker/src/unit/verified.rs` for units, and
/// [`super::left`] for what is recorded at `prepared`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// Nothing.
    Off,
    /// Rows are counted, where possible by what the work itself says.
    #[default]
    Counts,
    /// And digests of what the pack does not mention, before and after.
    Full,
}

impl Verify {
    /// Every level, for messages.
    pub const ALL: [&'static str; 3] = ["off", "counts", "full"];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Counts => "counts",
            Self::Full => "full",
        }
    }

    /// The level of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "off" => Some(Self::Off),
            "counts" => Some(Self::Counts),
            "full" => Some(Self::Full),
            _ => None,
        }
    }
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

impl OnBadData {
    /// Every policy, for messages.
    pub const ALL: [&'static str; 2] = ["stop", "quarantine"];

    /// The policy of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "stop" => Some(Self::Stop),
            "quarantine" => Some(Self::Quarantine),
            _ => None,
        }
    }
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
    // In a ledger that has no such column the name is the older one's, outside.
    let json: Option<String> = sqlx::query(
        "-- read a run's options
        SELECT (SELECT options::text FROM upshift.run WHERE run = $1::uuid) AS options
        FROM (SELECT NULL::jsonb AS options) AS older",
    )
    .bind(run.to_string())
    .fetch_one(conn)
    .await
    .and_then(|row| row.try_get("options"))
    .map_err(Error::database("reading the run's options"))?;
    match json {
        Some(json) => serde_json::from_str(&json).map_err(|error| {
            Error::Format(format!("the options of run {run} cannot be read: {error}"))
        }),
        None => Ok(RunOptions::default()),
    }
}
