//! What travels between processes, and what else can happen.

use std::rc::Rc;

use upshift_coordinator::engine::{Direction, FailureClass};
use upshift_shared::ids::{RunId, TaskId, UnitId, WorkerId};

use super::{
    faults::Fault,
    ledger::{Operation, Reply as LedgerReply},
    plan::Plan,
    process::{Caller, Node},
    store::{Reply as StoreReply, Request as StoreRequest},
};

/// A unit, as it goes to a worker and from there to the database.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub(super) run: RunId,
    /// Where its database is.
    pub(super) database: usize,
    pub(super) task: TaskId,
    pub(super) unit: UnitId,
    pub(super) epoch: i64,
    pub(super) direction: Direction,
    /// `(lower, upper]`
    pub(super) bounds: (u64, u64),
}

/// What became of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    /// Its work is in effect, or was already.
    Done,
    /// It left nothing behind. `scripted`: a real failure, which trying again does not mend.
    Failed { class: FailureClass, scripted: bool },
}

/// What an operator wants.
#[derive(Debug, Clone)]
pub(super) enum Order {
    Submit {
        database: usize,
        plan: Rc<Plan>,
    },
    Pause,
    Unpause,
    Limit(u32, u32),
    Stop,
    /// To this checkpoint, or to the start.
    Rollback(Option<u32>),
    /// Goes on with a run that failed, or that was rolled back to a checkpoint.
    Resume,
}

/// What an operator hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Taken,
    Refused,
    NotTheLeader,
}

/// A message outside of streams: a request, an answer, or a step of a unit's transaction.
#[derive(Debug, Clone)]
pub(super) enum Message {
    Store {
        call: u64,
        request: StoreRequest,
    },
    StoreReply {
        call: u64,
        reply: StoreReply,
    },
    Ledger {
        call: u64,
        run: RunId,
        epoch: i64,
        operation: Operation,
    },
    LedgerReply {
        call: u64,
        reply: LedgerReply,
    },
    Begin {
        tx: u64,
        unit: Unit,
    },
    Worked {
        tx: u64,
    },
    Commit {
        tx: u64,
    },
    Abort {
        tx: u64,
    },
    Ended {
        tx: u64,
        report: Report,
    },
    Order {
        call: u64,
        run: RunId,
        order: Order,
    },
    OrderReply {
        call: u64,
        answer: Answer,
    },
}

/// From a worker to its coordinator.
#[derive(Debug, Clone)]
pub(super) enum Up {
    /// Where it is, if it says so.
    Hello(Option<u32>),
    Credit(u32),
    Heartbeat,
    Draining,
    Report {
        unit: Unit,
        report: Report,
        millis: u64,
    },
    Closed,
}

/// From the coordinator to a worker.
#[derive(Debug, Clone)]
pub(super) enum Down {
    Welcome,
    Unit(Unit),
    Acknowledged,
    Closed,
}

/// What a process wakes up for.
#[derive(Debug, Clone)]
pub(super) enum Timer {
    /// A coordinator asks for the lead.
    Campaign,
    /// It keeps its lease alive, or finds it lost.
    Lease,
    /// It looks which workers are silent.
    Silence,
    /// The engine's.
    Engine { at: u64, term: u32 },
    /// A request was not answered.
    Call(u64),
    /// An operation whose connection was lost is tried again.
    Again { term: u32, run: RunId, work: u64 },
    /// A run is taken over once more.
    Retake { term: u32, run: RunId },
    /// A worker looks for the leader.
    Connect,
    /// It sends a heartbeat, and finds out whether the coordinator is silent.
    Beat { stream: usize },
    /// A unit's transaction is not waited for any longer.
    UnitDeadline { tx: u64 },
    /// A statement of a unit has done its work.
    TxWorked { tx: u64 },
    /// Somebody has waited long enough for a row.
    TxLock { tx: u64 },
    /// The server finds out that its client is gone.
    TxClient { tx: u64 },
    /// Older holders had time to finish.
    Grace { raise: u64 },
    /// An operation has waited long enough for a row.
    OperationLock { waiting: u64 },
    /// A client goes on.
    Client,
    /// Someone starts a process again.
    Restart,
}

/// Whatever can happen.
#[derive(Debug, Clone)]
pub(super) enum Happening {
    Message {
        from: Caller,
        to: Caller,
        message: Message,
    },
    /// The next message of a stream arrives.
    Stream {
        stream: usize,
        up: bool,
    },
    Timer {
        of: Caller,
        timer: Timer,
    },
    Fault(Fault),
    /// Everything is looked over, once nothing goes wrong any more.
    Audit,
}

/// A worker's session: a stream of messages in order each way. It breaks; it loses none of its messages
/// before that.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) worker: Caller,
    pub(super) coordinator: Caller,
    pub(super) up: std::collections::VecDeque<Up>,
    pub(super) down: std::collections::VecDeque<Down>,
    /// How the coordinator calls the worker, once it has joined.
    pub(super) joined: Option<WorkerId>,
}

impl Stream {
    /// From where to where messages of that direction go.
    pub(super) fn ends(&self, up: bool) -> (Node, Caller) {
        if up {
            (self.worker.node, self.coordinator)
        } else {
            (self.coordinator.node, self.worker)
        }
    }
}
