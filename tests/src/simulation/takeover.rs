//! How a run comes to be driven and ceases to be: step by step, each asked for again until it is answered.
//!
//! ```text
//!  Creating ─► Announcing ─► Locking ─► Raising ─► Loading ─► Beginning ─► Driving ─► Ending ─► Indexing ─► Releasing
//!  (submitted)  (accepted)   ▲            ▲                                  │          │
//!                            │ taken over └────────── fenced, or back ───────┴──────────┘
//! ```

use std::{collections::BTreeMap, rc::Rc};

use upshift_coordinator::engine::{FailureClass, Outcome, StopReason};
use upshift_shared::ids::{RunId, TaskId};

use super::{
    Defect, adapter,
    coordinator::{Answered, Pending},
    driver::Work,
    invariants::causes,
    ledger::{Operation, Reply as LedgerReply, RunLedger, RunState},
    message::{Answer, Timer},
    plan::Plan,
    process::{Caller, Node},
    queue::Millis,
    rebuild::{self, Page, Rebuilt},
    store::{Entry, Key, Reply as StoreReply, Request},
    world::World,
};

/// A step that was not answered, or could not be, is taken again after so long.
const STEP_AGAIN: Millis = 400;
/// A run whose driver was fenced by nobody else is taken over again after so long.
const FENCED_AGAIN: Millis = 1_000;

/// Which way a run is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    Forward,
    Back(Option<u32>),
}

/// How far a run is.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    Creating(Rc<Plan>),
    Announcing,
    Locking,
    Raising,
    Loading,
    Beginning(Operation),
    Driving,
    Ending(Operation),
    Indexing,
    Releasing,
}

/// A run in the hands of a coordinator.
#[derive(Debug)]
pub(super) struct Drive {
    number: u64,
    pub(super) database: usize,
    /// What was asked for; else the ledger says.
    pub(super) want: Option<Aim>,
    pub(super) aim: Aim,
    pub(super) phase: Phase,
    pub(super) epoch: i64,
    /// Of the step at hand.
    order: u64,
    pub(super) lock: Option<i64>,
    rebuilt: Option<(Rebuilt, bool)>,
    pub(super) pages: BTreeMap<TaskId, Page>,
    pub(super) works: BTreeMap<u64, Work>,
    /// What follows when it has stopped.
    pub(super) then: Option<Aim>,
    pub(super) answers: Vec<(u64, Caller)>,
}

impl Drive {
    pub(super) fn new(number: u64, database: usize, phase: Phase) -> Self {
        Self {
            number,
            database,
            want: None,
            aim: Aim::Forward,
            phase,
            epoch: 0,
            order: number,
            lock: None,
            rebuilt: None,
            pages: BTreeMap::new(),
            works: BTreeMap::new(),
            then: None,
            answers: Vec::new(),
        }
    }

    /// Whether whoever leads next will know of it.
    pub(super) fn is_announced(&self) -> bool {
        !matches!(self.phase, Phase::Creating(_) | Phase::Announcing)
    }
}

impl World {
    /// Asks for what comes next.
    pub(super) fn take_step(&mut self, c: usize, run: RunId) {
        let coordinator = &self.coordinators[c];
        let (Some(lead), Some(drive)) = (coordinator.lead, coordinator.drives.get(&run)) else {
            return;
        };
        let (db, epoch) = (drive.database, drive.epoch);
        let entry = |active| Request::PutRun {
            entry: Entry {
                run,
                database: db,
                active,
                order: match self.has(Defect::IndexUnordered) {
                    true => 0,
                    false => drive.order,
                },
            },
            lead,
        };
        let request = match &drive.phase {
            Phase::Driving => return,
            Phase::Announcing => entry(true),
            Phase::Indexing => entry(false),
            Phase::Locking => {
                let Some(lease) = coordinator.lease() else {
                    return;
                };
                // Of the lease, and not of this asking: a request that comes late, after the lock was given
                // back, takes it for whoever is known by that token.
                let token = match self.has(Defect::LocksOrphaned) {
                    true => drive.number,
                    false => lease,
                };
                Request::Acquire {
                    key: Key::Lock(db),
                    lease,
                    token,
                    holder: c,
                    lead: Some(lead),
                }
            }
            Phase::Releasing => Request::Delete {
                key: Key::Lock(db),
                created: drive.lock.unwrap_or(0),
            },
            Phase::Creating(plan) => {
                let operation = Operation::Create(Rc::clone(plan));
                return self.call_ledger(c, db, (run, 0), operation, Pending::Step(run));
            }
            Phase::Raising => {
                let operation = Operation::Raise;
                return self.call_ledger(c, db, (run, epoch), operation, Pending::Step(run));
            }
            Phase::Loading => {
                let operation = Operation::Load;
                return self.call_ledger(c, db, (run, epoch), operation, Pending::Step(run));
            }
            Phase::Beginning(operation) | Phase::Ending(operation) => {
                let operation = operation.clone();
                return self.call_ledger(c, db, (run, epoch), operation, Pending::Step(run));
            }
        };
        self.call_store(c, request, Pending::Step(run));
    }

    fn step_again(&mut self, c: usize, run: RunId, pause: Millis) {
        let term = self.coordinators[c].term;
        let at = self.now + pause;
        self.timer(Node::Coordinator(c), at, Timer::Retake { term, run });
    }

    fn goes_to(&mut self, c: usize, run: RunId, phase: Phase) {
        let order = self.number();
        if let Some(drive) = self.coordinators[c].drives.get_mut(&run) {
            drive.phase = phase;
            drive.order = order;
        }
        self.take_step(c, run);
    }

    /// A step was taken, or not.
    pub(super) fn step_answered(&mut self, c: usize, run: RunId, answer: Answered) {
        let Some(drive) = self.coordinators[c].drives.get_mut(&run) else {
            return;
        };
        match (drive.phase.clone(), answer) {
            (_, Answered::Store(StoreReply::NoLead)) => self.step_down(c),
            (Phase::Locking, Answered::Store(StoreReply::Gone)) => self.lease_lost(c),
            (_, Answered::Ledger(LedgerReply::Failed(FailureClass::Fenced))) => {
                drive.phase = Phase::Raising;
                self.step_again(c, run, FENCED_AGAIN);
            }
            (Phase::Creating(_), Answered::Ledger(LedgerReply::Done)) => {
                self.goes_to(c, run, Phase::Announcing);
            }
            (Phase::Announcing, Answered::Store(StoreReply::Written)) => {
                self.invariants.ends.accepted(run);
                if self.coordinators[c].drives[&run].want.is_none() {
                    self.reply_to_all(c, run, Answer::Taken);
                }
                self.goes_to(c, run, Phase::Locking);
            }
            (Phase::Locking, Answered::Store(StoreReply::Ours(created))) => {
                drive.lock = Some(created);
                self.goes_to(c, run, Phase::Raising);
            }
            (Phase::Raising, Answered::Ledger(LedgerReply::Epoch(epoch))) => {
                drive.epoch = epoch;
                let number = drive.number;
                let holder = self.processes.caller(Node::Coordinator(c));
                let verdict = self
                    .invariants
                    .one_driver
                    .took((run, epoch), holder, number);
                self.check(verdict);
                self.goes_to(c, run, Phase::Loading);
            }
            (Phase::Loading, Answered::Ledger(LedgerReply::Loaded(ledger))) => {
                self.decide(c, run, &ledger);
            }
            (Phase::Beginning(_), Answered::Ledger(LedgerReply::Done)) => self.drive(c, run),
            (Phase::Ending(_), Answered::Ledger(LedgerReply::Done)) => self.end_recorded(c, run),
            (Phase::Indexing, Answered::Store(StoreReply::Written)) => {
                self.goes_to(c, run, Phase::Releasing);
            }
            (Phase::Releasing, Answered::Store(_)) => {
                self.reply_to_all(c, run, Answer::Refused);
                self.coordinators[c].drives.remove(&run);
            }
            _ => self.step_again(c, run, STEP_AGAIN),
        }
    }

    fn reply_to_all(&mut self, c: usize, run: RunId, answer: Answer) {
        let drive = self.coordinators[c].drives.get_mut(&run);
        let answers = drive.map(|drive| std::mem::take(&mut drive.answers));
        for to in answers.unwrap_or_default() {
            self.reply_to_client(c, to, answer);
        }
    }

    /// From what the ledger has and what was asked for: which way, or none.
    fn decide(&mut self, c: usize, run: RunId, ledger: &RunLedger) {
        use RunState as S;
        let Some(drive) = self.coordinators[c].drives.get_mut(&run) else {
            return;
        };
        let partly = ledger.rollback_to.is_some();
        let aim = match (drive.want.take(), ledger.state) {
            (Some(Aim::Back(_)), S::Planned) => {
                let state = S::RolledBack;
                let scripted = false;
                let operation = Operation::Change { state, scripted };
                return self.goes_to(c, run, Phase::Ending(operation));
            }
            (Some(Aim::Back(to)), S::RollingBack | S::Stuck) if to == ledger.rollback_to => {
                Aim::Back(to)
            }
            // One can go back to a checkpoint that holds, and to the start.
            (
                Some(Aim::Back(to)),
                S::Running | S::Prepared | S::Failed | S::RollingBack | S::Stuck,
            ) if to.is_none_or(|to| (0..=to).all(|p| ledger.checkpoints.contains(&p))) => {
                Aim::Back(to)
            }
            (Some(Aim::Back(None)), S::RolledBack) if partly => Aim::Back(None),
            (Some(Aim::Forward), S::RolledBack) if partly => Aim::Forward,
            (Some(Aim::Forward), S::Failed) | (None, S::Planned | S::Running) => Aim::Forward,
            (Some(Aim::Forward), S::Planned | S::Running) => Aim::Forward,
            (Some(Aim::Forward), S::RollingBack | S::Stuck) | (None, S::RollingBack) => {
                Aim::Back(ledger.rollback_to)
            }
            _ => return self.goes_to(c, run, Phase::Indexing),
        };
        drive.aim = aim;
        let (rebuilt, operation) = match aim {
            Aim::Forward => {
                let state = S::Running;
                let scripted = false;
                (
                    rebuild::forward(ledger),
                    Operation::Change { state, scripted },
                )
            }
            Aim::Back(to) => {
                let rebuilt = rebuild::back(ledger, to);
                let operation = Operation::GoBack {
                    to,
                    left: rebuilt.left,
                    without_effect: rebuilt.without_effect.clone(),
                };
                (rebuilt, operation)
            }
        };
        drive.rebuilt = Some((rebuilt, ledger.paused));
        self.goes_to(c, run, Phase::Beginning(operation));
    }

    /// The ledger says which way: now the engine has it.
    fn drive(&mut self, c: usize, run: RunId) {
        let Some(drive) = self.coordinators[c].drives.get_mut(&run) else {
            return;
        };
        let Some((rebuilt, paused)) = drive.rebuilt.take() else {
            return;
        };
        drive.phase = Phase::Driving;
        drive.pages = rebuilt.pages;
        drive.works.clear();
        self.reply_to_all(c, run, Answer::Taken);
        self.feed(c, adapter::run_submitted(run, rebuilt.graph));
        let drives = self.coordinators[c].drives.get(&run);
        let still = drives.is_some_and(|drive| matches!(drive.phase, Phase::Driving));
        if paused && still {
            self.feed(c, adapter::pause_requested(run));
        }
    }

    /// The engine has ended the run: the ledger has to know.
    pub(super) fn ended(&mut self, c: usize, run: RunId, outcome: &Outcome) {
        self.check(causes::ended(outcome));
        let Some(drive) = self.coordinators[c].drives.get_mut(&run) else {
            return;
        };
        drive.works.clear();
        let failure = match outcome {
            Outcome::Stopped(StopReason::Driver(failure)) | Outcome::Failed { failure, .. } => {
                Some(failure)
            }
            Outcome::Finished | Outcome::Stopped(StopReason::Operator) => None,
        };
        if failure.is_some_and(|failure| failure.class == FailureClass::Fenced) {
            // By somebody else, who leads then; or by a request of its own that came late.
            drive.want = drive.then.take();
            drive.phase = Phase::Raising;
            return self.step_again(c, run, FENCED_AGAIN);
        }
        let scripted = failure.is_some_and(adapter::is_scripted);
        let state = match (drive.aim, outcome) {
            (Aim::Forward, Outcome::Finished) => RunState::Prepared,
            (Aim::Forward, _) => RunState::Failed,
            (Aim::Back(_), Outcome::Finished) => RunState::RolledBack,
            (Aim::Back(_), Outcome::Failed { .. }) => RunState::Stuck,
            (Aim::Back(_), Outcome::Stopped(_)) => RunState::RollingBack,
        };
        let operation = Operation::Change { state, scripted };
        self.goes_to(c, run, Phase::Ending(operation));
    }

    fn end_recorded(&mut self, c: usize, run: RunId) {
        let Some(drive) = self.coordinators[c].drives.get_mut(&run) else {
            return;
        };
        match drive.then.take() {
            Some(aim) => {
                drive.want = Some(aim);
                self.goes_to(c, run, Phase::Raising);
            }
            None => self.goes_to(c, run, Phase::Indexing),
        }
    }
}
