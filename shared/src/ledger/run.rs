//! Runs: the durable state machine of one execution of a plan.
//!
//! ```text
//! planned ──► running ──► prepared ──► committed
//!    │        ▲  │ │          │
//!    │        │  ▼ └───────┐  │
//!    │      failed ──────► rolling_back ──► rolled_back
//!    └──────────────────────► ▲  │
//!                             │  ▼
//!                            stuck
//! ```

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{
    event::{self, Batch, Draft},
    fence::{self, Holder},
    options::RunOptions,
};
use crate::{
    Error, Result,
    ids::RunId,
    plan::{PLAN_FORMAT, Plan},
};

/// Where a run stands. All of these are durable; the coordinator that drives the run sets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// The plan is stored; nothing has run.
    Planned,
    /// Units run, or ran until the process ended.
    Running,
    /// Everything is done and nothing destroyed.
    Prepared,
    /// The way back is closed; deferred destruction is under way or done.
    Committed,
    /// A task failed, or the run was stopped; it can be resumed.
    Failed,
    /// Units are taken back.
    RollingBack,
    /// Taken back: to the start, or to the checkpoint that `rollback_to` names.
    RolledBack,
    /// An undo failed: an operator's case.
    Stuck,
}

impl RunState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Planned,
        Self::Running,
        Self::Prepared,
        Self::Committed,
        Self::Failed,
        Self::RollingBack,
        Self::RolledBack,
        Self::Stuck,
    ];

    /// As the ledger writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Prepared => "prepared",
            Self::Committed => "committed",
            Self::Failed => "failed",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::Stuck => "stuck",
        }
    }

    /// Whether a run in this state may get into that one. A state may be set again: a resumed run is
    /// `running` already.
    #[must_use]
    pub fn may_become(self, to: Self) -> bool {
        use RunState as S;
        match self {
            S::Planned => matches!(to, S::Planned | S::Running | S::Failed | S::RolledBack),
            S::Running => matches!(to, S::Running | S::Prepared | S::Failed | S::RollingBack),
            S::Prepared => matches!(to, S::Prepared | S::Committed | S::RollingBack),
            S::Failed => matches!(to, S::Failed | S::Running | S::RollingBack),
            S::RollingBack => matches!(to, S::RollingBack | S::RolledBack | S::Stuck),
            // Taken back to a checkpoint, it can go forward again, or further back.
            S::RolledBack => matches!(to, S::RolledBack | S::Running | S::RollingBack),
            S::Stuck => matches!(to, S::Stuck | S::RollingBack),
            S::Committed => matches!(to, S::Committed),
        }
    }

    /// Whether nothing more is to be done about the run.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Committed | Self::RolledBack)
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RunState {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| {
                Error::Format(format!(
                    "the ledger has a run in state \"{text}\", which this program does not know: use \
                     a newer one"
                ))
            })
    }
}

/// Why a run failed or is stuck. Never values of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunError {
    /// What happened.
    pub message: String,
    /// File, line and column in the pack.
    pub source: Option<String>,
    /// SQLSTATE.
    pub sqlstate: Option<String>,
}

/// A run, its plan apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunRow {
    /// Its id.
    pub run: RunId,
    /// The pack's name.
    pub pack: String,
    /// The version that the pack leads to.
    pub target_version: Option<String>,
    /// How the plan was made.
    pub strategy: String,
    /// Where it stands.
    pub state: RunState,
    /// The program that planned it.
    pub upshift_version: String,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// RFC 3339, UTC.
    pub changed_at: String,
    /// Why it failed or is stuck.
    pub error: Option<RunError>,
    /// The checkpoint that it is, or was, rolled back to; `None` for the start.
    pub rollback_to: Option<String>,
}

/// Stores a new run, `planned`, with its options: so that no run is without them for a moment. Its epoch is
/// raised by whoever drives it.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn insert_with(
    conn: &mut PgConnection,
    run: RunId,
    plan: &Plan,
    upshift_version: &str,
    options: &RunOptions,
) -> Result<()> {
    let options = serde_json::to_string(options).expect("options are plain data");
    let json = serde_json::to_string(plan).expect("a plan is plain data with string keys");
    let strategy = serde_json::to_value(plan.strategy).expect("a strategy is a plain name");
    sqlx::query(
        "-- store a run
        INSERT INTO upshift.run
            (run, pack, target_version, strategy, state, upshift_version, plan, options)
        VALUES ($1::uuid, $2, $3, $4, 'planned', $5, $6::jsonb, $7::jsonb)",
    )
    .bind(run.to_string())
    .bind(&plan.pack)
    .bind(plan.target_version.as_ref().map(ToString::to_string))
    .bind(strategy.as_str().unwrap_or_default())
    .bind(upshift_version)
    .bind(json)
    .bind(options)
    .execute(conn)
    .await
    .map_err(Error::database("storing the run"))?;
    Ok(())
}

/// The run; `None` where the ledger does not know it.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn read(conn: &mut PgConnection, run: RunId) -> Result<Option<RunRow>> {
    let runs = select(conn, Some(run), &RunState::ALL).await?;
    Ok(runs.into_iter().next())
}

/// All runs, the newest first.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<RunRow>> {
    select(conn, None, &RunState::ALL).await
}

/// The newest run in one of these states.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn latest(conn: &mut PgConnection, states: &[RunState]) -> Result<Option<RunRow>> {
    let runs = select(conn, None, states).await?;
    Ok(runs.into_iter().next())
}

async fn select(
    conn: &mut PgConnection,
    run: Option<RunId>,
    states: &[RunState],
) -> Result<Vec<RunRow>> {
    let states: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
    let rows = sqlx::query(
        "-- read runs
        SELECT run::text, pack, target_version, strategy, state, upshift_version,
               to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS created_at,
               to_char(changed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS changed_at,
               error::text, rollback_to
        FROM upshift.run
        WHERE state = ANY ($1) AND ($2::uuid IS NULL OR run = $2::uuid)
        ORDER BY upshift.run.created_at DESC, upshift.run.run DESC",
    )
    .bind(states)
    .bind(run.map(|run| run.to_string()))
    .fetch_all(conn)
    .await
    .map_err(Error::database("reading runs"))?;
    rows.iter().map(decode).collect()
}

fn decode(row: &PgRow) -> Result<RunRow> {
    let text = |name: &str| {
        row.try_get::<String, _>(name)
            .map_err(Error::database("reading a run"))
    };
    let optional = |name: &str| {
        row.try_get::<Option<String>, _>(name)
            .map_err(Error::database("reading a run"))
    };
    let error = optional("error")?.map(|json| {
        serde_json::from_str(&json).unwrap_or(RunError {
            message: json,
            source: None,
            sqlstate: None,
        })
    });
    Ok(RunRow {
        run: text("run")?
            .parse()
            .map_err(|_| Error::Format("the ledger has a run whose id is no UUID".to_owned()))?,
        pack: text("pack")?,
        target_version: optional("target_version")?,
        strategy: text("strategy")?,
        state: text("state")?.parse()?,
        upshift_version: text("upshift_version")?,
        created_at: text("created_at")?,
        changed_at: text("changed_at")?,
        error,
        rollback_to: optional("rollback_to")?,
    })
}

/// The run's plan.
///
/// # Errors
/// When the ledger does not know the run, or a newer program wrote the plan.
pub async fn plan(conn: &mut PgConnection, run: RunId) -> Result<Plan> {
    let row = sqlx::query(
        "-- read a plan
        SELECT (plan ->> 'format')::integer AS format, plan::text AS plan
        FROM upshift.run WHERE run = $1::uuid",
    )
    .bind(run.to_string())
    .fetch_optional(conn)
    .await
    .map_err(Error::database("reading the plan"))?
    .ok_or_else(|| Error::Refused(format!("the ledger does not know run {run}")))?;
    let format: Option<i32> = row
        .try_get("format")
        .map_err(Error::database("reading the plan"))?;
    if format.is_none_or(|format| i64::from(format) > i64::from(PLAN_FORMAT)) {
        return Err(Error::Format(format!(
            "the plan of run {run} has a format that this program does not know (it knows up to \
             {PLAN_FORMAT}): use the version of upshift that made it, or a newer one"
        )));
    }
    let json: String = row
        .try_get("plan")
        .map_err(Error::database("reading the plan"))?;
    serde_json::from_str(&json)
        .map(Plan::completed)
        .map_err(|error| Error::Format(format!("the plan of run {run} cannot be read: {error}")))
}

/// What a change of state says beside the state.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change<'a> {
    /// For failed and stuck. A run that is taken back whole keeps what it has failed with: a fleet counts it.
    pub error: Option<&'a RunError>,
    /// For a rollback: the checkpoint that it goes to; `None` for the start.
    pub rollback_to: Option<&'a str>,
    /// What was not yet written of the event log: it goes before the change, in its transaction.
    pub events: Option<&'a Batch>,
}

/// Brings a run into another state, if it may go there; returns the state that it was in. The event
/// log has the change.
///
/// # Errors
/// [`Error::Refused`] when it may not, [`Error::Fenced`] when somebody else drives it.
pub async fn change_state(
    conn: &mut PgConnection,
    holder: Holder,
    to: RunState,
    change: Change<'_>,
) -> Result<RunState> {
    let error = change
        .error
        .map(|error| serde_json::to_string(error).expect("an error is plain data"));
    let rollback_to = change.rollback_to.map(str::to_owned);
    let events = change.events;
    fence::run(conn, "change the run's state", holder, move |tx, _scope| {
        let (error, rollback_to) = (error.clone(), rollback_to.clone());
        Box::pin(async move {
            if let Some(events) = events {
                event::insert_within(tx, holder.run, events).await?;
            }
            change_within(tx, holder.run, to, error, rollback_to).await
        })
    })
    .await
}

/// Closes the way back: the run is `committed`, and its modules are at their new versions. One
/// transaction, so that neither is ever said without the other.
///
/// # Errors
/// [`Error::Refused`] when the run is not `prepared`, [`Error::Fenced`] when somebody else drives it.
pub async fn commit(
    conn: &mut PgConnection,
    holder: Holder,
    modules: &[(String, String)],
) -> Result<()> {
    let modules = modules.to_vec();
    fence::run(conn, "commit the run", holder, |tx, _scope| {
        Box::pin(commit_within(tx, holder.run, modules.clone()))
    })
    .await
}

/// The same, within a transaction that is fenced already.
pub(super) async fn commit_within(
    tx: &mut PgConnection,
    run: RunId,
    modules: Vec<(String, String)>,
) -> Result<()> {
    change_within(tx, run, RunState::Committed, None, None).await?;
    super::module::record_within(tx, run, modules).await
}

/// [`change_state`], within a transaction that is fenced already.
pub(super) async fn change_within(
    tx: &mut PgConnection,
    run: RunId,
    to: RunState,
    error: Option<String>,
    rollback_to: Option<String>,
) -> Result<RunState> {
    let row = sqlx::query(
        "-- lock the run
        SELECT state FROM upshift.run WHERE run = $1::uuid FOR UPDATE",
    )
    .bind(run.to_string())
    .fetch_optional(&mut *tx)
    .await
    .map_err(Error::database("locking the run"))?
    .ok_or_else(|| Error::Refused(format!("the ledger does not know run {run}")))?;
    let from: RunState = row
        .try_get::<String, _>("state")
        .map_err(Error::database("reading the run's state"))?
        .parse()?;
    if !from.may_become(to) {
        return Err(Error::Refused(format!(
            "run {run} is {from} and cannot become {to}"
        )));
    }
    sqlx::query(
        "-- change the run's state
        UPDATE upshift.run
        SET state = $2, rollback_to = $4, changed_at = now(), error = CASE
              WHEN $2 IN ('rolling_back', 'rolled_back') AND $4 IS NULL
              THEN coalesce($3::jsonb, error) ELSE $3::jsonb END
        WHERE run = $1::uuid",
    )
    .bind(run.to_string())
    .bind(to.as_str())
    .bind(error)
    .bind(&rollback_to)
    .execute(&mut *tx)
    .await
    .map_err(Error::database("changing the run's state"))?;
    if to == RunState::RolledBack && rollback_to.is_none() {
        sqlx::query(
            "-- nobody asks any more who took units back
            DELETE FROM upshift.taken_back WHERE run = $1::uuid",
        )
        .bind(run.to_string())
        .execute(&mut *tx)
        .await
        .map_err(Error::database("forgetting who took units back"))?;
    }
    if from != to {
        let mut detail = serde_json::json!({"from": from, "to": to});
        if let Some(checkpoint) = rollback_to {
            detail["rollback_to"] = checkpoint.into();
        }
        let changed = Draft::new("run_state", detail);
        event::append_within(tx, run, &changed).await?;
    }
    Ok(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_survives_the_ledger_and_committed_is_the_end() {
        for state in RunState::ALL {
            assert_eq!(state.as_str().parse::<RunState>().expect("known"), state);
            assert!(state.may_become(state));
            assert_eq!(
                RunState::Committed.may_become(state),
                state == RunState::Committed
            );
        }
        assert!("paused".parse::<RunState>().is_err());
        assert!(!RunState::Prepared.may_become(RunState::Failed));
        assert!(!RunState::Running.may_become(RunState::Committed));
    }
}
