//! Transactions of units: claim, work, commit; and who waits for whose row.

use upshift_coordinator::engine::{Direction, FailureClass};

use super::{
    Defect,
    ledger::{RunLedger, UnitRow},
    message::{Message, Report, Timer, Unit},
    plan::Fatal,
    process::{Caller, Node},
    queue::Millis,
    world::World,
};

/// How long a row is waited for.
pub(super) const LOCK_TIMEOUT: Millis = 5_000;
/// How long the server takes to find out that its client is gone without a word.
const KEEPALIVE: Millis = 15_000;

/// How far a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Behind somebody who wants the fence for himself.
    AtFence,
    /// Another transaction has the unit's row.
    AtRow,
    Working,
    /// Its work is done, and is the client's to commit.
    Worked,
}

/// An open transaction.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) unit: Unit,
    pub(super) worker: Caller,
    pub(super) stage: Stage,
}

impl Transaction {
    /// Whether it holds the fence in shared mode.
    pub(super) fn holds_fence(&self) -> bool {
        self.stage != Stage::AtFence
    }

    /// Whether it holds the rows of that unit.
    pub(super) fn holds(&self, unit: &Unit) -> bool {
        let Unit {
            run, task, unit, ..
        } = unit;
        let mine = &self.unit;
        matches!(self.stage, Stage::Working | Stage::Worked)
            && (mine.run, mine.task, mine.unit) == (*run, *task, *unit)
    }
}

/// What a claim found.
enum Claim {
    Ours,
    Over(Report),
}

fn failed(class: FailureClass) -> Report {
    Report::Failed {
        class,
        scripted: false,
    }
}

impl World {
    /// A worker begins a unit.
    pub(super) fn unit_begun(&mut self, db: usize, worker: Caller, tx: u64, unit: Unit) {
        let stage = Stage::AtFence;
        let transaction = Transaction {
            unit,
            worker,
            stage,
        };
        self.databases[db].transactions.insert(tx, transaction);
        let client_gone = self.now + KEEPALIVE;
        self.timer(Node::Database(db), client_gone, Timer::TxClient { tx });
        self.go_on(db, tx);
    }

    /// A transaction goes as far as it can.
    pub(super) fn go_on(&mut self, db: usize, tx: u64) {
        let database = &mut self.databases[db];
        let raising = !database.raises.is_empty();
        let Some(transaction) = database.transactions.get(&tx) else {
            return;
        };
        let stage = transaction.stage;
        if stage == Stage::AtFence && raising {
            return;
        }
        let unit = transaction.unit.clone();
        let taken = database
            .transactions
            .values()
            .any(|other| other.holds(&unit));
        if taken && !self.has(Defect::EffectWithoutRow) {
            self.set_stage(db, tx, Stage::AtRow);
            if stage != Stage::AtRow {
                let until = self.now + LOCK_TIMEOUT;
                self.timer(Node::Database(db), until, Timer::TxLock { tx });
            }
            return;
        }
        match self.claim(db, &unit) {
            Claim::Over(report) => {
                self.summary.fenced += u64::from(report == failed(FailureClass::Fenced));
                self.end_transaction(db, tx, Some(report));
            }
            Claim::Ours => {
                self.set_stage(db, tx, Stage::Working);
                let takes = self.unit_takes(db, &unit);
                self.timer(Node::Database(db), self.now + takes, Timer::TxWorked { tx });
            }
        }
    }

    fn set_stage(&mut self, db: usize, tx: u64, stage: Stage) {
        if let Some(transaction) = self.databases[db].transactions.get_mut(&tx) {
            transaction.stage = stage;
        }
    }

    fn claim(&self, db: usize, unit: &Unit) -> Claim {
        let Some(ledger) = self.databases[db].runs.get(&unit.run) else {
            return Claim::Over(failed(FailureClass::Operator));
        };
        if ledger.epoch != unit.epoch && !self.has(Defect::WritesWithoutEpoch) {
            return Claim::Over(failed(FailureClass::Fenced));
        }
        let done = ledger.is_done(unit.task, unit.unit);
        match unit.direction {
            Direction::Do if done && !self.has(Defect::EffectWithoutRow) => {
                Claim::Over(Report::Done)
            }
            Direction::Do => {
                let same = ledger.bounds(unit.task, unit.unit) == Some(unit.bounds);
                if same || self.has(Defect::SplitUnchecked) {
                    Claim::Ours
                } else {
                    Claim::Over(failed(FailureClass::Operator))
                }
            }
            Direction::Undo if done => Claim::Ours,
            Direction::Undo => Claim::Over(Report::Done),
        }
    }

    /// A unit's statement ends: well, or as chance and script have it.
    pub(super) fn unit_worked(&mut self, db: usize, tx: u64) {
        let Some(transaction) = self.databases[db].transactions.get(&tx) else {
            return;
        };
        if transaction.stage != Stage::Working {
            return;
        }
        let (unit, worker) = (transaction.unit.clone(), transaction.worker);
        if let Some(report) = self.goes_wrong(db, &unit) {
            self.end_transaction(db, tx, Some(report));
            return;
        }
        self.set_stage(db, tx, Stage::Worked);
        let from = self.processes.caller(Node::Database(db));
        self.send(from, worker, Message::Worked { tx });
    }

    fn goes_wrong(&mut self, db: usize, unit: &Unit) -> Option<Report> {
        let ledger = self.databases[db].runs.get(&unit.run)?;
        let task = ledger.plan.task(unit.task);
        let (lower, upper) = ledger.bounds(unit.task, unit.unit)?;
        let row = match (task.fatal, unit.direction) {
            (Some(Fatal::Do(row)), Direction::Do) | (Some(Fatal::Undo(row)), Direction::Undo) => {
                Some(row)
            }
            _ => None,
        };
        if row.is_some_and(|row| lower < row && row <= upper) {
            return Some(Report::Failed {
                class: FailureClass::Never,
                scripted: true,
            });
        }
        let cuttable = task.cuttable;
        if !self.chance(self.scenario.unit_failures) {
            return None;
        }
        Some(failed(match self.draw(0..=3) {
            0 => FailureClass::Now,
            1 => FailureClass::Later,
            _ if cuttable => FailureClass::TimedOut,
            _ => FailureClass::Now,
        }))
    }

    /// The worker commits.
    pub(super) fn unit_committed(&mut self, db: usize, worker: Caller, tx: u64) {
        let database = &mut self.databases[db];
        let worked = database
            .transactions
            .get(&tx)
            .is_some_and(|t| t.stage == Stage::Worked);
        if !worked {
            // The server has ended the session.
            let from = self.processes.caller(Node::Database(db));
            let report = failed(FailureClass::Later);
            self.send(from, worker, Message::Ended { tx, report });
            return;
        }
        let unit = database.transactions[&tx].unit.clone();
        let Some(ledger) = database.runs.get_mut(&unit.run) else {
            return;
        };
        let range = range_of(ledger, &unit);
        let row = match unit.direction {
            Direction::Do => UnitRow::Done,
            Direction::Undo => UnitRow::Undone,
        };
        ledger.units.insert((unit.task, unit.unit), row);
        self.summary.units += u64::from(unit.direction == Direction::Do);
        self.summary.undone += u64::from(unit.direction == Direction::Undo);
        self.note_unit(Node::Database(db), "unit committed", &unit);
        let verdict = self.invariants.fencing.landed(unit.run, unit.epoch);
        self.check(verdict);
        let ledger = &self.databases[db].runs[&unit.run];
        let exactly_once = &self.invariants.exactly_once;
        let in_effect = |task| exactly_once.in_effect(unit.run, task);
        let dependencies = &self.invariants.dependencies;
        let verdict = dependencies.effect(ledger, &unit, in_effect);
        self.check(verdict);
        let verdict = self.invariants.exactly_once.effect(&unit, range);
        self.check(verdict);
        self.end_transaction(db, tx, Some(Report::Done));
    }

    /// A transaction ends, with what the worker is told, if it is told anything.
    pub(super) fn end_transaction(&mut self, db: usize, tx: u64, report: Option<Report>) {
        let Some(transaction) = self.databases[db].transactions.remove(&tx) else {
            return;
        };
        if let Some(report) = report {
            let from = self.processes.caller(Node::Database(db));
            self.send(from, transaction.worker, Message::Ended { tx, report });
        }
        let waiting = self.databases[db].transactions.iter();
        let waiting: Vec<u64> = waiting
            .filter(|(_, t)| t.stage == Stage::AtRow)
            .map(|(tx, _)| *tx)
            .collect();
        for tx in waiting {
            self.go_on(db, tx);
        }
        self.operations_go_on(db);
        self.raises_go_on(db);
    }

    /// A row was waited for long enough.
    pub(super) fn row_timed_out(&mut self, db: usize, tx: u64) {
        let waits = self.databases[db].transactions.get(&tx);
        if waits.is_some_and(|t| t.stage == Stage::AtRow) {
            self.end_transaction(db, tx, Some(failed(FailureClass::Later)));
        }
    }

    /// The server looks whether the client of a transaction is still there.
    pub(super) fn client_checked(&mut self, db: usize, tx: u64) {
        let Some(transaction) = self.databases[db].transactions.get(&tx) else {
            return;
        };
        let caller = transaction.worker;
        let Node::Worker(worker) = caller.node else {
            return;
        };
        let lives = self.processes.lives(caller);
        let paused = self.processes.get(caller.node).paused;
        if lives && (paused || self.workers[worker].running.contains_key(&tx)) {
            let again = self.now + KEEPALIVE;
            self.timer(Node::Database(db), again, Timer::TxClient { tx });
        } else {
            self.end_transaction(db, tx, None);
        }
    }
}

/// The rows that a unit changes: its own, or those that it had when it was done.
fn range_of(ledger: &RunLedger, unit: &Unit) -> (u64, u64) {
    match unit.direction {
        Direction::Do => unit.bounds,
        Direction::Undo => ledger.bounds(unit.task, unit.unit).unwrap_or(unit.bounds),
    }
}
