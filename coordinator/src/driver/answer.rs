//! What comes back: reports of workers and ends of operations, made into engine events.

use std::time::Duration;

use upshift_proto::v1::{self, worker_message::Message};
use upshift_shared::{
    Result,
    ids::{TaskId, UnitId, WorkerId},
};

use super::{Driver, Ended, Link, Operation, failure, operation::Answer, waits::Ticket};
use crate::{
    engine::{Event, Failure, FailureClass, StopReason},
    progress::{Ending, ProgressEvent},
    server::SessionEvent,
};

impl Driver {
    pub(super) fn session(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::Joined {
                worker,
                name,
                outbox,
            } => {
                let link = Link {
                    outbox,
                    specs: std::collections::HashSet::new(),
                    draining: false,
                };
                self.workers.insert(worker, link);
                self.show(&ProgressEvent::WorkerJoined { worker, name });
                self.feed(Event::WorkerJoined { worker });
            }
            SessionEvent::Lost { worker, reason } => self.lose(worker, reason),
            SessionEvent::Said { worker, message } => self.said(worker, message),
        }
    }

    fn said(&mut self, worker: WorkerId, message: Message) {
        let run = self.run;
        match message {
            Message::Credit(credit) => {
                let units = credit.units;
                self.feed(Event::CreditGranted { worker, units });
            }
            Message::Draining(_) => {
                if let Some(link) = self.workers.get_mut(&worker) {
                    link.draining = true;
                }
                self.feed(Event::WorkerDraining { worker });
            }
            Message::UnitDone(done) => self.unit_done(worker, &done),
            Message::UnitFailed(failed) => {
                let (task, unit) = (TaskId(failed.task), UnitId(failed.unit));
                if !self.is_ours(&failed.run, task) {
                    return;
                }
                self.leases.returned((task, unit), worker);
                let failure = unit_failure(failed);
                self.feed(Event::UnitFailed {
                    run,
                    worker,
                    task,
                    unit,
                    failure,
                });
            }
            // The service deals with both before they come here.
            Message::Hello(_) | Message::Heartbeat(_) => {}
        }
    }

    fn unit_done(&mut self, worker: WorkerId, done: &v1::UnitDone) {
        let (task, unit) = (TaskId(done.task), UnitId(done.unit));
        if !self.is_ours(&done.run, task) {
            return;
        }
        self.leases.returned((task, unit), worker);
        self.units.page(task).finished(unit);
        let elapsed = Duration::from_micros(done.micros);
        let at = self.watch.elapsed();
        let seconds = elapsed.as_secs_f64();
        self.report
            .unit_done(at, (task, unit, worker), done.rows, seconds);
        let (run, rows) = (self.run, done.rows);
        self.feed(Event::UnitFinished {
            run,
            worker,
            task,
            unit,
            rows,
            elapsed,
        });
    }

    /// Reports on other runs, or on tasks that the plan does not have, say nothing here.
    fn is_ours(&self, run: &str, task: TaskId) -> bool {
        run == self.run.to_string() && (task.0 as usize) < self.scene.plan.tasks.len()
    }

    pub(super) fn operated(
        &mut self,
        ticket: Option<Ticket>,
        operation: Operation,
        result: Result<Answer>,
    ) {
        let Some(ticket) = ticket else {
            self.done_aside(&operation, result);
            return;
        };
        let (run, at) = (self.run, self.watch.elapsed());
        if let Some(waited) = self.report.waits.operation_ended(at, ticket) {
            self.show(&waited);
        }
        match result {
            Ok(answer) => self.answered(operation, answer),
            Err(error) => {
                let failure = failure(&error);
                match (&operation, operation.task()) {
                    (Operation::End { .. }, _) => self.end_not_recorded(&failure),
                    (_, Some(task)) => {
                        self.show(&ProgressEvent::OperationFailed {
                            task,
                            operation: operation.what().to_owned(),
                            reason: failure.message.clone(),
                        });
                        self.feed(Event::TaskFailed { run, task, failure });
                    }
                    (_, None) => self.stop(StopReason::Driver(failure)),
                }
            }
        }
    }

    fn answered(&mut self, operation: Operation, answer: Answer) {
        let run = self.run;
        match (operation, answer) {
            (Operation::Prepare(task), Answer::Prepared { pinned_now }) => {
                self.units.page(task).pinned_now = Some(pinned_now);
                self.feed(Event::TaskPrepared { run, task });
            }
            (Operation::Cut { task, .. }, Answer::Cut(batch)) => {
                self.units.page(task).append(&batch);
                self.feed(Event::UnitsCut {
                    run,
                    task,
                    first: batch.first,
                    count: u32::try_from(batch.bounds.len()).unwrap_or(u32::MAX),
                    exhausted: batch.exhausted,
                });
            }
            (
                Operation::Split {
                    task, unit, new, ..
                },
                Answer::Split(middle),
            ) => {
                let new = middle.map(|middle| {
                    self.units.page(task).split(unit, new, middle);
                    new
                });
                if new.is_some() {
                    self.show(&ProgressEvent::UnitSplit { task, unit });
                }
                self.feed(Event::UnitSplit {
                    run,
                    task,
                    unit,
                    new,
                });
            }
            (Operation::RecordDone(task) | Operation::RecordUndone(task), _) => {
                self.units.close(task);
                self.report.task_done(self.watch.elapsed(), task);
                self.feed(Event::TaskRecorded { run, task });
            }
            // That the others have stopped comes as an input of its own.
            (Operation::RecordCheckpoint(_), Answer::Stopped(_)) => {}
            (Operation::End { .. }, Answer::Stopped(message)) => {
                self.ended = Some(Ended {
                    ending: Ending::Stopped,
                    message,
                    fenced: false,
                });
            }
            (Operation::RecordCheckpoint(module), _) => {
                let name = self.scene.plan.checkpoints[module as usize].name.clone();
                self.show(&ProgressEvent::CheckpointPrepared { module: name });
                self.feed(Event::CheckpointRecorded { run, module });
            }
            (Operation::End { .. }, _) => self.ended = self.ending.take(),
            (Operation::CheckEpoch, _) => {}
            (operation, answer) => {
                debug_assert!(false, "{operation:?} was answered with {answer:?}");
            }
        }
    }

    /// The run's end could not be written; it can be resumed all the same.
    fn end_not_recorded(&mut self, failure: &Failure) {
        let fenced = failure.class == FailureClass::Fenced;
        let before = self.ending.take();
        let mut message = before
            .as_ref()
            .map_or_else(String::new, |e| e.message.clone());
        if !message.is_empty() {
            message.push('\n');
        }
        message.push_str("the end of the run could not be recorded: ");
        message.push_str(&failure.message);
        let ending = match before.map(|ended| ended.ending) {
            Some(ending @ (Ending::Failed | Ending::Stuck)) => ending,
            _ => Ending::Stopped,
        };
        self.ended = Some(Ended {
            ending,
            message,
            fenced,
        });
    }
}

fn unit_failure(failed: v1::UnitFailed) -> Failure {
    let class = match failed.class() {
        v1::FailureClass::Now => FailureClass::Now,
        v1::FailureClass::Later => FailureClass::Later,
        v1::FailureClass::TimedOut => FailureClass::TimedOut,
        v1::FailureClass::Operator => FailureClass::Operator,
        v1::FailureClass::Fenced => FailureClass::Fenced,
        v1::FailureClass::Never | v1::FailureClass::Unspecified => FailureClass::Never,
    };
    Failure {
        class,
        message: failed.message,
        sqlstate: Some(failed.sqlstate).filter(|code| !code.is_empty()),
    }
}
