//! What an engine was told and what it said, kept apart from it: which units it can offer as far as anybody can
//! know, what is in flight, who has credit. It never says of a run that it has something to offer when it has not.

use std::collections::{BTreeMap, BTreeSet};

use upshift_coordinator::engine::{Command, Event, FailureClass, Labels, RunGraph, ServerId};
use upshift_shared::ids::{RunId, TaskId, WorkerId};

use super::invariants::{Verdict, caps, starvation};

/// A unit whose workers were lost so often ends its run (`engine::retry`).
const MAX_LOSSES: u32 = 5;

/// One engine.
#[derive(Debug, Default)]
pub(super) struct Standing {
    pub(super) runs: BTreeMap<RunId, RunStanding>,
    /// Workers that are not draining.
    pub(super) workers: BTreeMap<WorkerId, WorkerStanding>,
    pub(super) server_limits: BTreeMap<ServerId, u32>,
    /// Units at once, of all runs.
    pub(super) max_units: Option<u32>,
}

/// One worker.
#[derive(Debug)]
pub(super) struct WorkerStanding {
    pub(super) credits: u32,
    labels: Labels,
}

/// One run.
#[derive(Debug)]
pub(super) struct RunStanding {
    pub(super) max_units: u32,
    pub(super) max_units_per_task: u32,
    pub(super) server: Option<ServerId>,
    wants: Labels,
    max_attempts: u32,
    pub(super) tasks: BTreeMap<TaskId, TaskStanding>,
    paused: bool,
    /// It was stopped, or failed, or may have.
    ending: bool,
    /// So many units of others were leased since it has had some to offer.
    pub(super) passed_over: u32,
}

/// One task that was not recorded when the run was submitted.
#[derive(Debug, Default)]
pub(super) struct TaskStanding {
    /// Whether its units are offered: before, nobody knows.
    open: bool,
    fresh: BTreeSet<u32>,
    pub(super) in_flight: BTreeSet<(u32, WorkerId)>,
    failures: u32,
    losses: BTreeMap<u32, u32>,
    cuttable: bool,
}

impl RunStanding {
    fn new(graph: &RunGraph) -> Self {
        let tasks = graph.tasks.iter().filter(|task| !task.done).map(|task| {
            let fresh = task.units.iter().filter(|(_, done)| !done);
            let standing = TaskStanding {
                fresh: fresh.map(|(unit, _)| unit.0).collect(),
                cuttable: task.cuttable,
                ..TaskStanding::default()
            };
            (task.id, standing)
        });
        Self {
            max_units: graph.max_units.max(1),
            max_units_per_task: graph.max_units_per_task.max(1),
            server: graph.server,
            wants: graph.wants.clone(),
            max_attempts: graph.max_attempts,
            tasks: tasks.collect(),
            paused: false,
            ending: false,
            passed_over: 0,
        }
    }

    /// Units in the hands of workers.
    pub(super) fn in_flight(&self) -> usize {
        self.tasks.values().map(|task| task.in_flight.len()).sum()
    }

    /// Whether it has a unit to offer, and may.
    pub(super) fn is_ready(&self) -> bool {
        let offers = |task: &TaskStanding| {
            let below = task.in_flight.len() < self.max_units_per_task as usize;
            task.open && !task.fresh.is_empty() && below
        };
        !self.paused
            && !self.ending
            && self.tasks.values().any(offers)
            && self.in_flight() < self.max_units as usize
    }

    /// Something failed: it may have ended the run.
    fn failed(&mut self, task: TaskId, class: FailureClass) {
        let passing = matches!(
            class,
            FailureClass::Now | FailureClass::Later | FailureClass::TimedOut
        );
        let Some(task) = self.tasks.get_mut(&task) else {
            return;
        };
        task.failures += 1;
        self.ending |= !passing || task.failures > self.max_attempts;
    }
}

impl Standing {
    /// Units in the hands of workers: of runs on a server, or of all.
    pub(super) fn in_flight(&self, server: Option<ServerId>) -> usize {
        let runs = self.runs.values();
        let there = runs.filter(|run| server.is_none() || run.server == server);
        there.map(RunStanding::in_flight).sum()
    }

    /// Whether there is no room for one more unit on the server, or in all.
    fn is_full(&self, server: Option<ServerId>) -> bool {
        let limit = server.and_then(|server| self.server_limits.get(&server));
        let all = self.max_units;
        limit.is_some_and(|most| self.in_flight(server) >= *most as usize)
            || all.is_some_and(|most| self.in_flight(None) >= most as usize)
    }

    /// Runs that have a unit for the worker, which is not in the wrong place for them, and may give it.
    pub(super) fn offering_to(&self, worker: WorkerId) -> Vec<RunId> {
        let Some(worker) = self.workers.get(&worker) else {
            return Vec::new();
        };
        let says_otherwise = |(name, value)| {
            let says = worker.labels.get(name);
            says.is_some_and(|says| says != value)
        };
        let runs = self.runs.iter().filter(|(_, run)| {
            let near = !run.wants.iter().any(says_otherwise);
            near && run.is_ready() && !self.is_full(run.server)
        });
        runs.map(|(id, _)| *id).collect()
    }

    /// Whether there is such a run.
    pub(super) fn has_work_for(&self, worker: WorkerId) -> bool {
        !self.offering_to(worker).is_empty()
    }

    /// The engine took an event.
    pub(super) fn told(&mut self, event: &Event) {
        match event {
            Event::RunSubmitted { run, graph, .. } => {
                self.runs.insert(*run, RunStanding::new(graph));
            }
            Event::WorkerJoined { worker, labels } => {
                let (credits, labels) = (0, labels.clone());
                self.workers
                    .insert(*worker, WorkerStanding { credits, labels });
            }
            Event::CreditGranted { worker, units } => {
                if let Some(worker) = self.workers.get_mut(worker) {
                    worker.credits += units;
                }
            }
            Event::ServerLimited { server, max_units } => {
                self.server_limits.insert(*server, (*max_units).max(1));
            }
            Event::UnitsLimited { max_units } => self.max_units = *max_units,
            Event::WorkerDraining { worker } => {
                self.workers.remove(worker);
            }
            Event::WorkerLost { worker } => self.lost(*worker),
            Event::PauseRequested { run } => self.change(*run, |run| run.paused = true),
            Event::ResumeRequested { run } => self.change(*run, |run| run.paused = false),
            Event::StopRequested { run, .. } => self.change(*run, |run| run.ending = true),
            Event::LimitsChanged {
                run,
                max_units,
                max_units_per_task,
            } => self.change(*run, |run| {
                run.max_units = (*max_units).max(1);
                run.max_units_per_task = (*max_units_per_task).max(1);
            }),
            _ => self.told_of_task(event),
        }
    }

    fn told_of_task(&mut self, event: &Event) {
        match event {
            Event::TaskPrepared { run, task } => self.change_task(*run, *task, |task| {
                task.open = true;
                if !task.cuttable {
                    task.fresh.insert(0);
                }
            }),
            Event::UnitsCut {
                run,
                task,
                first,
                count,
                ..
            } => self.change_task(*run, *task, |task| {
                task.fresh.extend(first.0..first.0 + count);
            }),
            Event::UnitSplit {
                run,
                task,
                unit,
                new,
            } => match new {
                Some(new) => self.change_task(*run, *task, |task| {
                    task.fresh.insert(new.0);
                    // The lower half too, unless a late commit finished it whole; that is not known here.
                    task.fresh.remove(&unit.0);
                }),
                None => self.change(*run, |run| run.failed(*task, FailureClass::TimedOut)),
            },
            Event::UnitFinished {
                run,
                worker,
                task,
                unit,
                ..
            } => self.change_task(*run, *task, |task| {
                task.in_flight.remove(&(unit.0, *worker));
                task.fresh.remove(&unit.0);
            }),
            Event::UnitFailed {
                run,
                worker,
                task,
                unit,
                failure,
            } => self.change(*run, |run| {
                let held = run.tasks.get_mut(task);
                if held.is_some_and(|task| task.in_flight.remove(&(unit.0, *worker))) {
                    run.failed(*task, failure.class);
                }
            }),
            Event::TaskFailed { run, task, failure } => {
                self.change(*run, |run| run.failed(*task, failure.class));
            }
            // A lease of it may still be out, where another worker's commit came in late.
            Event::TaskRecorded { run, task } => self.change_task(*run, *task, |task| {
                task.open = false;
                task.fresh.clear();
            }),
            _ => {}
        }
    }

    fn change(&mut self, run: RunId, change: impl FnOnce(&mut RunStanding)) {
        if let Some(run) = self.runs.get_mut(&run) {
            change(run);
        }
    }

    fn change_task(&mut self, run: RunId, task: TaskId, change: impl FnOnce(&mut TaskStanding)) {
        self.change(run, |run| {
            if let Some(task) = run.tasks.get_mut(&task) {
                change(task);
            }
        });
    }

    fn lost(&mut self, worker: WorkerId) {
        self.workers.remove(&worker);
        for run in self.runs.values_mut() {
            for task in run.tasks.values_mut() {
                let held = task
                    .in_flight
                    .iter()
                    .filter(|(_, holder)| *holder == worker);
                let held: Vec<u32> = held.map(|(unit, _)| *unit).collect();
                for unit in held {
                    task.in_flight.remove(&(unit, worker));
                    let losses = task.losses.entry(unit).or_default();
                    *losses += 1;
                    run.ending |= *losses >= MAX_LOSSES;
                }
            }
        }
    }

    /// The engine said something.
    pub(super) fn said(&mut self, command: &Command) -> Verdict {
        match command {
            Command::LeaseUnit {
                worker,
                run,
                task,
                unit,
                ..
            } => {
                if let Some(worker) = self.workers.get_mut(worker) {
                    worker.credits = worker.credits.saturating_sub(1);
                }
                self.change_task(*run, *task, |task| {
                    task.open = true;
                    task.fresh.remove(&unit.0);
                    task.in_flight.insert((unit.0, *worker));
                });
                caps::leased(self, *run, *task)?;
                starvation::leased(self, *run, *worker)
            }
            Command::CutTask { run, task, .. } | Command::SplitUnit { run, task, .. } => {
                self.change_task(*run, *task, |task| task.open = true);
                Ok(())
            }
            Command::EndRun { run, .. } => {
                self.runs.remove(run);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
