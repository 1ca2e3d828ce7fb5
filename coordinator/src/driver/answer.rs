//! What comes back: reports of workers and ends of operations, made into engine events.

use std::time::Duration;

use upshift_proto::v1;
use upshift_shared::{
    Result,
    ids::{TaskId, UnitId, WorkerId},
};

use super::{
    Aim, Ended, Operation, desk::Desk, drive::Drive, failure, operation::Answer, waits::Ticket,
};
use crate::{
    engine::{Event, Failure, FailureClass, StopReason},
    progress::{Ending, ProgressEvent},
};

/// No table has more rows: 2^32 pages (PostgreSQL's documentation, "PostgreSQL Limits") of at most 2^9 rows.
/// A worker that says more has not counted, and sums have to hold.
const MOST_ROWS: u64 = 1 << 41;
/// A year.
const MOST_MICROS: u64 = 365 * 24 * 60 * 60 * 1_000_000;

impl Drive {
    /// A worker has finished a unit. It is believed of the one that has the unit and of nobody else: a unit
    /// that another one says it has finished is still to be done, and where it was done (the report of a
    /// session that was lost), the ledger tells the next worker so.
    pub(super) fn unit_done(&mut self, worker: WorkerId, done: &v1::UnitDone, desk: &mut Desk) {
        let (task, unit) = (TaskId(done.task), UnitId(done.unit));
        // A worker that was believed lost may report what it did before the run turned round.
        let way = match self.aim {
            Aim::Forward => v1::Direction::Do,
            Aim::Back { .. } | Aim::TakeBack => v1::Direction::Undo,
        };
        if !self.knows(task) || done.direction() != way {
            return;
        }
        if !self.returned((task, unit), worker, desk) {
            return;
        }
        self.units.page(task).finished(unit);
        let elapsed = Duration::from_micros(done.micros.min(MOST_MICROS));
        let rows = done.rows.min(MOST_ROWS);
        let at = desk.now();
        let seconds = elapsed.as_secs_f64();
        self.report
            .unit_done(at, (task, unit, worker), rows, seconds);
        desk.metrics.unit_done(rows, elapsed);
        self.traces.unit_done(task, rows);
        let run = self.run;
        desk.feed(Event::UnitFinished {
            run,
            worker,
            task,
            unit,
            rows,
            elapsed,
        });
    }

    /// A worker has failed on a unit that it has.
    pub(super) fn unit_failed(
        &mut self,
        worker: WorkerId,
        failed: v1::UnitFailed,
        desk: &mut Desk,
    ) {
        let (task, unit) = (TaskId(failed.task), UnitId(failed.unit));
        if !self.knows(task) {
            return;
        }
        if !self.returned((task, unit), worker, desk) {
            return;
        }
        let failure = unit_failure(failed);
        let run = self.run;
        desk.feed(Event::UnitFailed {
            run,
            worker,
            task,
            unit,
            failure,
        });
    }

    /// Reports on tasks that the plan does not have say nothing here.
    fn knows(&self, task: TaskId) -> bool {
        (task.0 as usize) < self.scene.plan.tasks.len()
    }

    pub(super) fn operated(
        &mut self,
        ticket: Option<Ticket>,
        operation: Operation,
        result: Result<Answer>,
        desk: &mut Desk,
    ) {
        let Some(ticket) = ticket else {
            self.done_aside(&operation, result, desk);
            return;
        };
        let (run, at) = (self.run, desk.now());
        if let Some(waited) = self.report.waits.operation_ended(at, ticket) {
            self.show(desk, &waited);
        }
        match result {
            Ok(answer) => self.answered(operation, answer, desk),
            Err(error) => {
                let failure = failure(&error);
                match (&operation, operation.task()) {
                    (Operation::End { .. }, _) => self.end_not_recorded(&failure),
                    (_, Some(task)) => {
                        let failed = ProgressEvent::OperationFailed {
                            task,
                            operation: operation.what().to_owned(),
                            reason: failure.message.clone(),
                        };
                        self.show(desk, &failed);
                        desk.feed(Event::TaskFailed { run, task, failure });
                    }
                    (_, None) => self.stop(StopReason::Driver(failure), desk),
                }
            }
        }
    }

    fn answered(&mut self, operation: Operation, answer: Answer, desk: &mut Desk) {
        let run = self.run;
        match (operation, answer) {
            (Operation::Prepare(task), Answer::Prepared { pinned_now }) => {
                self.units.page(task).pinned_now = Some(pinned_now);
                desk.feed(Event::TaskPrepared { run, task });
            }
            (Operation::Cut { task, .. }, Answer::Cut(batch)) => {
                self.units.page(task).append(&batch);
                desk.feed(Event::UnitsCut {
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
                    self.show(desk, &ProgressEvent::UnitSplit { task, unit });
                }
                desk.feed(Event::UnitSplit {
                    run,
                    task,
                    unit,
                    new,
                });
            }
            (Operation::RecordDone(task) | Operation::RecordUndone(task), _) => {
                self.units.close(task);
                self.report.task_done(desk.now(), task);
                self.traces.task_done(task);
                desk.feed(Event::TaskRecorded { run, task });
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
                self.traces.checkpoint_done(module);
                let name = self.scene.plan.checkpoints[module as usize].name.clone();
                self.show(desk, &ProgressEvent::CheckpointPrepared { module: name });
                desk.feed(Event::CheckpointRecorded { run, module });
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
