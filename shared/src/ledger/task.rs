//! Tasks: whether each is prepared, done or undone, and the instant that its `now()` is.

use std::collections::HashMap;

use sqlx::{PgConnection, Row};

use super::{
    fence::{self, Holder},
    signed, unsigned,
};
use crate::{
    Error, Result,
    ids::{RunId, TaskId},
};

/// Where a task stands. Durable; a task without a row has not been prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// Its kept tables exist, its instant and sequences are recorded. Set by its preparation.
    Prepared,
    /// All its units are done. Set by the driver.
    Done,
    /// All its units are undone. Set by the driver.
    Undone,
}

impl TaskState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Done => "done",
            Self::Undone => "undone",
        }
    }

    fn parse(text: &str) -> Result<Self> {
        match text {
            "prepared" => Ok(Self::Prepared),
            "done" => Ok(Self::Done),
            "undone" => Ok(Self::Undone),
            other => Err(Error::Format(format!(
                "the ledger has a task in state \"{other}\", which this program does not know"
            ))),
        }
    }
}

/// A task's row.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRow {
    /// The task.
    pub task: TaskId,
    /// Where it stands.
    pub state: TaskState,
    /// What `now()` is for all its units: RFC 3339, UTC, microseconds.
    pub pinned_now: String,
    /// Whether all its units have been cut.
    pub cut_exhausted: bool,
    /// Seconds from its preparation to its end, where it has come to one.
    pub seconds: Option<f64>,
}

/// All tasks of a run that have a row.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn load(conn: &mut PgConnection, run: RunId) -> Result<HashMap<TaskId, TaskRow>> {
    let rows = sqlx::query(
        "-- load the run's tasks
        SELECT task, state, cut_exhausted,
               extract(epoch FROM finished_at - started_at)::double precision AS seconds,
               to_char(pinned_now AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS pinned_now
        FROM upshift.task WHERE run = $1::uuid",
    )
    .bind(run.to_string())
    .fetch_all(conn)
    .await
    .map_err(Error::database("reading tasks"))?;
    let failed = || Error::database("reading tasks");
    rows.iter()
        .map(|row| {
            let task = TaskId(unsigned(row.try_get("task").map_err(failed())?));
            let row = TaskRow {
                task,
                state: TaskState::parse(row.try_get("state").map_err(failed())?)?,
                pinned_now: row.try_get("pinned_now").map_err(failed())?,
                cut_exhausted: row.try_get("cut_exhausted").map_err(failed())?,
                seconds: row.try_get("seconds").map_err(failed())?,
            };
            Ok((task, row))
        })
        .collect()
}

/// Makes the task `prepared`, within the transaction of its preparation; returns the instant that
/// its `now()` is. A task that is prepared or done keeps its instant; one that was undone gets a new
/// one.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn prepare(tx: &mut PgConnection, run: RunId, task: TaskId) -> Result<String> {
    sqlx::query(
        "-- prepare a task
        INSERT INTO upshift.task AS t (run, task, state, pinned_now)
        VALUES ($1::uuid, $2, 'prepared', now())
        ON CONFLICT (run, task) DO UPDATE
        SET state = CASE t.state WHEN 'undone' THEN 'prepared' ELSE t.state END,
            pinned_now = CASE t.state WHEN 'undone' THEN now() ELSE t.pinned_now END,
            started_at = CASE t.state WHEN 'undone' THEN now() ELSE t.started_at END,
            finished_at = CASE t.state WHEN 'undone' THEN NULL ELSE t.finished_at END
        RETURNING
            to_char(pinned_now AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS pinned_now",
    )
    .bind(run.to_string())
    .bind(signed(task.0))
    .fetch_one(tx)
    .await
    .and_then(|row| row.try_get("pinned_now"))
    .map_err(Error::database(format!("preparing {task}")))
}

/// Tasks that are done are `prepared` again: some of their units are about to be taken back, and when
/// that ends half way, what is left of them is to be done again.
///
/// # Errors
/// [`Error::Fenced`] when somebody else drives the run.
pub async fn reopen(conn: &mut PgConnection, holder: Holder, tasks: &[TaskId]) -> Result<()> {
    let tasks: Vec<i32> = tasks.iter().map(|task| signed(task.0)).collect();
    fence::run(conn, "reopen tasks", holder, move |tx, _scope| {
        let tasks = tasks.clone();
        Box::pin(async move {
            sqlx::query(
                "-- reopen tasks
                UPDATE upshift.task SET state = 'prepared', finished_at = NULL
                WHERE run = $1::uuid AND task = ANY ($2) AND state = 'done'",
            )
            .bind(holder.run.to_string())
            .bind(tasks)
            .execute(tx)
            .await
            .map_err(Error::database("reopening tasks"))?;
            Ok(())
        })
    })
    .await
}

/// Records that all units of a task are done, or undone.
///
/// # Errors
/// [`Error::Fenced`] when somebody else drives the run.
pub async fn set_state(
    conn: &mut PgConnection,
    holder: Holder,
    task: TaskId,
    state: TaskState,
) -> Result<()> {
    fence::run(conn, "record a task", holder, move |tx, _scope| {
        Box::pin(async move {
            sqlx::query(
                "-- record a task
                UPDATE upshift.task SET state = $3, finished_at = clock_timestamp()
                WHERE run = $1::uuid AND task = $2",
            )
            .bind(holder.run.to_string())
            .bind(signed(task.0))
            .bind(state.as_str())
            .execute(tx)
            .await
            .map_err(Error::database(format!("recording {task}")))?;
            Ok(())
        })
    })
    .await
}

/// Within a fenced transaction: a task is undone, and its units, their cuts and what they verified are
/// forgotten, so that done again it begins anew. Where the plan swaps tables (`swaps`), the transactions
/// that took its units back stay known as the run's.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn undone(tx: &mut PgConnection, run: RunId, task: TaskId, swaps: bool) -> Result<()> {
    sqlx::query(UNDONE)
        .bind(run.to_string())
        .bind(signed(task.0))
        .bind(swaps)
        .execute(tx)
        .await
        .map_err(Error::database(format!("recording {task} as undone")))?;
    Ok(())
}

/// All of it sees the ledger as it was before (PostgreSQL manual, "Data-Modifying Statements in WITH").
const UNDONE: &str = "-- record a task as undone
WITH own AS (
    INSERT INTO upshift.taken_back (run, xid)
    SELECT DISTINCT run, xmin::text::bigint FROM upshift.unit
    WHERE $3 AND run = $1::uuid AND task = $2 AND state = 'undone'
    ON CONFLICT DO NOTHING
), verified AS (
    DELETE FROM upshift.verification WHERE run = $1::uuid AND task = $2
), cuts AS (
    DELETE FROM upshift.cut WHERE run = $1::uuid AND task = $2
), units AS (
    DELETE FROM upshift.unit WHERE run = $1::uuid AND task = $2 AND state <> 'done'
)
UPDATE upshift.task SET state = 'undone', cut_exhausted = false, finished_at = clock_timestamp()
WHERE run = $1::uuid AND task = $2";
