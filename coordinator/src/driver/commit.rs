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
    failpoint, prepare,
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
/// `lock_not_available`
const LOCK_NOT_AVAILABLE: &str = "55P03";

const PENDING: &str = "-- upshift: is there something left to destroy
SELECT EXISTS (SELECT FROM upshift.deferred WHERE run = $1::uuid)
    OR EXISTS (SELECT FROM pg_catalog.pg_class c
                WHERE c.relnamespace = to_regnamespace('upshift_kept')
                  AND starts_with(c.relname, $2)) AS pending";

const FORGET: &str = "-- upshift: nothing will be cut again, or taken back
WITH closed AS (DELETE FROM upshift.taken_back WHERE run = $1::uuid),
     ways AS (DELETE FROM upshift.undo WHERE run = $1::uuid),
     drawn AS (DELETE FROM upshift.sequence_state WHERE run = $1::uuid)
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
    let deferring = ledger::deferred::tasks(conn, holder.run).await?;
    let keeping = plan.tasks.iter().filter(|t| prepare::keeps_tables(t));
    let burdened = keeping.map(|task| task.id).chain(deferring).collect();
    let mut queue = Queue::new(plan, begun.map(|task| task.id).collect(), burdened);
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
    sqlx::query(FORGET)
        .bind(holder.run.to_string())
        .execute(&mut *conn)
        .await
        .map_err(Error::database(
            "forgetting how the run could be taken back",
        ))?;
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
    let (mut failed, mut depended_on) = (None, None);
    loop {
        while failed.is_none() && working.len() < workers as usize {
            let Some(task) = queue.next() else { break };
            if !queue.burdened.contains(&task) {
                queue.done(task);
                done(task);
                continue;
            }
            let task = &plan.tasks[task.0 as usize];
            working.push(Box::pin(async {
                let done = destroy(&sessions, target, holder, task, limits).await;
                (task.id, done)
            }));
        }
        match working.next().await {
            Some((task, Ok(()))) => {
                queue.done(task);
                done(task);
            }
            Some((task, Err(Undestroyed::DependedOn(error)))) => {
                queue.hold_up(task);
                depended_on = Some(error);
            }
            // What is under way ends; nothing new begins.
            Some((_, Err(Undestroyed::Failed(error)))) => failed = failed.or(Some(error)),
            None if failed.is_none() && queue.next_round() => depended_on = None,
            None => break,
        }
    }
    match failed.or(depended_on) {
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
    /// Those that have something to destroy.
    burdened: BTreeSet<TaskId>,
    /// What something else depends on still: perhaps what another task kept.
    held_up: Vec<TaskId>,
    /// Whether anything was destroyed since those held up were tried.
    moved: bool,
    count: usize,
}

impl Queue {
    fn new(plan: &Plan, tasks: BTreeSet<TaskId>, burdened: BTreeSet<TaskId>) -> Self {
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
            burdened,
            held_up: Vec::new(),
            moved: false,
            count,
        }
    }

    fn len(&self) -> usize {
        self.count
    }

    fn next(&mut self) -> Option<TaskId> {
        self.ready.pop_first()
    }

    /// It is to be tried again, once all the others were.
    fn hold_up(&mut self, task: TaskId) {
        self.held_up.push(task);
    }

    /// When nothing is ready or under way: those held up are ready again, unless nothing was destroyed
    /// since they were tried. (Each attempt takes ACCESS EXCLUSIVE locks.)
    fn next_round(&mut self) -> bool {
        let again = std::mem::take(&mut self.moved) && !self.held_up.is_empty();
        if again {
            self.ready.extend(self.held_up.drain(..));
        }
        again
    }

    fn done(&mut self, task: TaskId) {
        self.moved = true;
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
                    let code = error.sqlstate.as_deref();
                    if !matches!(code, Some(DEPENDENT_OBJECTS | LOCK_NOT_AVAILABLE)) {
                        // It may be the session that is broken.
                        session.discard();
                    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_held_up_are_tried_once_a_round() {
        let mut queue = Queue {
            waits: vec![0, 0, 0, 1],
            behind: vec![Vec::new(), Vec::new(), vec![TaskId(3)], Vec::new()],
            ready: BTreeSet::from([TaskId(0), TaskId(1), TaskId(2)]),
            burdened: BTreeSet::new(),
            held_up: Vec::new(),
            moved: false,
            count: 4,
        };
        // 0 goes once 3 is gone, 1 never.
        let (mut gone, mut tried) = (BTreeSet::new(), Vec::new());
        loop {
            while let Some(task) = queue.next() {
                tried.push(task.0);
                if task.0 == 1 || task.0 == 0 && !gone.contains(&TaskId(3)) {
                    queue.hold_up(task);
                } else {
                    gone.insert(task);
                    queue.done(task);
                }
            }
            if !queue.next_round() {
                break;
            }
        }
        assert_eq!(tried, [0, 1, 2, 3, 0, 1, 1]);
    }
}
