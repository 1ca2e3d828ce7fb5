//! One run that is driven: what each input means for it, and what each of the engine's commands.

use std::{sync::Arc, time::Duration};

use tokio::sync::{broadcast, oneshot};
use upshift_shared::{
    ids::{RunId, TaskId, UnitId, WorkerId},
    ledger::run::{RunError, RunState},
    telemetry::trace::Parent,
};

use super::{
    Aim, Ended, Limits, Operation, Rebuilt,
    desk::Desk,
    driver_failure,
    journal::Journal,
    lease::Leases,
    monitor,
    operation::Scene,
    report::{self, Report},
    segment::Segment,
    steering::Steering,
    traces::Traces,
    units::UnitBook,
};
use crate::{
    engine::{
        Command, Direction, Event, Failure, FailureClass, Labels, Outcome, ServerId, StopReason,
    },
    progress::{Ending, Progress, ProgressEvent},
};

/// An event of a run as JSON, for those who watch.
pub(super) type Watched = (RunId, Arc<str>);
/// What the user is shown last.
pub(super) type LastWords = Box<dyn FnOnce(&Ended) -> String + Send>;

/// What happens to one run.
pub(super) enum Notice {
    /// Something happened within an operation.
    Told(ProgressEvent),
    /// What operators want, or the health of the server, is not as it was.
    Monitored(monitor::Notice),
    /// The database's lock could not be kept: another process may drive the run.
    LockLost(String),
    /// It was lost, and taken again: in between, somebody may have taken the run over.
    LockBack,
    /// Another run of the group has stopped.
    GroupStopped,
}

/// What is to be driven.
pub(super) struct Job {
    pub(super) scene: Arc<Scene>,
    /// The name that workers resolve.
    pub(super) database: String,
    pub(super) aim: Aim,
    pub(super) rebuilt: Rebuilt,
    pub(super) limits: Limits,
    /// The server of the database, where that has limits of its own.
    pub(super) server: Option<ServerId>,
    /// Where workers should be.
    pub(super) wants: Labels,
    /// Whether the server allows no more connections than units.
    pub(super) close_connections: bool,
    pub(super) resumed: bool,
    /// The `seq` of the run's last event.
    pub(super) last_event: i64,
    pub(super) steering: Steering,
    pub(super) progress: Box<dyn Progress>,
    /// What its spans belong to.
    pub(super) trace: Parent,
    pub(super) last_words: LastWords,
    pub(super) ended: oneshot::Sender<Ended>,
}

/// Drives one run.
pub(super) struct Drive {
    pub(super) run: RunId,
    pub(super) database: String,
    pub(super) aim: Aim,
    pub(super) scene: Arc<Scene>,
    pub(super) limits: Limits,
    segment: Segment,
    pub(super) units: UnitBook,
    pub(super) leases: Leases,
    pub(super) report: Report,
    pub(super) traces: Traces,
    pub(super) steering: Steering,
    pub(super) stopping: bool,
    /// Whether another coordinator is to go on with it: it does not count as stopped.
    handing_over: bool,
    /// Whether it was stopped for another run of the group.
    pub(super) stopped_by_group: bool,
    pub(super) ending: Option<Ended>,
    /// Set when the ledger has the end, or cannot have it.
    pub(super) ended: Option<Ended>,
    last_words: LastWords,
    tell: oneshot::Sender<Ended>,
}

impl Drive {
    /// Submits the run; the first operations begin.
    pub(super) fn begin(job: Job, watchers: broadcast::Sender<Watched>, desk: &mut Desk) -> Self {
        let plan = Arc::clone(&job.scene.plan);
        let started = report::started(&job, &plan);
        let Rebuilt {
            mut graph,
            units,
            done,
            segment,
            ..
        } = job.rebuilt;
        graph.server = job.server;
        graph.wants = job.wants;
        graph.paused = job.steering.is_paused();
        let run = job.scene.holder.run;
        let journal = Journal::new(desk.watch, job.last_event);
        let shown = (job.progress, (run, watchers), Arc::clone(&desk.metrics));
        let mut drive = Self {
            run,
            leases: Leases::new(
                Arc::clone(&job.scene),
                job.database.clone(),
                job.close_connections,
            ),
            traces: Traces::begin(&job.scene, (&job.database, &job.aim), &job.trace),
            aim: job.aim,
            database: job.database,
            scene: job.scene,
            limits: job.limits,
            segment,
            units,
            report: Report::new((plan, desk.now()), shown, done, journal),
            steering: job.steering,
            stopping: false,
            handing_over: false,
            stopped_by_group: false,
            ending: None,
            ended: None,
            last_words: job.last_words,
            tell: job.ended,
        };
        drive.report.waits.in_group = drive.scene.seat.is_some();
        drive.show(desk, &started);
        desk.feed(Event::RunSubmitted { run, graph });
        drive.tell_of_pause(desk);
        drive
    }

    /// Handles one thing that happened to it.
    pub(super) fn take(&mut self, notice: Notice, desk: &mut Desk) {
        match notice {
            Notice::Told(event) => self.show(desk, &event),
            Notice::Monitored(notice) => self.monitored(notice, desk),
            Notice::LockLost(why) => self.stop(
                driver_failure(
                    FailureClass::Later,
                    format!(
                        "the lock of the database was lost ({why}) and could not be taken again"
                    ),
                ),
                desk,
            ),
            Notice::LockBack => {
                self.show(desk, &ProgressEvent::LockTakenAgain);
                self.operate(Operation::CheckEpoch, desk);
            }
            Notice::GroupStopped => self.group_stopped(desk),
        }
    }

    /// Ctrl-C, or SIGTERM.
    pub(super) fn interrupt(&mut self, desk: &mut Desk) {
        if self.stopping {
            self.interrupted_again(desk);
        } else {
            self.stop(StopReason::Operator, desk);
        }
    }

    /// Another coordinator goes on with the run: units in flight end, its state stays.
    pub(super) fn hand_over(&mut self, desk: &mut Desk) {
        if !self.stopping {
            self.handing_over = true;
            self.stop(StopReason::Operator, desk);
        }
    }

    pub(super) fn show(&mut self, desk: &Desk, event: &ProgressEvent) {
        self.report.show(desk.now(), event);
    }

    /// Does what the engine says.
    pub(super) fn execute(&mut self, command: Command, desk: &mut Desk) {
        match command {
            Command::PrepareTask { task, .. } => {
                self.traces.task(task, &self.scene);
                self.operate(Operation::Prepare(task), desk);
            }
            Command::CutTask {
                task, rows, units, ..
            } => {
                let frontier = self.units.page(task).frontier.clone();
                let cut = Operation::Cut {
                    task,
                    frontier,
                    rows,
                    units,
                };
                self.operate(cut, desk);
            }
            Command::SplitUnit { task, unit, .. } => {
                let new = UnitId(self.units.page(task).frontier.next);
                let bounds = self.units.bounds(task, unit);
                let split = Operation::Split {
                    task,
                    unit,
                    bounds,
                    new,
                };
                self.operate(split, desk);
            }
            Command::LeaseUnit {
                worker,
                task,
                unit,
                direction,
                attempt,
                ..
            } => self.lease(worker, (task, unit), (direction, attempt), desk),
            Command::RecordTask { task, .. } => {
                let record = match self.aim {
                    Aim::Forward => Operation::RecordDone(task),
                    Aim::Back { .. } | Aim::TakeBack => Operation::RecordUndone(task),
                };
                self.operate(record, desk);
            }
            Command::RecordCheckpoint { run, module } if self.segment.holds_checkpoint(module) => {
                desk.feed(Event::CheckpointRecorded { run, module });
            }
            Command::RecordCheckpoint { module, .. } => {
                self.traces.checkpoint(module, &self.scene);
                self.operate(Operation::RecordCheckpoint(module), desk);
            }
            Command::ReportRetry {
                task,
                unit,
                attempt,
                delay,
                failure,
                ..
            } => {
                let retry = ProgressEvent::Retry {
                    task,
                    unit,
                    attempt,
                    delay: delay.as_secs_f64(),
                    reason: failure.message,
                };
                self.show(desk, &retry);
            }
            Command::EndRun { outcome, .. } => self.end(outcome, desk),
            // The engine has one timer for all runs.
            Command::SetTimer { .. } => {}
        }
    }

    pub(super) fn operate(&mut self, operation: Operation, desk: &mut Desk) {
        let at = desk.now();
        let waits = &mut self.report.waits;
        let ticket = (!operation.is_aside()).then(|| waits.operation_began(at, &operation));
        desk.operate(&self.scene, ticket, operation);
    }

    fn lease(
        &mut self,
        worker: WorkerId,
        (task, unit): (TaskId, UnitId),
        how: (Direction, u32),
        desk: &mut Desk,
    ) {
        let back = how.0 == Direction::Undo;
        self.report.task_started(desk.now(), task, back);
        self.traces.task(task, &self.scene);
        let Some(link) = desk.workers.get_mut(&worker) else {
            return;
        };
        let outbox = &link.worker.outbox;
        let mut sent = true;
        if link.specs.insert((self.run, task)) {
            let traced = self.traces.told(task);
            sent = outbox.send(self.leases.spec(task, &mut self.units, traced));
        }
        let message = self
            .leases
            .unit((task, unit), how, &self.units, &self.limits);
        if sent && outbox.send(message) {
            link.held.insert((self.run, task, unit));
            self.leases.given((task, unit), worker);
        } else {
            // Its queue holds more than its credit: it does not read.
            desk.deaf.push(worker);
        }
    }

    /// A worker has reported on a unit of it; whether it is that worker's.
    pub(super) fn returned(
        &mut self,
        unit: (TaskId, UnitId),
        worker: WorkerId,
        desk: &mut Desk,
    ) -> bool {
        let held = self.leases.returned(unit, worker);
        if !held {
            tracing::debug!(%worker, "a report on a unit that the worker does not have");
        } else if let Some(link) = desk.workers.get_mut(&worker) {
            link.held.remove(&(self.run, unit.0, unit.1));
        }
        held
    }

    /// No new units; those in flight end.
    pub(super) fn stop(&mut self, reason: StopReason, desk: &mut Desk) {
        if self.ending.is_some() {
            return;
        }
        self.stopping = true;
        let why = match &reason {
            StopReason::Operator => self.scene.why_stopped(),
            StopReason::Driver(failure) => Some(failure.message.clone()),
        };
        let why = why.unwrap_or_else(|| match self.handing_over {
            true => "another coordinator goes on with it".to_owned(),
            false => "asked to stop".to_owned(),
        });
        self.tell_group(&why);
        let units = self.leases.count() as u64;
        self.show(desk, &ProgressEvent::Stopping { reason: why, units });
        let run = self.run;
        desk.feed(Event::StopRequested { run, reason });
    }

    /// An operation broke, which is a defect.
    pub(super) fn broken(&mut self, what: String, desk: &mut Desk) {
        if let Some(ending) = self.ending.take() {
            // It was the one that records the end.
            self.ended = Some(Ended {
                message: what,
                ..ending
            });
        } else {
            self.stop(driver_failure(FailureClass::Never, what), desk);
        }
    }

    /// The second Ctrl-C: units in flight are cancelled; each leaves nothing behind.
    pub(super) fn cancel_units(&mut self, desk: &mut Desk) {
        let units = self.leases.count() as u64;
        self.show(desk, &ProgressEvent::Cancelling { units });
        for (worker, cancel) in self.leases.cancels() {
            if let Some(link) = desk.workers.get(&worker) {
                // One that does not read will be lost by its silence.
                let _unread = link.worker.outbox.send(cancel);
            }
        }
    }

    /// The run has ended; the ledger has to know.
    fn end(&mut self, outcome: Outcome, desk: &mut Desk) {
        let (ended, state, error) = self.conclusion(outcome);
        if !matches!(ended.ending, Ending::Prepared | Ending::RolledBack) {
            self.tell_group(&ended.message);
        }
        if ended.fenced {
            self.ended = Some(ended);
            return;
        }
        let last = ProgressEvent::RunEnded {
            ending: ended.ending,
            message: ended.message.clone(),
        };
        let events = self.last_events(&last, desk);
        self.ending = Some(ended);
        let rollback_to = match &self.aim {
            Aim::Forward | Aim::TakeBack => None,
            Aim::Back { to } => to.clone(),
        };
        let end = Operation::End {
            state,
            error,
            rollback_to,
            events,
        };
        self.operate(end, desk);
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
            Outcome::Stopped(StopReason::Operator) if self.handing_over => {
                (Ending::HandedOver, None, None)
            }
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

    pub(super) fn compared(&self) -> Option<ProgressEvent> {
        (self.aim == Aim::Forward).then(|| self.report.compared())?
    }

    /// What the terminal shows last; and whoever waits for the end hears of it.
    pub(super) fn finish(mut self, ended: Ended, at: Duration) {
        let compared = self.compared();
        let message = (self.last_words)(&ended);
        if let Some(compared) = compared {
            self.report.show(at, &compared);
        }
        let ending = ended.ending;
        self.report
            .show(at, &ProgressEvent::RunEnded { ending, message });
        self.traces.end(ending);
        // Nobody may be waiting for it any more.
        let _gone = self.tell.send(ended);
    }
}
