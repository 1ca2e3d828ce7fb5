//! The driver: turns what workers, operators and timers report into engine events, and the engine's
//! commands into ledger writes and unit leases. One `select!` loop a process (`process.rs`), whose
//! arms only build an `Input`; everything is handled here, one input at a time.
//!
//! Shutdown, in this order: no new units (the engine stops offering), units in flight end, the run's
//! end is recorded, workers are drained, the database's lock is given back.

mod answer;
pub mod checkpoints;
pub mod commit;
mod cut;
mod group;
pub(crate) mod journal;
mod lease;
mod monitor;
mod operation;
pub mod process;
pub mod quarantine;
mod rebuild;
mod report;
pub mod rollback;
mod segment;
pub mod sessions;
mod steering;
mod units;
mod waits;
mod workforce;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::broadcast, task::JoinSet};
use upshift_shared::{
    Error, Result, Retry,
    clock::Stopwatch,
    ids::{RunId, TaskId, UnitId, WorkerId},
    ledger::run::{RunError, RunState},
    throttle::ThrottleLimits,
};
use upshift_worker::unit::described;

pub use rebuild::{Rebuilt, back, forward};

use crate::{
    engine::{Command, Direction, Engine, Event, Failure, FailureClass, Outcome, StopReason},
    progress::{Ending, Progress, ProgressEvent},
    server::{OperatorRequest, Outbox, SessionEvent},
};
use journal::Journal;
use lease::Leases;
use operation::{Answer, Operation, Scene};
use report::Report;
use segment::Segment;
use steering::Steering;
use units::UnitBook;
use waits::Ticket;

/// What a run may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Workers in the process.
    pub workers: u32,
    /// Units at once.
    pub max_units: u32,
    /// Units of one task at once.
    pub max_units_per_task: u32,
    /// What of the server's health is borne.
    pub throttle: ThrottleLimits,
    /// Attempts at a unit.
    pub max_attempts: u32,
    /// Rows of the first units of a task.
    pub first_unit_rows: Option<u64>,
    /// For one lock.
    pub lock_timeout: Duration,
    /// For one statement; zero for ever.
    pub statement_timeout: Duration,
    /// The same for tasks that are cut: their units can be made smaller.
    pub cut_statement_timeout: Duration,
    /// Going back: go on where fewer rows come back than were kept.
    pub force: bool,
}

/// Which way the driver goes, and to where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aim {
    /// To `prepared`.
    Forward,
    /// To this checkpoint, or to the start.
    Back {
        /// Its name.
        to: Option<String>,
    },
    /// Some tasks are taken back that the run then does anew, as an edited pack has them: the run stays
    /// `running`.
    TakeBack,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// In the ledger's words.
    pub ending: Ending,
    /// What failed, or why it stopped; empty when all went well.
    pub message: String,
    /// Whether somebody else has the run now.
    pub fenced: bool,
}

/// What can happen.
enum Input {
    /// A worker's session.
    Session(SessionEvent),
    /// An operator asks.
    Operator(OperatorRequest),
    /// An operation has ended.
    Operated(Option<Ticket>, Operation, Result<Answer>),
    /// The engine's timer is due.
    Timer,
    /// The driver's own one is.
    Tick,
    /// Something happened within an operation.
    Told(ProgressEvent),
    /// What operators want, or the health of the server, is not as it was.
    Monitored(monitor::Notice),
    /// Ctrl-C, or SIGTERM.
    Interrupt,
    /// The database's lock could not be kept: another process may drive the run.
    LockLost(String),
    /// It was lost, and taken again: in between, somebody may have taken the run over.
    LockBack,
    /// Another run of the group has stopped.
    GroupStopped,
    /// The workers of this process have all ended.
    WorkersEnded(String),
    /// A defect.
    Broken(String),
}

/// A worker that has a session.
struct Link {
    outbox: Outbox,
    /// Tasks whose specification it has.
    specs: HashSet<TaskId>,
    /// It finishes what it has and leaves.
    draining: bool,
}

/// Drives one run.
struct Driver {
    run: RunId,
    aim: Aim,
    engine: Engine,
    watch: Stopwatch,
    scene: Arc<Scene>,
    limits: Limits,
    segment: Segment,
    units: UnitBook,
    workers: HashMap<WorkerId, Link>,
    leases: Leases,
    operations: JoinSet<(Option<Ticket>, Operation, Result<Answer>)>,
    report: Report,
    steering: Steering,
    /// When the engine's timer is due, since `watch` began.
    timer: Option<Duration>,
    stopping: bool,
    /// Whether that was for another run of the group.
    stopped_by_group: bool,
    ending: Option<Ended>,
    /// Set when the ledger has the end, or cannot have it.
    ended: Option<Ended>,
}

/// What is to be driven.
struct Job {
    scene: Arc<Scene>,
    /// The name that workers resolve.
    database: String,
    aim: Aim,
    rebuilt: Rebuilt,
    limits: Limits,
    resumed: bool,
    /// The `seq` of the run's last event.
    last_event: i64,
    steering: Steering,
}

impl Driver {
    /// Submits the run; the first operations begin.
    fn start(job: Job, progress: Box<dyn Progress>, watchers: broadcast::Sender<String>) -> Self {
        let plan = Arc::clone(&job.scene.plan);
        let started = report::started(&job, &plan);
        let rebuilt = job.rebuilt;
        let watch = Stopwatch::start();
        let journal = Journal::new(watch, job.last_event);
        let mut driver = Self {
            run: job.scene.holder.run,
            aim: job.aim,
            engine: Engine::new(),
            watch,
            leases: Leases::new(Arc::clone(&job.scene), job.database),
            scene: job.scene,
            limits: job.limits,
            segment: rebuilt.segment,
            units: rebuilt.units,
            workers: HashMap::new(),
            operations: JoinSet::new(),
            report: Report::new(plan, progress, watchers, rebuilt.done, journal),
            steering: job.steering,
            timer: None,
            stopping: false,
            stopped_by_group: false,
            ending: None,
            ended: None,
        };
        driver.report.waits.in_group = driver.scene.seat.is_some();
        driver.report.show(Duration::ZERO, &started);
        let run = driver.run;
        let graph = rebuilt.graph;
        driver.feed(Event::RunSubmitted { run, graph });
        // No worker is there yet that could have been given a unit.
        driver.begin_steered();
        driver
    }

    /// How long until the engine's timer is due.
    fn timer_in(&self) -> Option<Duration> {
        self.timer.map(|at| at.saturating_sub(self.watch.elapsed()))
    }

    /// Handles one thing that happened.
    fn take(&mut self, input: Input) {
        match input {
            Input::Session(event) => self.session(event),
            Input::Operator(request) => self.operator(request),
            Input::Operated(ticket, operation, result) => self.operated(ticket, operation, result),
            Input::Monitored(notice) => self.monitored(notice),
            Input::Timer => {
                self.timer = None;
                self.feed(Event::TimerFired);
            }
            Input::Tick => self.tick(),
            Input::Told(event) => self.show(&event),
            Input::Interrupt if self.stopping => self.interrupted_again(),
            Input::Interrupt => self.stop(StopReason::Operator),
            Input::LockLost(why) => self.stop(driver_failure(
                FailureClass::Later,
                format!("the lock of the database was lost ({why}) and could not be taken again"),
            )),
            Input::LockBack => {
                self.show(&ProgressEvent::LockTakenAgain);
                self.operate(Operation::CheckEpoch);
            }
            Input::GroupStopped => self.group_stopped(),
            Input::WorkersEnded(why) => self.stop(driver_failure(FailureClass::Operator, why)),
            Input::Broken(what) => self.stop(driver_failure(FailureClass::Never, what)),
        }
    }

    /// Gives the engine an event and does what it says.
    fn feed(&mut self, event: Event) {
        match self.engine.handle(event, self.watch.elapsed()) {
            Ok(commands) => commands
                .into_iter()
                .for_each(|command| self.execute(command)),
            // Nothing has changed. Reports that crossed a loss on the way are the usual cause.
            Err(illegal) => tracing::warn!(%illegal, "event refused"),
        }
    }

    fn show(&mut self, event: &ProgressEvent) {
        self.report.show(self.watch.elapsed(), event);
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::PrepareTask { task, .. } => self.operate(Operation::Prepare(task)),
            Command::CutTask {
                task, rows, units, ..
            } => {
                let frontier = self.units.page(task).frontier.clone();
                self.operate(Operation::Cut {
                    task,
                    frontier,
                    rows,
                    units,
                });
            }
            Command::SplitUnit { task, unit, .. } => {
                let new = UnitId(self.units.page(task).frontier.next);
                let bounds = self.units.bounds(task, unit);
                self.operate(Operation::Split {
                    task,
                    unit,
                    bounds,
                    new,
                });
            }
            Command::LeaseUnit {
                worker,
                task,
                unit,
                direction,
                attempt,
                ..
            } => self.lease(worker, task, unit, direction, attempt),
            Command::RecordTask { task, .. } => self.operate(match self.aim {
                Aim::Forward => Operation::RecordDone(task),
                Aim::Back { .. } | Aim::TakeBack => Operation::RecordUndone(task),
            }),
            Command::RecordCheckpoint { run, module } if self.segment.holds_checkpoint(module) => {
                self.feed(Event::CheckpointRecorded { run, module });
            }
            Command::RecordCheckpoint { module, .. } => {
                self.operate(Operation::RecordCheckpoint(module));
            }
            Command::ReportRetry {
                task,
                unit,
                attempt,
                delay,
                failure,
                ..
            } => self.show(&ProgressEvent::Retry {
                task,
                unit,
                attempt,
                delay: delay.as_secs_f64(),
                reason: failure.message,
            }),
            Command::EndRun { outcome, .. } => self.end(outcome),
            Command::SetTimer { at } => self.timer = Some(at),
        }
    }

    fn operate(&mut self, operation: Operation) {
        let at = self.watch.elapsed();
        let waits = &mut self.report.waits;
        let ticket = (!operation.is_aside()).then(|| waits.operation_began(at, &operation));
        let scene = Arc::clone(&self.scene);
        self.operations.spawn(async move {
            let result = scene.execute(&operation).await;
            (ticket, operation, result)
        });
    }

    fn lease(
        &mut self,
        worker: WorkerId,
        task: TaskId,
        unit: UnitId,
        direction: Direction,
        attempt: u32,
    ) {
        let back = direction == Direction::Undo;
        self.report.task_started(self.watch.elapsed(), task, back);
        let Some(link) = self.workers.get_mut(&worker) else {
            return;
        };
        let mut sent = true;
        if link.specs.insert(task) {
            sent = link.outbox.send(self.leases.spec(task, &mut self.units));
        }
        let how = (direction, attempt);
        let unit_message = self
            .leases
            .unit((task, unit), how, &self.units, &self.limits);
        sent = sent && link.outbox.send(unit_message);
        if sent {
            self.leases.given((task, unit), worker);
        } else {
            // Its queue holds more than its credit: it does not read.
            self.lose(worker, "it does not read".to_owned());
        }
    }

    fn lose(&mut self, worker: WorkerId, reason: String) {
        let Some(link) = self.workers.remove(&worker) else {
            return;
        };
        let held = self.leases.of(worker);
        self.leases.lost(worker);
        if link.draining && held == 0 {
            self.show(&ProgressEvent::WorkerLeft { worker });
        } else if !self.stopping || held > 0 {
            self.show(&ProgressEvent::WorkerLost { worker, reason });
        }
        self.feed(Event::WorkerLost { worker });
    }

    /// No new units; those in flight end.
    fn stop(&mut self, reason: StopReason) {
        if self.ending.is_some() {
            return;
        }
        self.stopping = true;
        let why = match &reason {
            StopReason::Operator => self.scene.why_stopped(),
            StopReason::Driver(failure) => Some(failure.message.clone()),
        };
        let why = why.unwrap_or_else(|| "asked to stop".to_owned());
        self.tell_group(&why);
        let units = self.leases.count() as u64;
        self.show(&ProgressEvent::Stopping { reason: why, units });
        let run = self.run;
        self.feed(Event::StopRequested { run, reason });
    }

    /// The second Ctrl-C: units in flight are cancelled; each leaves nothing behind.
    fn cancel_units(&mut self) {
        let units = self.leases.count() as u64;
        self.show(&ProgressEvent::Cancelling { units });
        for (worker, cancel) in self.leases.cancels() {
            if let Some(link) = self.workers.get(&worker) {
                // One that does not read will be lost by its silence.
                let _unread = link.outbox.send(cancel);
            }
        }
    }

    /// The run has ended; the ledger has to know.
    fn end(&mut self, outcome: Outcome) {
        let (ended, state, error) = self.conclusion(outcome);
        if !matches!(ended.ending, Ending::Prepared | Ending::RolledBack) {
            self.tell_group(&ended.message);
        }
        if ended.fenced {
            self.ended = Some(ended);
            return;
        }
        let events = self.last_events(&ProgressEvent::RunEnded {
            ending: ended.ending,
            message: ended.message.clone(),
        });
        self.ending = Some(ended);
        let rollback_to = match &self.aim {
            Aim::Forward | Aim::TakeBack => None,
            Aim::Back { to } => to.clone(),
        };
        self.operate(Operation::End {
            state,
            error,
            rollback_to,
            events,
        });
    }

    /// What the user is told, and what the ledger: its state where it changes.
    fn conclusion(&self, outcome: Outcome) -> (Ended, Option<RunState>, Option<RunError>) {
        // It goes forward, or will.
        let forward = matches!(self.aim, Aim::Forward | Aim::TakeBack);
        let plain = |message: String, sqlstate| RunError {
            message,
            source: None,
            sqlstate,
        };
        let fenced = match &outcome {
            Outcome::Stopped(StopReason::Driver(failure)) | Outcome::Failed { failure, .. } => {
                failure.class == FailureClass::Fenced
            }
            Outcome::Finished | Outcome::Stopped(StopReason::Operator) => false,
        };
        let (ending, state, error) = match outcome {
            Outcome::Finished if self.aim == Aim::TakeBack => (Ending::RolledBack, None, None),
            Outcome::Finished if forward && self.segment.due.is_some() => {
                (Ending::SnapshotDue, None, None)
            }
            Outcome::Finished if forward => (Ending::Prepared, Some(RunState::Prepared), None),
            Outcome::Finished => (Ending::RolledBack, Some(RunState::RolledBack), None),
            Outcome::Stopped(StopReason::Driver(failure)) => (
                Ending::Stopped,
                (forward && !fenced).then_some(RunState::Failed),
                Some(plain(failure.message, failure.sqlstate)),
            ),
            Outcome::Stopped(StopReason::Operator) => {
                let state = forward.then_some(RunState::Failed);
                let why = self.scene.why_stopped();
                let why = why.unwrap_or_else(|| "stopped on request".to_owned());
                (Ending::Stopped, state, Some(plain(why, None)))
            }
            Outcome::Failed {
                task,
                unit,
                failure,
            } => {
                let error = self.describe(task, unit, failure);
                let (ending, state) = if forward {
                    (Ending::Failed, RunState::Failed)
                } else {
                    (Ending::Stuck, RunState::Stuck)
                };
                (ending, (!fenced).then_some(state), Some(error))
            }
        };
        let message = error.as_ref().map(|error| match &error.source {
            Some(source) if !error.message.contains(source.as_str()) => {
                format!("{}\n  --> {source}", error.message)
            }
            _ => error.message.clone(),
        });
        let ended = Ended {
            ending,
            message: message.unwrap_or_default(),
            fenced,
        };
        (ended, state, error)
    }

    /// A failure with the task's label and place in the pack.
    fn describe(&self, task: TaskId, unit: Option<UnitId>, failure: Failure) -> RunError {
        let planned = &self.scene.plan.tasks[task.0 as usize];
        let unit = match unit {
            Some(unit) if planned.operator.cut().is_some() => format!(" {unit}"),
            _ => String::new(),
        };
        RunError {
            message: format!("{task}{unit} ({}): {}", planned.label, failure.message),
            source: planned.sources.first().map(ToString::to_string),
            sqlstate: failure.sqlstate,
        }
    }

    fn compared(&self) -> Option<ProgressEvent> {
        (self.aim == Aim::Forward).then(|| self.report.compared())?
    }

    /// What the terminal shows last.
    fn finish(&mut self, ended: &Ended, message: String) {
        let ending = ended.ending;
        if let Some(compared) = self.compared() {
            self.show(&compared);
        }
        self.show(&ProgressEvent::RunEnded { ending, message });
    }

    /// Asks every worker to finish; their sessions then end.
    fn drain(&mut self) {
        for link in self.workers.values() {
            // One that does not read is not waited for.
            let _unread = link.outbox.send(lease::drain());
        }
        self.workers.clear();
    }
}

fn driver_failure(class: FailureClass, message: String) -> StopReason {
    StopReason::Driver(Failure {
        class,
        message,
        sqlstate: None,
    })
}

/// An error of the driver's own work, as the engine sees it.
fn failure(error: &Error) -> Failure {
    Failure {
        class: match (error, error.retry()) {
            (Error::Fenced { .. }, _) => FailureClass::Fenced,
            (_, Retry::Now) => FailureClass::Now,
            (_, Retry::Later) => FailureClass::Later,
            (_, Retry::Operator) => FailureClass::Operator,
            (_, Retry::Never) => FailureClass::Never,
        },
        message: described(error),
        sqlstate: error.sqlstate(),
    }
}
