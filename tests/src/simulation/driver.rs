//! The driver: commands of the engine into operations and leases, and what comes back into events, as
//! `coordinator/src/driver` does it.

use upshift_coordinator::engine::{Command, Direction, Event, FailureClass};
use upshift_shared::ids::{RunId, TaskId, UnitId, WorkerId};

use super::{
    Defect, adapter,
    coordinator::{Answered, Pending},
    invariants::credit,
    ledger::{Operation, Reply},
    message::{Answer, Down, Report, Timer, Unit},
    process::{Caller, Node},
    queue::Millis,
    takeover::{Aim, Phase},
    world::World,
};

/// Between attempts at an operation whose connection was lost, doubled up to the longest.
const FIRST_PAUSE: Millis = 100;
const LONGEST_PAUSE: Millis = 5_000;
/// After so long without a connection the operation fails.
const PATIENCE: Millis = 60_000;

/// An operation under way.
#[derive(Debug)]
pub(super) struct Work {
    operation: Operation,
    pause: Millis,
    waited: Millis,
}

/// What an operator wants of a run that goes on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Control {
    Paused(bool),
    Limits((u32, u32)),
}

impl World {
    /// Gives the engine an event and does what it says.
    pub(super) fn feed(&mut self, c: usize, event: Event) {
        let seen = event.clone();
        let now = std::time::Duration::from_millis(self.now);
        let coordinator = &mut self.coordinators[c];
        let Ok(commands) = coordinator.engine.handle(event, now) else {
            // Nothing has changed. Reports that crossed a loss on the way are the usual cause.
            self.summary.refused_events += 1;
            return;
        };
        let standing = &mut coordinator.standing;
        standing.told(&seen);
        let mut verdict = commands.iter().try_for_each(|said| standing.said(said));
        verdict = verdict.and_then(|()| credit::handled(standing));
        self.check(verdict);
        for command in commands {
            self.execute(c, command);
        }
    }

    fn execute(&mut self, c: usize, command: Command) {
        match command {
            Command::PrepareTask { run, task } => {
                self.operate_for(c, run, Operation::Prepare(task));
            }
            Command::CutTask {
                run,
                task,
                rows,
                units,
            } => {
                let page = self.page(c, run, task);
                let (first, after) = page.map_or((0, 0), |page| (page.next, page.after));
                let operation = Operation::Cut {
                    task,
                    first,
                    after,
                    rows,
                    units,
                };
                self.operate_for(c, run, operation);
            }
            Command::SplitUnit { run, task, unit } => {
                let page = self.page(c, run, task);
                let new = page.as_ref().map_or(0, |page| page.next);
                let bounds = page.and_then(|page| page.bounds.get(&unit).copied());
                let operation = Operation::Split {
                    task,
                    unit,
                    bounds: bounds.unwrap_or((0, 0)),
                    new: UnitId(new),
                };
                self.operate_for(c, run, operation);
            }
            Command::RecordTask { run, task } => {
                let drive = self.coordinators[c].drives.get(&run);
                let forward = drive.is_some_and(|drive| drive.aim == Aim::Forward);
                let operation = match forward {
                    true => Operation::RecordDone(task),
                    false => Operation::RecordUndone(task),
                };
                self.operate_for(c, run, operation);
            }
            Command::RecordCheckpoint { run, module } => {
                self.operate_for(c, run, Operation::RecordCheckpoint(module));
            }
            Command::LeaseUnit {
                worker,
                run,
                task,
                unit,
                direction,
                ..
            } => self.lease(c, worker, (run, task, unit), direction),
            Command::ReportRetry { .. } => self.summary.retries += 1,
            Command::EndRun { run, outcome } => self.ended(c, run, &outcome),
            Command::SetTimer { at } => {
                let at = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
                let term = self.coordinators[c].term;
                self.coordinators[c].engine_timer = Some(at);
                let node = Node::Coordinator(c);
                self.timer(node, at.max(self.now), Timer::Engine { at, term });
            }
        }
    }

    pub(super) fn engine_timer_due(&mut self, c: usize, at: u64) {
        if self.coordinators[c].engine_timer == Some(at) {
            self.coordinators[c].engine_timer = None;
            self.feed(c, adapter::timer_fired());
        }
    }

    fn page(&mut self, c: usize, run: RunId, task: TaskId) -> Option<&mut super::rebuild::Page> {
        let drive = self.coordinators[c].drives.get_mut(&run)?;
        Some(drive.pages.entry(task).or_default())
    }

    fn lease(
        &mut self,
        c: usize,
        worker: WorkerId,
        (run, task, unit): (RunId, TaskId, UnitId),
        direction: Direction,
    ) {
        let Some(drive) = self.coordinators[c].drives.get(&run) else {
            return;
        };
        let page = drive.pages.get(&task);
        let bounds = page.and_then(|page| page.bounds.get(&unit).copied());
        let unit = Unit {
            run,
            database: drive.database,
            task,
            unit,
            epoch: drive.epoch,
            direction,
            bounds: bounds.unwrap_or((0, 1)),
        };
        let Some(session) = self.coordinators[c].sessions.get(&worker) else {
            return;
        };
        let (stream, draining) = (session.stream, session.draining);
        let verdict = credit::leased(worker, draining);
        self.check(verdict);
        self.note_unit(Node::Coordinator(c), "unit leased", &unit);
        self.say_down(stream, Down::Unit(unit));
    }

    // Operations.

    fn operate_for(&mut self, c: usize, run: RunId, operation: Operation) {
        let work = self.number();
        if let Some(drive) = self.coordinators[c].drives.get_mut(&run) {
            let under_way = Work {
                operation,
                pause: FIRST_PAUSE,
                waited: 0,
            };
            drive.works.insert(work, under_way);
            self.work_again(c, run, work);
        }
    }

    pub(super) fn work_again(&mut self, c: usize, run: RunId, work: u64) {
        let Some(drive) = self.coordinators[c].drives.get(&run) else {
            return;
        };
        if let Some(under_way) = drive.works.get(&work) {
            let (operation, db, epoch) = (under_way.operation.clone(), drive.database, drive.epoch);
            let pending = Pending::Operation { run, work };
            self.call_ledger(c, db, (run, epoch), operation, pending);
        }
    }

    /// An operation has ended, or its connection was lost.
    pub(super) fn operated(&mut self, c: usize, run: RunId, work: u64, answer: Answered) {
        let Some(drive) = self.coordinators[c].drives.get_mut(&run) else {
            return;
        };
        let Some(under_way) = drive.works.get_mut(&work) else {
            return;
        };
        match answer {
            Answered::Ledger(reply) => {
                let Some(under_way) = drive.works.remove(&work) else {
                    return;
                };
                self.operation_answered(c, run, under_way.operation, reply);
            }
            _ if under_way.waited >= PATIENCE => {
                let Some(under_way) = drive.works.remove(&work) else {
                    return;
                };
                let reply = Reply::Failed(FailureClass::Later);
                self.operation_answered(c, run, under_way.operation, reply);
            }
            _ => {
                let pause = under_way.pause;
                under_way.waited += pause;
                under_way.pause = (pause * 2).min(LONGEST_PAUSE);
                self.summary.operations_again += 1;
                let term = self.coordinators[c].term;
                let at = self.now + pause;
                let timer = Timer::Again { term, run, work };
                self.timer(Node::Coordinator(c), at, timer);
            }
        }
    }

    fn operation_answered(&mut self, c: usize, run: RunId, operation: Operation, reply: Reply) {
        let event = match (operation, reply) {
            (operation, Reply::Failed(class)) => match operation.task() {
                Some(task) => adapter::task_failed(run, task, class),
                None => adapter::stop_requested(run, Some(class)),
            },
            (Operation::Prepare(task), _) => adapter::task_prepared(run, task),
            (
                Operation::Cut { task, .. },
                Reply::Cut {
                    first,
                    bounds,
                    exhausted,
                },
            ) => {
                if let Some(page) = self.page(c, run, task) {
                    for (unit, range) in (first..).zip(&bounds) {
                        page.bounds.insert(UnitId(unit), *range);
                        page.next = unit + 1;
                        page.after = range.1;
                    }
                }
                adapter::units_cut((run, task), first, bounds.len(), exhausted)
            }
            (
                Operation::Split {
                    task, unit, new, ..
                },
                Reply::Split(middle),
            ) => {
                if let (Some(middle), Some(page)) = (middle, self.page(c, run, task)) {
                    let (lower, upper) = page.bounds.get(&unit).copied().unwrap_or_default();
                    page.bounds.insert(unit, (lower, middle));
                    page.bounds.insert(new, (middle, upper));
                    page.next = page.next.max(new.0 + 1);
                }
                adapter::unit_split((run, task), unit, middle.map(|_| new))
            }
            (Operation::RecordDone(task) | Operation::RecordUndone(task), _) => {
                adapter::task_recorded(run, task)
            }
            (Operation::RecordCheckpoint(module), _) => adapter::checkpoint_recorded(run, module),
            _ => return,
        };
        self.feed(c, event);
    }

    // Reports and controls.

    /// A worker has reported on a unit.
    pub(super) fn reported(
        &mut self,
        c: usize,
        worker: WorkerId,
        unit: &Unit,
        report: Report,
        millis: u64,
    ) {
        let Some(drive) = self.coordinators[c].drives.get_mut(&unit.run) else {
            return;
        };
        let direction = match drive.aim {
            Aim::Forward => Direction::Do,
            Aim::Back(_) => Direction::Undo,
        };
        let ours = matches!(drive.phase, Phase::Driving);
        let either_way = self.defect == Some(Defect::ReportsOfEitherWay);
        if !ours || (unit.direction != direction && !either_way) {
            return;
        }
        let event = match report {
            Report::Done => {
                if let Some(page) = drive.pages.get_mut(&unit.task) {
                    page.bounds.remove(&unit.unit);
                }
                adapter::unit_finished(worker, unit, millis)
            }
            Report::Failed { class, scripted } => {
                self.summary.unit_failures += 1;
                adapter::unit_failed(worker, unit, adapter::failure(class, scripted))
            }
        };
        self.feed(c, event);
    }

    /// What an operator wants is written into the ledger first.
    pub(super) fn control(&mut self, c: usize, by: (u64, Caller), run: RunId, control: Control) {
        let drive = self.coordinators[c].drives.get(&run);
        let driving = drive.filter(|drive| matches!(drive.phase, Phase::Driving));
        let Some(drive) = driving else {
            return self.reply_to_client(c, by, Answer::Refused);
        };
        let (db, epoch) = (drive.database, drive.epoch);
        let operation = match control {
            Control::Paused(paused) => Operation::Control {
                paused: Some(paused),
                limits: None,
            },
            Control::Limits(limits) => Operation::Control {
                paused: None,
                limits: Some(limits),
            },
        };
        let pending = Pending::Control {
            run,
            control,
            answer: by,
        };
        self.call_ledger(c, db, (run, epoch), operation, pending);
    }

    pub(super) fn controlled(
        &mut self,
        c: usize,
        run: RunId,
        control: Control,
        by: (u64, Caller),
        answer: &Answered,
    ) {
        if !matches!(answer, Answered::Ledger(Reply::Done)) {
            return self.reply_to_client(c, by, Answer::Refused);
        }
        self.reply_to_client(c, by, Answer::Taken);
        self.feed(
            c,
            match control {
                Control::Paused(true) => adapter::pause_requested(run),
                Control::Paused(false) => adapter::resume_requested(run),
                Control::Limits(limits) => adapter::limits_changed(run, limits),
            },
        );
    }
}
