//! What operators want of a run while it goes on: a pause, other numbers of workers and units, other
//! thresholds. Whoever wants something raises the version; the driver reads the row every few seconds
//! and acknowledges the version, with what is in force, under its epoch.

use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{Holder, fence, signed, unsigned};
use crate::{Error, Result, ids::RunId, pg, throttle::ThrottleLimits};

/// What somebody wants to be different. What is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Whether units may begin, and for a pause, why not.
    pub paused: Option<Pause>,
    /// Workers in the driver's process.
    pub workers: Option<u32>,
    /// Units at once.
    pub max_units: Option<u32>,
    /// Units of one task at once.
    pub max_units_per_task: Option<u32>,
    /// Thresholds; absent ones stay.
    pub throttle: ThrottleLimits,
}

/// A pause, or its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pause {
    /// No new unit begins, for this reason.
    Begin(Option<String>),
    /// They may begin again.
    End,
}

/// What is wanted, and by whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Control {
    /// Rises with every change.
    pub version: i64,
    /// Whether no unit may begin.
    pub paused: bool,
    /// Why.
    pub reason: Option<String>,
    /// Workers in the driver's process; `None`: as it was started.
    pub workers: Option<u32>,
    /// Units at once; `None`: as it was started.
    pub max_units: Option<u32>,
    /// Units of one task at once; `None`: as it was started.
    pub max_units_per_task: Option<u32>,
    /// Thresholds; those of the configuration stand behind them.
    pub throttle: ThrottleLimits,
    /// RFC 3339, UTC.
    pub changed_at: Option<String>,
    /// Who wanted the last change, for people.
    pub changed_by: Option<String>,
    /// The version that the driver has seen.
    pub acknowledged: i64,
    /// What is in force, as the driver last wrote it; `None` once it has ended.
    pub in_force: Option<InForce>,
}

/// What a driver does at present.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Workers in its process.
    pub workers: u32,
    /// Units at once, before any throttle.
    pub max_units: u32,
    /// Units of one task at once, before any throttle.
    pub max_units_per_task: u32,
    /// Whether an operator has paused it.
    pub paused: bool,
    /// Why.
    pub reason: Option<String>,
    /// The health signals that slow it down.
    pub throttled: Vec<Throttled>,
    /// Health signals that cannot be seen, with why.
    pub unknown: Vec<Unknown>,
    /// The thresholds.
    pub throttle: ThrottleLimits,
}

/// A health signal that slows a run down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttled {
    /// Which.
    pub signal: String,
    /// What was seen, against what is borne.
    pub reason: String,
    /// Units at once; 0: none begins.
    pub units: u32,
}

/// A health signal that cannot be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unknown {
    /// Which.
    pub signal: String,
    /// Why.
    pub reason: String,
}

/// Asks for a change; the version that it has.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn change(conn: &mut PgConnection, run: RunId, change: &Change, by: &str) -> Result<i64> {
    let throttle = serde_json::to_string(&change.throttle).expect("thresholds are plain data");
    let (paused, reason) = match &change.paused {
        None => (None, None),
        Some(Pause::Begin(reason)) => (Some(true), reason.clone()),
        Some(Pause::End) => (Some(false), None),
    };
    sqlx::query(
        "-- ask for a change of a run that goes on
        INSERT INTO upshift.control AS c
            (run, version, paused, reason, workers, max_units, max_units_per_task, throttle, changed_by)
        VALUES ($1::uuid, 1, coalesce($2, false), $3, $4, $5, $6, $7::jsonb, $8)
        ON CONFLICT (run) DO UPDATE SET
            version = c.version + 1,
            paused = coalesce($2, c.paused),
            reason = CASE WHEN $2 IS NULL THEN c.reason ELSE $3 END,
            workers = coalesce($4, c.workers),
            max_units = coalesce($5, c.max_units),
            max_units_per_task = coalesce($6, c.max_units_per_task),
            throttle = c.throttle || $7::jsonb,
            changed_at = clock_timestamp(),
            changed_by = $8
        RETURNING version",
    )
    .bind(run.to_string())
    .bind(paused)
    .bind(reason)
    .bind(change.workers.map(signed))
    .bind(change.max_units.map(signed))
    .bind(change.max_units_per_task.map(signed))
    .bind(throttle)
    .bind(by)
    .fetch_one(conn)
    .await
    .and_then(|row| row.try_get("version"))
    .map_err(Error::database("asking for a change of the run"))
}

/// Writes what is in force (`None`: the driver has ended), and the version that it comes from.
///
/// # Errors
/// [`Error::Fenced`] when somebody else drives the run; what the database says otherwise.
pub async fn acknowledge(
    conn: &mut PgConnection,
    holder: Holder,
    version: i64,
    in_force: Option<&InForce>,
) -> Result<()> {
    let json = in_force.map(|it| serde_json::to_string(it).expect("it is plain data"));
    fence::run(conn, "say what is in force", holder, |tx, _scope| {
        let json = json.clone();
        Box::pin(async move {
            sqlx::query(
                "-- what is in force
                INSERT INTO upshift.control AS c (run, acknowledged, in_force, in_force_at)
                VALUES ($1::uuid, $2, $3::jsonb, clock_timestamp())
                ON CONFLICT (run) DO UPDATE SET
                    acknowledged = $2, in_force = $3::jsonb, in_force_at = clock_timestamp()",
            )
            .bind(holder.run.to_string())
            .bind(version)
            .bind(json)
            .execute(tx)
            .await
            .map_err(Error::database("saying what is in force"))?;
            Ok(())
        })
    })
    .await
}

/// The row's columns; `c` may be missing.
const COLUMNS: &str = "coalesce(c.version, 0) AS version, coalesce(c.paused, false) AS paused,
       c.reason, c.workers, c.max_units, c.max_units_per_task,
       coalesce(c.throttle, '{}')::text AS throttle, c.changed_by,
       to_char(c.changed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS changed_at,
       coalesce(c.acknowledged, 0) AS acknowledged, c.in_force::text AS in_force";

/// What is wanted of a run; nothing where nobody has wanted anything, or an older program made the
/// ledger.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn read(conn: &mut PgConnection, run: RunId) -> Result<Control> {
    if !super::has_table(conn, "upshift.control").await? {
        return Ok(Control::default());
    }
    Ok(look(conn, run, None).await?.0)
}

/// What is wanted of a run, and in the same query, where a `question` is given, the answer to it: an
/// SQL expression of type jsonb. For a driver, whose ledger has the table.
///
/// # Errors
/// When the database cannot be asked.
pub async fn look(
    conn: &mut PgConnection,
    run: RunId,
    question: Option<&str>,
) -> Result<(Control, Option<serde_json::Value>)> {
    let question = question.unwrap_or("NULL::jsonb");
    let text = format!(
        "-- what is wanted of the run, and how the server is
        SELECT {COLUMNS}, ({question})::text AS answer
        FROM (SELECT $1::uuid AS run) r LEFT JOIN upshift.control c USING (run)"
    );
    let failed = || Error::database("reading what is wanted of the run");
    let row = sqlx::query(pg::sql(text))
        .bind(run.to_string())
        .fetch_one(conn)
        .await
        .map_err(failed())?;
    let answer: Option<String> = row.try_get("answer").map_err(failed())?;
    let answer = answer.map(|json| {
        serde_json::from_str(&json)
            .map_err(|error| Error::Format(format!("the server's health cannot be read: {error}")))
    });
    Ok((decode(&row)?, answer.transpose()?))
}

fn decode(row: &PgRow) -> Result<Control> {
    let failed = || Error::database("reading what is wanted of the run");
    let number = |name: &str| {
        let number = row.try_get::<Option<i32>, _>(name).map_err(failed())?;
        Ok::<_, Error>(number.map(unsigned))
    };
    let text = |name: &str| row.try_get::<Option<String>, _>(name).map_err(failed());
    let format = |what: &str, error: serde_json::Error| {
        Error::Format(format!(
            "{what} of the run cannot be read: {error}: use the version of upshift that wrote it"
        ))
    };
    let throttle = text("throttle")?.unwrap_or_else(|| "{}".to_owned());
    let in_force = text("in_force")?
        .map(|json| serde_json::from_str(&json).map_err(|error| format("what is in force", error)));
    Ok(Control {
        version: row.try_get("version").map_err(failed())?,
        paused: row.try_get("paused").map_err(failed())?,
        reason: text("reason")?,
        workers: number("workers")?,
        max_units: number("max_units")?,
        max_units_per_task: number("max_units_per_task")?,
        throttle: serde_json::from_str(&throttle)
            .map_err(|error| format("the thresholds", error))?,
        changed_at: text("changed_at")?,
        changed_by: text("changed_by")?,
        acknowledged: row.try_get("acknowledged").map_err(failed())?,
        in_force: in_force.transpose()?,
    })
}
