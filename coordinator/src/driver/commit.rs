//! `commit`: the decision first, the destruction after it. From the moment that the ledger says
//! `committed` there is no way back; what was hidden and kept is then destroyed on as many sessions as
//! there are workers, task by task in the plan's order, each in a transaction of its own (what a DROP
//! locks is held no longer than that), and whoever finds some of it left over goes on with it.

use std::{collections::BTreeSet, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};

use sqlx::Row;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use upshift_shared::{
    Error, Result,
    clock::Stopwatch,
    ids::{RunId, TaskId, UnitId},
    ledger::{self, Bounds, Holder, event::Draft, options::RunOptions},
    pg::{PgConnection, Target},
    plan::{Plan, Task},
};
use upshift_worker::{
    failpoint,
    unit::{self, Direction, FailureClass, Timeouts, UnitContext},
};

use super::{
    Limits,
    journal::draft,
    sessions::{Sessions, is_connection_lost},
};
use crate::progress::{Ending, Going, Progress, ProgressEvent};

/// How often the destruction of one task is tried when a lock or the connection is in its way.
const ATTEMPTS: u32 = 8;

/// `dependent_objects_still_exist`
const DEPENDENT_OBJECTS: &str = "2BP01";

const PENDING: &str = "-- upshift: is there something left to destroy
SELECT EXISTS (SELECT FROM upshift.deferred WHERE run = $1::uuid)
    OR EXISTS (SELECT FROM pg_catalog.pg_class c
                WHERE c.relnamespace = to_regnamespace('upshift_kept')
                  AND starts_with(c.relname, $2)) AS pending";

const FORGET_CUTS: &str = "-- upshift: nothing will be cut again
WITH closed AS (DELETE FROM upshift.taken_back WHERE run = $1::uuid)
DELETE FROM upshift.cut WHERE run = $1::uuid";

/// Whether a committed run still has something to destroy.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn is_pending(conn: &mut PgConnection, run: RunId) -> Result<bool> {
    if !ledger::snapshot::load(conn, run).await?.is_empty() {
        return Ok(true);
    }
    sqlx::query(PENDING)
        .bind(run.to_string())
        .bind(format!("{}_", run.short()))
        .fetch_one(conn)
        .await
        .and_then(|row| row.try_get("pending"))
        .map_err(Error::database("asking what commit has left to do"))
}

/// Closes the way back and destroys what was hidden and kept. Again is fine.
///
/// # Errors
/// When the run may not be committed, or something stands in the way of the destruction; then the
/// run is committed all the same, and `commit` goes on where it stopped.
pub async fn commit(
    conn: &mut PgConnection,
    target: &Target,
    holder: Holder,
    plan: &Plan,
    limits: &Limits,
    progress: &mut dyn Progress,
) -> Result<()> {
    let watch = Stopwatch::start();
    let modules: Vec<(String, String)> = plan
        .modules
        .iter()
        .map(|module| (module.name.clone(), module.to.to_string()))
        .collect();
    failpoint::reach(failpoint::BEFORE_DECISION);
    ledger::run::commit(conn, holder, &modules).await?;
    failpoint::reach(failpoint::AFTER_DECISION);
    let rows = ledger::task::load(conn, holder.run).await?;
    let begun = plan.tasks.iter().filter(|t| rows.contains_key(&t.id));
    let mut queue = Queue::new(plan, begun.map(|task| task.id).collect());
    let workers = u32::try_from(queue.len()).unwrap_or(u32::MAX);
    let workers = workers.min(limits.workers).max(1);
    let event = ProgressEvent::RunStarted {
        run: holder.run,
        going: Going::Commit,
        tasks: queue.len() as u64,
        tasks_done: 0,
        rows: 0,
        seconds: 0.0,
        workers,
    };
    progress.show(watch.elapsed(), &event);
    ledger::event::append(conn, holder, &draft(&event)).await?;
    destroy_all(
        (target, workers),
        holder,
        plan,
        limits,
        &mut queue,
        |task| {
            progress.show(watch.elapsed(), &ProgressEvent::TaskDone { task });
        },
    )
    .await?;
    sqlx::query(FORGET_CUTS)
        .bind(holder.run.to_string())
        .execute(&mut *conn)
        .await
        .map_err(Error::database("forgetting where units were cut"))?;
    let event = ProgressEvent::RunEnded {
        ending: Ending::Committed,
        message: "there is no way back now".to_owned(),
    };
    progress.show(watch.elapsed(), &event);
    ledger::event::append(conn, holder, &draft(&event)).await
}

/// Destroys what all tasks of the queue deferred and kept, side by side.
async fn destroy_all(
    (target, workers): (&Target, u32),
    holder: Holder,
    plan: &Plan,
    limits: &Limits,
    queue: &mut Queue,
    mut done: impl FnMut(TaskId),
) -> Result<()> {
    let name = format!("upshift {} commit", holder.run.short());
    let sessions = Sessions::at_most(target.clone(), name, workers as usize);
    let mut working = FuturesUnordered::new();
    let mut failed = None;
    // What something else depends on still: perhaps what another task kept.
    let mut held_up = Vec::new();
    loop {
        while failed.is_none() && working.len() < workers as usize {
            let Some(task) = queue.next() else { break };
            let task = &plan.tasks[task.0 as usize];
            working.push(Box::pin(async {
                let done = destroy(&sessions, target, holder, task, limits).await;
                (task.id, done)
            }));
        }
        match working.next().await {
            Some((task, Ok(()))) => {
                queue.done(task);
                queue.again(held_up.drain(..).map(|(task, _)| task));
                done(task);
            }
            Some((task, Err(Undestroyed::DependedOn(error)))) => held_up.push((task, error)),
            // What is under way ends; nothing new begins.
            Some((_, Err(Undestroyed::Failed(error)))) => failed = failed.or(Some(error)),
            None => break,
        }
    }
    match failed.or(held_up.pop().map(|(_, error)| error)) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Why a task's destruction is still to be done.
enum Undestroyed {
    /// Something depends on what it dropped.
    DependedOn(Error),
    Failed(Error),
}

/// For the event log: what was left of the destruction waits for another `commit`.
pub(crate) fn stopped(error: &Error) -> Draft {
    draft(&ProgressEvent::RunEnded {
        ending: Ending::Stopped,
        message: error.to_string(),
    })
}

/// The tasks whose destruction is still to begin. A task comes after those that it depends on: what
/// the pack dropped first may be what the later one could not be dropped with (a column, its type).
struct Queue {
    /// By task: how many before it are not destroyed yet; and those behind it.
    waits: Vec<usize>,
    behind: Vec<Vec<TaskId>>,
    ready: BTreeSet<TaskId>,
    count: usize,
}

impl Queue {
    fn new(plan: &Plan, tasks: BTreeSet<TaskId>) -> Self {
        let mut waits = vec![0; plan.tasks.len()];
        let mut behind = vec![Vec::new(); plan.tasks.len()];
        let both = |from, to| tasks.contains(from) && tasks.contains(to);
        for edge in plan.edges.iter().filter(|edge| both(&edge.from, &edge.to)) {
            waits[edge.to.0 as usize] += 1;
            behind[edge.from.0 as usize].push(edge.to);
        }
        let count = tasks.len();
        let mut ready = tasks;
        ready.retain(|task| waits[task.0 as usize] == 0);
        Self {
            waits,
            behind,
            ready,
            count,
        }
    }

    fn len(&self) -> usize {
        self.count
    }

    fn next(&mut self) -> Option<TaskId> {
        self.ready.pop_first()
    }

    /// These are to be tried again.
    fn again(&mut self, tasks: impl Iterator<Item = TaskId>) {
        self.ready.extend(tasks);
    }

    fn done(&mut self, task: TaskId) {
        for later in &self.behind[task.0 as usize] {
            let waits = &mut self.waits[later.0 as usize];
            *waits -= 1;
            if *waits == 0 {
                self.ready.insert(*later);
            }
        }
    }
}

async fn destroy(
    sessions: &Sessions,
    target: &Target,
    holder: Holder,
    task: &Task,
    limits: &Limits,
) -> Result<(), Undestroyed> {
    let (bounds, cancel) = (Bounds::default(), CancellationToken::new());
    let options = RunOptions::default();
    let mut pause = Duration::from_millis(250);
    for attempt in 1.. {
        let context = UnitContext {
            holder,
            task,
            unit: UnitId(0),
            direction: Direction::Commit,
            bounds: &bounds,
            pinned_now: "",
            timeouts: Timeouts {
                lock: limits.lock_timeout,
                statement: limits.statement_timeout,
            },
            attempt,
            target,
            cancel: &cancel,
            force: false,
            units_at_once: 1,
            options: &options,
        };
        let mut depended_on = false;
        let (passing, why) = match sessions.take().await {
            Ok(mut session) => match unit::execute(&mut session, &context).await {
                Ok(_) => return Ok(()),
                Err(error) => {
                    // It may be the session that is broken.
                    session.discard();
                    let passing = matches!(error.class, FailureClass::Now | FailureClass::Later);
                    depended_on = error.sqlstate.as_deref() == Some(DEPENDENT_OBJECTS);
                    let code = error.sqlstate.map(|code| format!(" (SQLSTATE {code})"));
                    let code = code.unwrap_or_default();
                    (passing, format!("{}{code}", error.message))
                }
            },
            Err(error) => (is_connection_lost(&error), error.to_string()),
        };
        if !passing || attempt >= ATTEMPTS {
            let error = Error::Refused(format!(
                "run {} is committed, but what it dropped is not all destroyed yet: {} ({}): {why}; \
                 mend that and say `upshift commit` again",
                holder.run, task.id, task.label,
            ));
            return Err(match depended_on {
                true => Undestroyed::DependedOn(error),
                false => Undestroyed::Failed(error),
            });
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(8));
    }
    Ok(())
}
