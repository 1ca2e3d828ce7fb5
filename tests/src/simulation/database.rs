//! One database: who holds the fence, who waits for it, and what the driver's operations meet there.
//!
//! The fence is held by every unit's transaction from its claim to its end. Whoever raises an epoch wants it
//! alone: waits for older holders, ends their sessions after a grace, and meanwhile nobody else gets it.

use std::collections::{BTreeMap, VecDeque};

use upshift_coordinator::engine::FailureClass;
use upshift_shared::ids::RunId;

use super::{
    Defect,
    ledger::{Operation, Reply, RunLedger},
    message::{Message, Timer, Unit},
    process::{Caller, Node},
    queue::Millis,
    transaction::{LOCK_TIMEOUT, Stage, Transaction},
    world::World,
};

/// How long older holders are waited for before their sessions are ended.
const GRACE: Millis = 3_000;

/// Somebody who raises an epoch.
#[derive(Debug)]
pub(super) struct Raise {
    number: u64,
    by: Caller,
    call: u64,
    run: RunId,
}

/// An operation that waits for the fence, or for a row.
#[derive(Debug)]
pub(super) struct Waiting {
    number: u64,
    by: Caller,
    call: u64,
    run: RunId,
    epoch: i64,
    operation: Operation,
}

/// A database.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) runs: BTreeMap<RunId, RunLedger>,
    pub(super) transactions: BTreeMap<u64, Transaction>,
    pub(super) raises: VecDeque<Raise>,
    operations: Vec<Waiting>,
    /// Units take so many times as long.
    pub(super) slowness: u64,
}

impl Database {
    /// Without runs.
    pub(super) fn new() -> Self {
        Self {
            runs: BTreeMap::new(),
            transactions: BTreeMap::new(),
            raises: VecDeque::new(),
            operations: Vec::new(),
            slowness: 1,
        }
    }
}

impl World {
    /// The driver asks for an operation.
    pub(super) fn ledger_asked(
        &mut self,
        db: usize,
        (by, call): (Caller, u64),
        (run, epoch): (RunId, i64),
        operation: Operation,
    ) {
        if matches!(operation, Operation::Raise) {
            self.raise_asked(db, by, call, run);
            return;
        }
        let number = self.number();
        let waiting = Waiting {
            number,
            by,
            call,
            run,
            epoch,
            operation,
        };
        let until = self.now + LOCK_TIMEOUT;
        if let Some(waiting) = self.operate(db, waiting) {
            self.databases[db].operations.push(waiting);
            let timer = Timer::OperationLock { waiting: number };
            self.timer(Node::Database(db), until, timer);
        }
    }

    /// Does an operation and answers; gives it back where it has to wait.
    fn operate(&mut self, db: usize, waiting: Waiting) -> Option<Waiting> {
        let database = &mut self.databases[db];
        let run = waiting.run;
        let fenced = !matches!(
            waiting.operation,
            Operation::Create(_) | Operation::Load | Operation::Raise
        );
        if fenced && !database.raises.is_empty() {
            return Some(waiting);
        }
        let reply = match (&waiting.operation, database.runs.get_mut(&run)) {
            (Operation::Create(plan), None) => {
                let ledger = RunLedger::new(std::rc::Rc::clone(plan));
                database.runs.insert(run, ledger);
                Reply::Done
            }
            (Operation::Create(_), Some(_)) => Reply::Done,
            (_, None) => Reply::Failed(FailureClass::Operator),
            (Operation::Load, Some(ledger)) => Reply::Loaded(Box::new(ledger.clone())),
            (_, Some(ledger)) if ledger.epoch != waiting.epoch => {
                if self.has(Defect::WritesWithoutEpoch) {
                    self.perform(db, &waiting)
                } else {
                    self.summary.fenced += 1;
                    Reply::Failed(FailureClass::Fenced)
                }
            }
            (Operation::Split { task, unit, .. }, Some(_)) => {
                let unit = Unit {
                    run,
                    database: db,
                    task: *task,
                    unit: *unit,
                    epoch: waiting.epoch,
                    direction: upshift_coordinator::engine::Direction::Do,
                    bounds: (0, 0),
                };
                if database.transactions.values().any(|t| t.holds(&unit)) {
                    return Some(waiting);
                }
                self.perform(db, &waiting)
            }
            (_, Some(_)) => self.perform(db, &waiting),
        };
        self.reply(db, waiting.by, waiting.call, reply);
        None
    }

    fn perform(&mut self, db: usize, waiting: &Waiting) -> Reply {
        let again = !self.has(Defect::CutsNotRepeatable);
        let (run, operation) = (waiting.run, &waiting.operation);
        let Some(ledger) = self.databases[db].runs.get_mut(&run) else {
            return Reply::Failed(FailureClass::Operator);
        };
        let reply = ledger.perform(operation, again);
        self.summary.splits += u64::from(matches!(reply, Reply::Split(Some(_))));
        let task = operation.task().map_or(-1, |task| i64::from(task.0));
        let numbers = [self.run_number(run), waiting.epoch, task];
        self.note(Node::Database(db), operation.name(), numbers);
        let verdict = self.invariants.fencing.landed(run, waiting.epoch);
        self.check(verdict);
        let ledger = &self.databases[db].runs[&run];
        let verdict = self
            .invariants
            .exactly_once
            .recorded(run, ledger, operation);
        self.check(verdict);
        let ledger = &self.databases[db].runs[&run];
        let verdict = self.invariants.checkpoints.recorded(ledger, operation);
        self.check(verdict);
        reply
    }

    fn reply(&mut self, db: usize, to: Caller, call: u64, reply: Reply) {
        let from = self.processes.caller(Node::Database(db));
        self.send(from, to, Message::LedgerReply { call, reply });
    }

    /// Operations that waited are tried again.
    pub(super) fn operations_go_on(&mut self, db: usize) {
        for waiting in std::mem::take(&mut self.databases[db].operations) {
            if let Some(waiting) = self.operate(db, waiting) {
                self.databases[db].operations.push(waiting);
            }
        }
    }

    /// An operation has waited long enough.
    pub(super) fn operation_timed_out(&mut self, db: usize, number: u64) {
        let operations = &mut self.databases[db].operations;
        if let Some(place) = operations.iter().position(|o| o.number == number) {
            let waiting = operations.remove(place);
            let reply = Reply::Failed(FailureClass::Later);
            self.reply(db, waiting.by, waiting.call, reply);
        }
    }

    fn raise_asked(&mut self, db: usize, by: Caller, call: u64, run: RunId) {
        let number = self.number();
        self.databases[db].raises.push_back(Raise {
            number,
            by,
            call,
            run,
        });
        let grace = self.now + GRACE;
        self.timer(Node::Database(db), grace, Timer::Grace { raise: number });
        self.raises_go_on(db);
    }

    /// The first who wants the fence alone gets it, if nobody else has it.
    pub(super) fn raises_go_on(&mut self, db: usize) {
        let mut raised = false;
        while let Some(raise) = self.databases[db].raises.front() {
            let run = raise.run;
            let mut open = self.databases[db].transactions.values();
            let held = open.any(Transaction::holds_fence);
            if held && !self.has(Defect::RaiseWithoutLock) {
                break;
            }
            let Some(raise) = self.databases[db].raises.pop_front() else {
                break;
            };
            raised = true;
            let reply = match self.databases[db].runs.get_mut(&run) {
                Some(ledger) => {
                    ledger.epoch += 1;
                    let epoch = ledger.epoch;
                    let numbers = [self.run_number(run), epoch, 0];
                    self.note(Node::Database(db), "epoch raised", numbers);
                    let verdict = self.invariants.fencing.raised(run, epoch);
                    self.check(verdict);
                    Reply::Epoch(epoch)
                }
                None => Reply::Failed(FailureClass::Operator),
            };
            self.reply(db, raise.by, raise.call, reply);
        }
        if raised && self.databases[db].raises.is_empty() {
            self.fence_is_free(db);
        }
    }

    fn fence_is_free(&mut self, db: usize) {
        let waiting = self.databases[db].transactions.iter();
        let waiting: Vec<u64> = waiting
            .filter(|(_, t)| t.stage == Stage::AtFence)
            .map(|(tx, _)| *tx)
            .collect();
        for tx in waiting {
            self.go_on(db, tx);
        }
        self.operations_go_on(db);
    }

    /// Older holders had time: their sessions are ended. Those of other runs are nobody's to end: whoever
    /// raises gives up, and is told.
    pub(super) fn grace_is_over(&mut self, db: usize, number: u64) {
        let raises = &self.databases[db].raises;
        let Some(raise) = raises.iter().find(|raise| raise.number == number) else {
            return;
        };
        let (run, by, call) = (raise.run, raise.by, raise.call);
        let holders = self.databases[db].transactions.iter();
        let holders: Vec<u64> = holders
            .filter(|(_, t)| t.unit.run == run && t.holds_fence())
            .map(|(tx, _)| *tx)
            .collect();
        for tx in holders {
            self.summary.sessions_ended += 1;
            self.end_transaction(db, tx, None);
        }
        let raises = &mut self.databases[db].raises;
        if let Some(place) = raises.iter().position(|raise| raise.number == number) {
            raises.remove(place);
            self.reply(db, by, call, Reply::Failed(FailureClass::Later));
            if self.databases[db].raises.is_empty() {
                self.fence_is_free(db);
            } else {
                self.raises_go_on(db);
            }
        }
    }

    /// The server has crashed: open transactions and whoever waited are gone, the rows are not.
    pub(super) fn database_crashed(&mut self, db: usize) {
        let database = &mut self.databases[db];
        database.transactions.clear();
        database.raises.clear();
        database.operations.clear();
    }
}
