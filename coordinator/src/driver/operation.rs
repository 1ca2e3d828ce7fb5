//! What the engine asks of the driver, done on the ledger and the database: each operation may be
//! done again without harm, so that one whose connection was lost is.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use upshift_shared::{
    Error, Result,
    ids::{TaskId, UnitId},
    ledger::{
        self, Bounds, Holder,
        event::{self, Batch as Events},
        fence,
        options::RunOptions,
        run::{Change, RunError, RunState},
        task::TaskState,
    },
    pg::PgConnection,
    plan::{Cut, Plan, Task},
};
use upshift_worker::{failpoint, unit::described};

use super::{
    cut::{self, Batch, Frontier},
    drive::Notice,
    hub::Told,
    sessions::{Backoff, Sessions, is_connection_lost},
};
use crate::{
    activity::{self, Activity},
    group::Seat,
    progress::ProgressEvent,
    verification::record,
};

/// How long the server may take to say what the run's sessions are at.
const LOOK_DEADLINE: Duration = Duration::from_secs(10);

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
    /// `EndRun`: the last events, and the state, where it changes.
    End {
        state: Option<RunState>,
        error: Option<RunError>,
        rollback_to: Option<String>,
        events: Events,
    },
    /// Before a group's cut: what the run leaves.
    RecordLeft,
    /// After it: where the event goes that tells of the end.
    LastEvent,
    /// After the database's lock was lost and taken again: is the run still ours?
    CheckEpoch,
    /// Of the driver's own accord: events go into the log.
    WriteEvents(Events),
    /// Of the driver's own accord: what are the run's sessions at?
    Look,
}

impl Operation {
    /// The task that it is done for.
    pub(super) fn task(&self) -> Option<TaskId> {
        match self {
            Self::Prepare(task)
            | Self::Cut { task, .. }
            | Self::Split { task, .. }
            | Self::RecordDone(task)
            | Self::RecordUndone(task) => Some(*task),
            Self::RecordCheckpoint(_)
            | Self::End { .. }
            | Self::RecordLeft
            | Self::LastEvent
            | Self::CheckEpoch
            | Self::WriteEvents(_)
            | Self::Look => None,
        }
    }

    /// What it does, as a verb with its object.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Prepare(_) => "prepare the task",
            Self::Cut { .. } => "cut the task into units",
            Self::Split { .. } => "split a unit",
            Self::RecordDone(_) => "record the task as done",
            Self::RecordUndone(_) => "record the task as undone",
            Self::RecordCheckpoint(_) => "record a checkpoint",
            Self::End { .. } => "record the end of the run",
            Self::RecordLeft => "record what the run leaves",
            Self::LastEvent => "read the event log",
            Self::CheckEpoch => "check that the run is still its own",
            Self::WriteEvents(_) => "write events",
            Self::Look => "ask what the sessions are at",
        }
    }

    /// Whether a run in a group does it together with the others.
    pub(super) fn is_cut(&self) -> bool {
        matches!(self, Self::RecordCheckpoint(_) | Self::End { .. })
    }

    /// Whether the engine knows nothing of it. It has sessions of its own, which nothing holds up.
    pub(super) fn is_aside(&self) -> bool {
        matches!(self, Self::WriteEvents(_) | Self::Look)
    }
}

/// What an operation found out.
#[derive(Debug)]
pub(super) enum Answer {
    Prepared {
        pinned_now: String,
    },
    Cut(Batch),
    Split(Option<Vec<String>>),
    Looked(Vec<Activity>),
    /// The `seq` of the run's last event.
    LastEvent(i64),
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
    /// For what is done aside.
    pub(super) aside: Sessions,
    /// Where the driver hears of what happens within an operation.
    pub(super) told: Told,
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
        if matches!(operation, Operation::Look) {
            return self.look().await;
        }
        let sessions = if operation.is_aside() {
            &self.aside
        } else {
            &self.sessions
        };
        let (mut backoff, mut attempt) = (Backoff::default(), 1);
        loop {
            // Events go where a session idles: short runs need no other.
            let idle = operation.is_aside().then(|| self.sessions.take_idle());
            let taken = match idle.flatten() {
                Some(session) => Ok(session),
                None => sessions.take().await,
            };
            let failure = match taken {
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
            let Some(pause) = backoff.next() else {
                return Err(failure);
            };
            attempt += 1;
            let event = ProgressEvent::OperationRetry {
                task: operation.task(),
                operation: operation.what().to_owned(),
                attempt,
                delay: pause.as_secs_f64(),
                reason: described(&failure),
            };
            // A driver that has fallen behind hears of the next attempt.
            self.told.try_send(Notice::Told(event));
            tokio::time::sleep(pause).await;
        }
    }

    /// Once: what the sessions were at is of no use later.
    async fn look(&self) -> Result<Answer> {
        let mut session = self.aside.take().await?;
        let looked = activity::sessions(&mut session, self.holder.run);
        match timeout(LOOK_DEADLINE, looked).await {
            Ok(Ok(sessions)) => Ok(Answer::Looked(sessions)),
            Ok(Err(error)) => {
                session.discard();
                Err(error)
            }
            Err(_) => {
                session.discard();
                Err(Error::Refused("the server does not answer".to_owned()))
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
            Operation::RecordDone(task) => self.record(conn, *task, TaskState::Done).await?,
            Operation::RecordUndone(task) => self.record(conn, *task, TaskState::Undone).await?,
            Operation::RecordCheckpoint(place) => {
                let planned = &self.plan.checkpoints[*place as usize];
                // One that a pass goes across is no point to come back to.
                if planned.joined_with.is_none() {
                    failpoint::reach(failpoint::BEFORE_CHECKPOINT);
                    ledger::checkpoint::insert(conn, holder, *place, &planned.name).await?;
                    failpoint::reach(failpoint::AFTER_CHECKPOINT);
                }
            }
            Operation::End {
                state: Some(state),
                error,
                rollback_to,
                events,
            } => {
                let change = Change {
                    error: error.as_ref(),
                    rollback_to: rollback_to.as_deref(),
                    events: Some(events),
                };
                self.end(conn, *state, change).await?;
            }
            Operation::WriteEvents(events) | Operation::End { events, .. } => {
                event::insert(conn, holder, events).await?;
            }
            Operation::RecordLeft => self.record_left(conn).await?,
            Operation::LastEvent => {
                let last = event::last(conn, holder.run).await?;
                return Ok(Answer::LastEvent(last));
            }
            Operation::CheckEpoch => fence::check(conn, holder).await?,
            Operation::Look => return self.look().await,
        }
        Ok(Answer::Done)
    }

    /// Records that all units of a task are done, or undone.
    async fn record(&self, conn: &mut PgConnection, task: TaskId, to: TaskState) -> Result<()> {
        let task = &self.plan.tasks[task.0 as usize];
        failpoint::at(failpoint::BEFORE_RECORD, task).await;
        match to {
            TaskState::Undone => {
                record_undone(conn, self.holder, task, (false, self.plan.swaps())).await?;
            }
            _ => ledger::task::set_state(conn, self.holder, task.id, to).await?,
        }
        failpoint::at(failpoint::AFTER_RECORD, task).await;
        Ok(())
    }

    /// Brings the run into its last state, after what goes before it.
    async fn end(&self, conn: &mut PgConnection, to: RunState, change: Change<'_>) -> Result<()> {
        let holder = self.holder;
        if to == RunState::Prepared {
            let left = self.record_left(conn).await;
            if let (Err(_), Some(events)) = (&left, change.events) {
                // The end that the last of the events tells of has not come.
                let mut before = events.clone();
                before.events.pop();
                event::insert(conn, holder, &before).await?;
            }
            left?;
        }
        failpoint::reach(failpoint::BEFORE_END);
        ledger::run::change_state(conn, holder, to, change).await?;
        failpoint::reach(failpoint::AFTER_END);
        Ok(())
    }

    async fn record_left(&self, conn: &mut PgConnection) -> Result<()> {
        let (run, verify) = ((self.holder, &*self.plan), self.options.verify);
        record::prepared(conn, self.sessions.target(), run, verify).await
    }

    fn cut(&self, task: TaskId) -> Result<&Cut> {
        let operator = &self.plan.tasks[task.0 as usize].operator;
        let cut = operator.cut();
        cut.ok_or_else(|| Error::Format(format!("{task} is not cut into units")))
    }
}

/// Records a task as undone, and clears away what it kept: done again, it begins anew. `restore` is
/// for a task that was begun and came to nothing: it may still have drawn from sequences. (A unit's
/// undo has seen to that itself.) `swaps`: whether the plan swaps tables.
pub(super) async fn record_undone(
    conn: &mut PgConnection,
    holder: Holder,
    task: &Task,
    (restore, swaps): (bool, bool),
) -> Result<()> {
    let id = task.id;
    if restore {
        fence::run(conn, "set sequences back", holder, move |tx, _scope| {
            Box::pin(ledger::sequence::restore(tx, holder.run, id))
        })
        .await?;
    }
    upshift_worker::prepare::clear(conn, holder, task).await?;
    failpoint::at(failpoint::DURING_RECORD, task).await;
    fence::run(
        conn,
        "record a task as undone",
        holder,
        move |tx, _scope| Box::pin(ledger::task::undone(tx, holder.run, id, swaps)),
    )
    .await
}
