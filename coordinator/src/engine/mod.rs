//! The pure state machine of run, task and unit: an event and the time in, an exact list of commands
//! out. No I/O, no clock, no randomness.
//!
//! The driver persists what has to be durable, executes each command, and answers it with an event.
//! What the engine holds is volatile: after a crash a new one is given the graph with what the ledger
//! has ([`RunGraph`]), and goes on.

#[cfg(test)]
mod bench;
mod checkpoint;
mod event;
#[cfg(test)]
mod failure_tests;
mod kinds;
#[cfg(test)]
mod limits_tests;
#[cfg(test)]
mod property_tests;
mod retry;
mod run;
#[cfg(test)]
mod run_tests;
mod runs;
mod schedule;
#[cfg(test)]
mod schedule_tests;
#[cfg(test)]
mod script;
mod size;
mod subject;
#[cfg(test)]
mod table_tests;
mod task;
mod turn;
#[cfg(test)]
mod turn_tests;
mod unit;
mod worker;

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use upshift_shared::ids::{RunId, TaskId, UnitId, WorkerId};

pub use event::{
    Access, Command, Direction, Event, Failure, FailureClass, GraphTask, Outcome, RunGraph,
    ServerId, StopReason,
};
use retry::Alarms;
use run::{Context, Refusal, Run};
use runs::{RunIndex, Runs};
use subject::Subject;
pub use turn::Labels;
use turn::Turns;
use worker::Workers;

/// So many runs that have ended are remembered.
const REMEMBERED: usize = 4_096;

/// An event that does not fit the state. Nothing has changed. Either an operator's request came too
/// late or twice, or the driver has a defect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event} does not fit: {state}")]
pub struct IllegalTransition {
    /// How the run, task, unit or worker stands.
    pub state: String,
    /// The event, with what it is about.
    pub event: String,
}

/// All runs and workers of one coordinator.
#[derive(Debug, Default)]
pub struct Engine {
    runs: Runs,
    ended: Ended,
    turns: Turns,
    workers: Workers,
    /// At most so many units at once, of all runs.
    max_units: Option<u32>,
    alarms: Alarms,
}

/// The last runs that have ended: late reports about them are no defect.
#[derive(Debug, Default)]
struct Ended {
    runs: BTreeSet<RunId>,
    order: VecDeque<RunId>,
}

impl Ended {
    fn insert(&mut self, run: RunId) {
        if self.runs.insert(run) {
            self.order.push_back(run);
        }
        if self.order.len() > REMEMBERED {
            let oldest = self.order.pop_front();
            oldest.inspect(|run| {
                self.runs.remove(run);
            });
        }
    }

    fn contains(&self, run: RunId) -> bool {
        self.runs.contains(&run)
    }
}

/// How much there is to do, and who does it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Runs that have not ended.
    pub runs: u64,
    /// Units in the hands of workers.
    pub units_in_flight: u64,
    /// Units that could be run now, were there workers for them and did no server's limit forbid it.
    pub units_ready: u64,
    /// Units that all workers together run at once.
    pub capacity: u64,
}

impl Engine {
    /// No runs, no workers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How much there is to do. Costs as much as there are runs with work.
    #[must_use]
    pub fn load(&self) -> Load {
        let waiting = self.turns.waiting();
        let ready = waiting.filter_map(|run| Some(self.runs.get(run)?.ready()));
        Load {
            runs: self.runs.len() as u64,
            units_in_flight: u64::from(self.workers.leases()),
            units_ready: ready.sum(),
            capacity: u64::from(self.workers.capacity()),
        }
    }

    /// How many entries of queues have been looked at so far to find whose turn it is: what handing out
    /// units has cost, whatever the machine.
    #[must_use]
    pub fn looks(&self) -> u64 {
        self.turns.looks()
    }

    /// Takes an event and says what the driver must do. `now` is the time since any fixed instant; it
    /// never goes back.
    ///
    /// # Errors
    /// When the event does not fit the state; nothing has changed then.
    pub fn handle(
        &mut self,
        event: Event,
        now: Duration,
    ) -> Result<Vec<Command>, IllegalTransition> {
        let mut out = Vec::new();
        let subject = Subject::of(&event);
        let applied = self.apply(event, now, &mut out);
        let changed = applied.map_err(|state| IllegalTransition {
            state,
            event: subject.to_string(),
        })?;
        if let Some(run) = changed {
            self.settle(run, now, &mut out);
        }
        while let Some(sleeper) = self.alarms.due(now) {
            self.with_run(sleeper.run, now, &mut out, |run, cx| {
                run.wake(sleeper.task, sleeper.unit, cx);
            });
        }
        self.dispatch(now, &mut out);
        if let Some(at) = self.alarms.timer() {
            out.push(Command::SetTimer { at });
        }
        Ok(out)
    }

    /// What the event itself means, and the run that it was about, if that has not ended; what follows from
    /// it, [`Self::handle`] sees to.
    #[expect(
        clippy::too_many_lines,
        reason = "one exhaustive match, so that no event is forgotten"
    )]
    fn apply(
        &mut self,
        event: Event,
        now: Duration,
        out: &mut Vec<Command>,
    ) -> Result<Option<RunIndex>, Refusal> {
        match event {
            Event::RunSubmitted { run, graph } => self.submit(run, graph, now, out),
            Event::WorkerJoined { worker, labels } => {
                let joined = self.workers.join(worker, &labels);
                if joined {
                    self.turns.worker(&labels, true);
                }
                self.unless_worker_stands(joined, worker)
            }
            Event::CreditGranted { worker, units } => {
                let granted = self.workers.grant(worker, units);
                self.unless_worker_stands(granted, worker)
            }
            Event::WorkerDraining { worker } => {
                let labels = self.workers.drain(worker);
                if let Some(labels) = &labels {
                    self.turns.worker(labels, false);
                }
                self.unless_worker_stands(labels.is_some(), worker)
            }
            Event::WorkerLost { worker } => self.worker_lost(worker, now, out),
            Event::TaskPrepared { run, task } => {
                self.of_task(run, task, now, out, |run, t, cx| run.task_prepared(t, cx))
            }
            Event::UnitsCut {
                run,
                task,
                first,
                count,
                exhausted,
            } => self.of_task(run, task, now, out, |run, t, cx| {
                run.units_cut(t, (first, count, exhausted), cx)
            }),
            Event::UnitSplit {
                run,
                task,
                unit,
                new,
            } => self.of_task(run, task, now, out, |run, t, cx| {
                run.unit_split(t, unit, new, cx)
            }),
            Event::TaskFailed { run, task, failure } => {
                self.of_task(run, task, now, out, |run, t, cx| {
                    run.task_failed(t, failure, cx)
                })
            }
            Event::TaskRecorded { run, task } => {
                self.of_task(run, task, now, out, |run, t, cx| run.task_recorded(t, cx))
            }
            Event::CheckpointRecorded { run, module } => {
                self.of_run(run, now, out, |run, _| run.checkpoint_recorded(module))
            }
            Event::UnitFinished {
                run,
                worker,
                task,
                unit,
                rows: _,
                elapsed,
            } => self.unit_report((run, task, unit), worker, Ok(elapsed), now, out),
            Event::UnitFailed {
                run,
                worker,
                task,
                unit,
                failure,
            } => self.unit_report((run, task, unit), worker, Err(failure), now, out),
            Event::TimerFired => {
                self.alarms.fired();
                Ok(None)
            }
            Event::PauseRequested { run } => self.of_live_run(run, now, out, |run, _| run.pause()),
            Event::ResumeRequested { run } => {
                self.of_live_run(run, now, out, |run, cx| run.resume(cx))
            }
            Event::LimitsChanged {
                run,
                max_units,
                max_units_per_task,
            } => self.of_live_run(run, now, out, |run, cx| {
                run.limits_changed(max_units, max_units_per_task, cx)
            }),
            Event::StopRequested { run, reason } => {
                self.of_live_run(run, now, out, |run, _| run.stop(reason))
            }
            Event::ServerLimited { server, max_units } => {
                self.turns.limit(server, max_units);
                Ok(None)
            }
            Event::UnitsLimited { max_units } => {
                self.max_units = max_units.map(|max| max.max(1));
                Ok(None)
            }
        }
    }

    fn submit(
        &mut self,
        id: RunId,
        mut graph: RunGraph,
        now: Duration,
        out: &mut Vec<Command>,
    ) -> Result<Option<RunIndex>, Refusal> {
        if let Some(run) = self.runs.find(id).and_then(|index| self.runs.get(index)) {
            return Err(run.describe());
        }
        let place = (std::mem::take(&mut graph.wants), graph.server);
        let index = self.runs.next();
        let mut cx = Context {
            now,
            out,
            alarms: &mut self.alarms,
            capacity: self.workers.capacity(),
            index,
        };
        let run = Run::submit(id, graph, &mut cx)?;
        let workers = &self.workers;
        self.turns.add(index, place, |wanted| workers.near(wanted));
        self.runs.insert(id, run);
        Ok(Some(index))
    }

    fn worker_lost(
        &mut self,
        worker: WorkerId,
        now: Duration,
        out: &mut Vec<Command>,
    ) -> Result<Option<RunIndex>, Refusal> {
        let Some((held, labels)) = self.workers.lose(worker) else {
            return Err(self.workers.describe(worker));
        };
        if let Some(labels) = &labels {
            self.turns.worker(labels, false);
        }
        for (run, task, unit) in held {
            self.turns.unit_ended(run);
            self.with_run(run, now, out, |run, cx| run.unit_lost(task, unit, cx));
        }
        Ok(None)
    }

    /// A worker's report. Late ones count: the first commit of a unit is *the* commit, whoever made
    /// it. A late failure says nothing: somebody else has the unit now.
    fn unit_report(
        &mut self,
        (id, task, unit): (RunId, TaskId, UnitId),
        worker: WorkerId,
        report: Result<Duration, Failure>,
        now: Duration,
        out: &mut Vec<Command>,
    ) -> Result<Option<RunIndex>, Refusal> {
        let Some(index) = self.runs.find(id) else {
            return self.unless_ended(id);
        };
        let Some(run) = self.runs.get_mut(index) else {
            return Ok(None);
        };
        let t = run.place(task)?;
        let held = self.workers.release(worker, (index, t, unit.0));
        if held {
            self.turns.unit_ended(index);
        } else {
            run.knows(t, unit.0)?;
        }
        let mut cx = Context {
            now,
            out,
            alarms: &mut self.alarms,
            capacity: self.workers.capacity(),
            index,
        };
        match report {
            Ok(elapsed) => run.unit_finished(t, unit.0, elapsed, held, &mut cx),
            Err(failure) if held => run.unit_failed(t, unit.0, failure, &mut cx),
            Err(_) => {}
        }
        Ok(Some(index))
    }

    fn of_task(
        &mut self,
        id: RunId,
        task: TaskId,
        now: Duration,
        out: &mut Vec<Command>,
        change: impl FnOnce(&mut Run, u32, &mut Context<'_>) -> Result<(), Refusal>,
    ) -> Result<Option<RunIndex>, Refusal> {
        self.of_run(id, now, out, |run, cx| {
            let t = run.place(task)?;
            change(run, t, cx)
        })
    }

    /// The driver's answers: those that come after the run has ended say nothing any more.
    fn of_run(
        &mut self,
        id: RunId,
        now: Duration,
        out: &mut Vec<Command>,
        change: impl FnOnce(&mut Run, &mut Context<'_>) -> Result<(), Refusal>,
    ) -> Result<Option<RunIndex>, Refusal> {
        match self.runs.find(id) {
            Some(index) => self.change(index, now, out, change),
            None => self.unless_ended(id),
        }
    }

    /// Operators' requests: those that come after the run has ended are refused.
    fn of_live_run(
        &mut self,
        id: RunId,
        now: Duration,
        out: &mut Vec<Command>,
        change: impl FnOnce(&mut Run, &mut Context<'_>) -> Result<(), Refusal>,
    ) -> Result<Option<RunIndex>, Refusal> {
        match self.runs.find(id) {
            Some(index) => self.change(index, now, out, change),
            None if self.ended.contains(id) => Err("the run has ended".to_owned()),
            None => Err("there is no such run".to_owned()),
        }
    }

    /// Changes a run, if it is still there.
    fn change(
        &mut self,
        index: RunIndex,
        now: Duration,
        out: &mut Vec<Command>,
        change: impl FnOnce(&mut Run, &mut Context<'_>) -> Result<(), Refusal>,
    ) -> Result<Option<RunIndex>, Refusal> {
        let Some(run) = self.runs.get_mut(index) else {
            return Ok(None);
        };
        let mut cx = Context {
            now,
            out,
            alarms: &mut self.alarms,
            capacity: self.workers.capacity(),
            index,
        };
        change(run, &mut cx)?;
        Ok(Some(index))
    }

    /// For what cannot be refused: changes a run, if it is still there, and lets it settle.
    fn with_run(
        &mut self,
        index: RunIndex,
        now: Duration,
        out: &mut Vec<Command>,
        change: impl FnOnce(&mut Run, &mut Context<'_>),
    ) {
        let done = self.change(index, now, out, |run, cx| {
            change(run, cx);
            Ok(())
        });
        if done.is_ok() {
            self.settle(index, now, out);
        }
    }

    fn unless_ended(&self, id: RunId) -> Result<Option<RunIndex>, Refusal> {
        if self.ended.contains(id) {
            Ok(None)
        } else {
            Err("there is no such run".to_owned())
        }
    }

    fn unless_worker_stands(
        &self,
        fits: bool,
        worker: WorkerId,
    ) -> Result<Option<RunIndex>, Refusal> {
        if fits {
            Ok(None)
        } else {
            Err(self.workers.describe(worker))
        }
    }

    /// Lets a run begin what it may, forgets it when it has ended, and puts it among those that may
    /// have a unit to offer.
    fn settle(&mut self, index: RunIndex, now: Duration, out: &mut Vec<Command>) {
        let Some(run) = self.runs.get_mut(index) else {
            return;
        };
        let mut cx = Context {
            now,
            out,
            alarms: &mut self.alarms,
            capacity: self.workers.capacity(),
            index,
        };
        if run.settle(&mut cx) {
            self.turns.remove(index);
            self.alarms.forget(index);
            let run = self.runs.remove(index);
            run.inspect(|run| self.ended.insert(run.id()));
        } else {
            self.turns.enter(index);
        }
    }

    /// Gives units to workers with credit, one to each and one of each run in turn. A run that has
    /// nothing to offer waits until something happens to it.
    fn dispatch(&mut self, now: Duration, out: &mut Vec<Command>) {
        for kind in self.workers.kinds() {
            while !self.is_full() {
                let Some(worker) = self.workers.next_free(kind) else {
                    break;
                };
                if !self.give(worker, kind, now, out) {
                    break;
                }
            }
        }
    }

    fn is_full(&self) -> bool {
        self.max_units
            .is_some_and(|max| self.workers.leases() >= max)
    }

    /// Gives a unit to a worker, if there is one for it.
    fn give(
        &mut self,
        worker: WorkerId,
        kind: usize,
        now: Duration,
        out: &mut Vec<Command>,
    ) -> bool {
        while let Some(index) = self.turns.next(self.workers.labels(kind)) {
            let Some(run) = self.runs.get_mut(index) else {
                continue;
            };
            let mut follows = Vec::new();
            let mut cx = Context {
                now,
                out: &mut follows,
                alarms: &mut self.alarms,
                capacity: self.workers.capacity(),
                index,
            };
            let lease = run.lease(&mut cx);
            if let Some(lease) = lease {
                let held = (index, lease.place, lease.unit.0);
                self.workers.lease(worker, held);
                self.turns.served(index);
                out.push(Command::LeaseUnit {
                    worker,
                    run: run.id(),
                    task: lease.task,
                    unit: lease.unit,
                    direction: lease.direction,
                    attempt: lease.attempt,
                });
            } else {
                self.turns.has_nothing(index);
            }
            out.append(&mut follows);
            if lease.is_some() {
                return true;
            }
        }
        false
    }
}
