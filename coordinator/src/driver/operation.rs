//! What the engine asks of the driver, done on the ledger and the database: each operation may be
//! done again without harm, so that one whose connection was lost is.

use std::sync::Arc;

use upshift_shared::{
    Error, Result,
    ids::{RunId, TaskId, UnitId},
    ledger::{
        self, Bounds, Holder, fence,
        options::RunOptions,
        run::{Change, RunError, RunState},
        task::TaskState,
    },
    pg::PgConnection,
    plan::{Cut, Plan, Task},
};

use super::{
    cut::{self, Batch, Frontier},
    sessions::{Backoff, Sessions, is_connection_lost},
};
use crate::group::Seat;

/// Something to do, with all that it needs.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    /// `PrepareTask`
    Prepare(TaskId),
    /// `CutTask`
    Cut {
        task: TaskId,
        frontier: Frontier,
        rows: u64,
        units: u32,
    },
    /// `SplitUnit`
    Split {
        task: TaskId,
        unit: UnitId,
        bounds: Bounds,
        new: UnitId,
    },
    /// `RecordTask`, forward.
    RecordDone(TaskId),
    /// `RecordTask`, back: what it kept goes with it.
    RecordUndone(TaskId),
    /// `RecordCheckpoint`
    RecordCheckpoint(u32),
    /// `EndRun`
    End {
        state: RunState,
        error: Option<RunError>,
        rollback_to: Option<String>,
    },
    /// After the database's lock was lost and taken again: is the run still ours?
    CheckEpoch,
}

/// What an operation found out.
#[derive(Debug)]
pub(super) enum Answer {
    Prepared {
        pinned_now: String,
    },
    Cut(Batch),
    Split(Option<Vec<String>>),
    /// The group has stopped before its cut; why.
    Stopped(String),
    Done,
}

/// What all operations of a run need.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) holder: Holder,
    pub(super) plan: Arc<Plan>,
    pub(super) options: RunOptions,
    pub(super) sessions: Sessions,
    /// Where the run belongs to a group.
    pub(super) seat: Option<Seat>,
}

impl Scene {
    /// Does it; again on a new connection where one was lost, as long as patience lasts.
    pub(super) async fn execute(&self, operation: &Operation) -> Result<Answer> {
        // First: waiting for the others must not keep a session.
        if let Some(answer) = self.with_group(operation).await {
            return answer;
        }
        let mut backoff = Backoff::default();
        loop {
            let failure = match self.sessions.take().await {
                Ok(mut session) => match self.perform(&mut session, operation).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) if is_connection_lost(&error) => {
                        session.discard();
                        error
                    }
                    Err(error) => return Err(error),
                },
                Err(error) if is_connection_lost(&error) => error,
                Err(error) => return Err(error),
            };
            tracing::warn!(%failure, "connection lost");
            match backoff.next() {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(failure),
            }
        }
    }

    async fn perform(&self, conn: &mut PgConnection, operation: &Operation) -> Result<Answer> {
        let holder = self.holder;
        match operation {
            Operation::Prepare(task) => {
                let task = &self.plan.tasks[task.0 as usize];
                let pinned_now = upshift_worker::prepare::prepare(conn, holder, task).await?;
                return Ok(Answer::Prepared { pinned_now });
            }
            Operation::Cut {
                task,
                frontier,
                rows,
                units,
            } => {
                let by = self.cut(*task)?;
                let size = (*rows, *units);
                let batch = cut::cut(conn, holder, *task, by, frontier, size).await?;
                return Ok(Answer::Cut(batch));
            }
            Operation::Split {
                task,
                unit,
                bounds,
                new,
            } => {
                let by = self.cut(*task)?;
                let middle = cut::split(conn, holder, *task, by, (*unit, bounds, *new)).await?;
                return Ok(Answer::Split(middle));
            }
            Operation::RecordDone(task) => {
                ledger::task::set_state(conn, holder, *task, TaskState::Done).await?;
            }
            Operation::RecordUndone(task) => {
                let task = &self.plan.tasks[task.0 as usize];
                record_undone(conn, holder, task, false).await?;
            }
            Operation::RecordCheckpoint(module) => {
                let planned = &self.plan.modules[*module as usize];
                // One that shares a pass with a later module is no point to come back to.
                if planned.joined_with.is_none() {
                    ledger::checkpoint::insert(conn, holder, *module, &planned.name).await?;
                }
            }
            Operation::End {
                state,
                error,
                rollback_to,
            } => {
                let change = Change {
                    error: error.as_ref(),
                    rollback_to: rollback_to.as_deref(),
                };
                ledger::run::change_state(conn, holder, *state, change).await?;
            }
            Operation::CheckEpoch => fence::check(conn, holder).await?,
        }
        Ok(Answer::Done)
    }

    fn cut(&self, task: TaskId) -> Result<&Cut> {
        let operator = &self.plan.tasks[task.0 as usize].operator;
        let cut = operator.cut();
        cut.ok_or_else(|| Error::Format(format!("{task} is not cut into units")))
    }
}

/// Records a task as undone, and clears away what it kept: done again, it begins anew. `restore` is
/// for a task that was begun and came to nothing: it may still have drawn from sequences. (A unit's
/// undo has seen to that itself.)
pub(super) async fn record_undone(
    conn: &mut PgConnection,
    holder: Holder,
    task: &Task,
    restore: bool,
) -> Result<()> {
    let id = task.id;
    if restore {
        fence::run(conn, "set sequences back", holder, move |tx, _scope| {
            Box::pin(ledger::sequence::restore(tx, holder.run, id))
        })
        .await?;
    }
    upshift_worker::prepare::clear(conn, holder, task).await?;
    fence::run(
        conn,
        "forget the units of a task",
        holder,
        move |tx, _scope| Box::pin(forget(tx, holder.run, id)),
    )
    .await?;
    ledger::task::set_state(conn, holder, id, TaskState::Undone).await
}

const FORGET: [&str; 3] = [
    "-- upshift: forget the cuts of a task
DELETE FROM upshift.cut WHERE run = $1::uuid AND task = $2",
    "-- upshift: a task is not cut
UPDATE upshift.task SET cut_exhausted = false WHERE run = $1::uuid AND task = $2",
    "-- upshift: forget the units of a task
DELETE FROM upshift.unit WHERE run = $1::uuid AND task = $2 AND state <> 'done'",
];

async fn forget(tx: &mut PgConnection, run: RunId, task: TaskId) -> Result<()> {
    for statement in FORGET {
        sqlx::query(statement)
            .bind(run.to_string())
            .bind(i32::try_from(task.0).unwrap_or(i32::MAX))
            .execute(&mut *tx)
            .await
            .map_err(Error::database(format!("forgetting the units of {task}")))?;
    }
    Ok(())
}
