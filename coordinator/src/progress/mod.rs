//! What a run tells the person or program that started it: one [`ProgressEvent`] for each thing that
//! happens, shown by one of three [`Progress`]es: bars on a terminal, lines in a pipe, JSON on
//! request.
//!
//! The driver calls [`Progress::show`] after the ledger has the fact, so that nothing shown is ever
//! taken back.

mod json;
mod lines;
mod pace;
mod terminal;

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use upshift_shared::ids::{RunId, TaskId, UnitId, WorkerId};

use crate::activity::Blocker;
pub use json::Json;
pub(crate) use lines::units_at_once;
pub use lines::{Lines, describe};
pub use terminal::Terminal;

/// Something that happened in a run, for people and programs that watch it. Never holds values of
/// the user's rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum ProgressEvent {
    /// A run begins, goes on, or goes back.
    RunStarted {
        /// The run.
        run: RunId,
        /// What it is.
        going: Going,
        /// Tasks in all.
        tasks: u64,
        /// Tasks that the ledger had as done (or, going back, undone) already.
        tasks_done: u64,
        /// Rows that the tasks still to be done are expected to touch.
        rows: u64,
        /// Seconds that they are expected to take on one worker.
        seconds: f64,
        /// Workers that it starts with.
        workers: u32,
    },
    /// The first unit of a task is about to begin.
    TaskStarted {
        /// The task.
        task: TaskId,
        /// What a person calls it.
        label: String,
        /// Its module.
        module: String,
        /// Its operator's name.
        operator: String,
        /// Rows that it is expected to touch (less those already done).
        rows: u64,
        /// Seconds that it is expected to take on one worker.
        seconds: f64,
        /// Whether it is cut into units.
        cut: bool,
    },
    /// A unit has committed.
    UnitDone {
        /// Its task.
        task: TaskId,
        /// The unit.
        unit: UnitId,
        /// Who ran it.
        worker: WorkerId,
        /// Rows that it touched.
        rows: u64,
        /// How long it took, in seconds.
        seconds: f64,
    },
    /// The ledger has the task as done (or undone).
    TaskDone {
        /// The task.
        task: TaskId,
    },
    /// A unit failed for a passing reason and will be tried again.
    Retry {
        /// Its task.
        task: TaskId,
        /// The unit.
        unit: UnitId,
        /// The attempt that will follow, from 2.
        attempt: u32,
        /// After how many seconds.
        delay: f64,
        /// Why it failed.
        reason: String,
    },
    /// A unit was too large for the statement timeout and was cut in two.
    UnitSplit {
        /// Its task.
        task: TaskId,
        /// The unit.
        unit: UnitId,
    },
    /// The driver lost its connection over something that it does for the run, and does it again.
    OperationRetry {
        /// The task that it does it for.
        task: Option<TaskId>,
        /// What it does.
        operation: String,
        /// The attempt that will follow, from 2.
        attempt: u32,
        /// After how many seconds.
        delay: f64,
        /// What was lost.
        reason: String,
    },
    /// Something that the driver does for a task failed. Where the cause may pass it is tried again;
    /// otherwise the run fails.
    OperationFailed {
        /// The task.
        task: TaskId,
        /// What it does.
        operation: String,
        /// Why it failed.
        reason: String,
    },
    /// Something has waited for some seconds and still does.
    Waiting {
        /// What it is.
        about: Waiter,
        /// The task.
        task: Option<TaskId>,
        /// The unit.
        unit: Option<UnitId>,
        /// For how many seconds so far.
        seconds: f64,
        /// What for, and who is in the way.
        reason: String,
        /// The sessions that are in the way.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        blockers: Vec<Blocker>,
    },
    /// It waits no more, or for something else.
    WaitEnded {
        /// What it is.
        about: Waiter,
        /// The task.
        task: Option<TaskId>,
        /// The unit.
        unit: Option<UnitId>,
        /// For how many seconds it waited, as far as was seen.
        seconds: f64,
    },
    /// A module's checkpoint is prepared.
    CheckpointPrepared {
        /// The module, after which the checkpoint is named.
        module: String,
    },
    /// A worker opened a session.
    WorkerJoined {
        /// The number of its session.
        worker: WorkerId,
        /// Its own name: host and process.
        name: String,
    },
    /// A worker's session ended while it held units; they are offered again.
    WorkerLost {
        /// The number of its session.
        worker: WorkerId,
        /// Why its session ended.
        reason: String,
    },
    /// A worker has left, because fewer were wanted.
    WorkerLeft {
        /// The number of its session.
        worker: WorkerId,
    },
    /// No new units begin until the operator says so.
    Paused {
        /// Why, in the operator's words.
        reason: Option<String>,
    },
    /// They may begin again.
    Resumed,
    /// The database's lock was lost, and taken again.
    LockTakenAgain,
    /// An operator does not wait for the units in flight: they are cancelled.
    Cancelling {
        /// How many.
        units: u64,
    },
    /// A health signal slows the run down, or more or less than it did.
    Throttled {
        /// Which.
        signal: String,
        /// What was seen, against what is borne.
        reason: String,
        /// Units at once; 0: none begins.
        units: u32,
    },
    /// It no longer does.
    Unthrottled {
        /// Which.
        signal: String,
    },
    /// A health signal cannot be seen, and holds nothing back.
    SignalUnknown {
        /// Which.
        signal: String,
        /// Why.
        reason: String,
    },
    /// An operator has changed what the run may take.
    LimitsChanged {
        /// Workers in the process.
        workers: u32,
        /// Units at once.
        max_units: u32,
        /// Units of one task at once.
        max_units_per_task: u32,
    },
    /// Units in flight end, then the run does.
    Stopping {
        /// Why.
        reason: String,
        /// Units in flight.
        units: u64,
    },
    /// What the plan expected of the larger pieces of work, and what they took.
    Compared {
        /// The longest first.
        work: Vec<Compared>,
    },
    /// The run has ended, and the ledger has it so.
    RunEnded {
        /// How.
        ending: Ending,
        /// For a failure: what failed, where in the pack, and what to do. Else what comes next, such
        /// as the command that resumes it.
        message: String,
    },
}

/// A task, or all stages of a pass, against its estimate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// What a person calls it.
    pub label: String,
    /// Seconds of one worker that the plan expected.
    pub estimated: f64,
    /// Seconds of one worker that it took.
    pub took: f64,
}

/// What can wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Waiter {
    /// A unit.
    Unit,
    /// Something that the driver does.
    Driver,
    /// The run, for workers.
    Workers,
}

/// Which way a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Going {
    /// From the start.
    Forward,
    /// Forward, from where an earlier attempt ended.
    Resumed,
    /// Back.
    Back,
    /// The deferred destruction of `commit`.
    Commit,
}

/// How a run ended, in the ledger's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Everything that comes before a snapshot is done; the run goes on when that is taken.
    SnapshotDue,
    /// Everything is done and can still be taken back.
    Prepared,
    /// The way back is closed.
    Committed,
    /// Everything, or what was asked for, is taken back.
    RolledBack,
    /// Stopped on request; `resume` goes on.
    Stopped,
    /// Another coordinator goes on with it.
    HandedOver,
    /// A unit failed; `resume` goes on once the cause is mended.
    Failed,
    /// An undo failed.
    Stuck,
}

/// Shows what happens. Called from the driver's loop, so it must not block for long.
pub trait Progress: Send {
    /// Shows one event. `at` is the time since the run was started by this process.
    fn show(&mut self, at: Duration, event: &ProgressEvent);
}

/// Shows nothing (`--quiet`, tests).
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn show(&mut self, _at: Duration, _event: &ProgressEvent) {}
}

/// What fits the output: JSON lines on standard output where asked for, else bars where standard
/// error is a terminal, else one line an event on standard error.
#[must_use]
pub fn for_output(json: bool) -> Box<dyn Progress> {
    if json {
        Box::new(Json::new(std::io::stdout()))
    } else if std::io::stderr().is_terminal() {
        Box::new(Terminal::new())
    } else {
        Box::new(Lines::new(std::io::stderr()))
    }
}

/// Writes a line and flushes it. A reader that has gone away must not end the run, so errors are
/// dropped.
fn write_line(out: &mut impl Write, line: &str) {
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
