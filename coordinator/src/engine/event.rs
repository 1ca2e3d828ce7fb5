//! What goes into the engine and what comes out of it.

use std::time::Duration;

use upshift_shared::ids::{RunId, TaskId, UnitId, WorkerId};

use super::Labels;

/// A database server, as the driver numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u32);

/// What the engine is to drive: a run forward, or the tasks of a run back.
///
/// For the way back, the driver builds the graph from the ledger: edges reversed, `prepared` and
/// `cut_exhausted` true, and `units` those that are done and have to be undone.
#[derive(Debug, Clone)]
pub struct RunGraph {
    /// Forward or back.
    pub direction: Direction,
    /// Each behind those that it depends on.
    pub tasks: Vec<GraphTask>,
    /// Checkpoints by number, as the modules that end in them: when the last task of one is done, it is
    /// prepared (forward).
    pub modules: u32,
    /// At most so many units of this run at once.
    pub max_units: u32,
    /// At most so many units of one task at once.
    pub max_units_per_task: u32,
    /// How often a unit that failed for a passing reason is tried again before the run fails.
    pub max_attempts: u32,
    /// Rows of the first units of each task; `None` for the engine's own choice. It finds the right
    /// size from there.
    pub first_unit_rows: Option<u64>,
    /// Whether it begins paused.
    pub paused: bool,
    /// The server that its database is on, where that has a limit of its own.
    pub server: Option<ServerId>,
    /// Where workers should be: none that says otherwise gets a unit while there are others.
    pub wants: Labels,
}

/// Which way a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Do the work.
    Do,
    /// Take it back.
    Undo,
}

/// How a task uses a relation: who else may use it meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Whoever reads or writes it.
    Read,
    /// Whoever reads it.
    Write,
    /// Nobody.
    Alone,
}

/// A task, as far as the engine asks.
#[derive(Debug, Clone)]
pub struct GraphTask {
    /// Its number in the plan.
    pub id: TaskId,
    /// What must be done before it.
    pub depends: Vec<TaskId>,
    /// The checkpoint that waits for it; of modules that end in one, the module.
    pub module: u32,
    /// Expected seconds: its weight on the critical path.
    pub seconds: f64,
    /// Relations that it uses, and how.
    pub tables: Vec<(u32, Access)>,
    /// Whether it is cut into units as it goes; otherwise it has the units listed below, or one.
    pub cuttable: bool,
    /// About how many rows it has, if its units may take long because nobody waits for what they lock.
    pub patient: Option<u64>,
    /// From the ledger: already prepared.
    pub prepared: bool,
    /// From the ledger: every unit has been cut.
    pub cut_exhausted: bool,
    /// From the ledger: units that were cut, and whether each is done (`true`).
    pub units: Vec<(UnitId, bool)>,
    /// From the ledger: the whole task is done.
    pub done: bool,
}

/// Something that happened.
#[expect(missing_docs, reason = "run, task, unit and worker say what they are")]
#[derive(Debug, Clone)]
pub enum Event {
    /// A run begins, goes on, or goes back.
    RunSubmitted { run: RunId, graph: RunGraph },
    /// A worker opened a session. It has no credit yet.
    WorkerJoined { worker: WorkerId, labels: Labels },
    /// The worker can take so many more units.
    CreditGranted { worker: WorkerId, units: u32 },
    /// The worker takes no more units; those in flight will still be reported.
    WorkerDraining { worker: WorkerId },
    /// The session ended, whether it was draining or not: what it held is offered again.
    WorkerLost { worker: WorkerId },
    /// The task's kept tables exist, its instant and sequences are recorded.
    TaskPrepared { run: RunId, task: TaskId },
    /// These units were cut and recorded; `exhausted` when there will be no more.
    UnitsCut {
        run: RunId,
        task: TaskId,
        first: UnitId,
        count: u32,
        exhausted: bool,
    },
    /// A unit was split in two: `unit` keeps the lower half, `new` is the upper one. `None` when it
    /// cannot be split any further.
    UnitSplit {
        run: RunId,
        task: TaskId,
        unit: UnitId,
        new: Option<UnitId>,
    },
    /// A unit's transaction has committed (or had, earlier).
    UnitFinished {
        run: RunId,
        worker: WorkerId,
        task: TaskId,
        unit: UnitId,
        rows: u64,
        elapsed: Duration,
    },
    /// A unit failed and left nothing behind.
    UnitFailed {
        run: RunId,
        worker: WorkerId,
        task: TaskId,
        unit: UnitId,
        failure: Failure,
    },
    /// Something that the driver does for a task (prepare, cut, split, record) failed. The engine
    /// never asks for two of these at once, so the task alone says which.
    TaskFailed {
        run: RunId,
        task: TaskId,
        failure: Failure,
    },
    /// The ledger has the task as done.
    TaskRecorded { run: RunId, task: TaskId },
    /// The ledger has the checkpoint.
    CheckpointRecorded { run: RunId, module: u32 },
    /// A timer that the engine asked for is due.
    TimerFired,
    /// An operator wants no new units to begin.
    PauseRequested { run: RunId },
    /// And now they may.
    ResumeRequested { run: RunId },
    /// From now on at most so many units at once, of the run and of one task; those in flight end. Zero
    /// counts as one: that nothing begins is what a pause is for.
    LimitsChanged {
        run: RunId,
        max_units: u32,
        max_units_per_task: u32,
    },
    /// Stop: units in flight end, then the run ends as [`Outcome::Stopped`].
    StopRequested { run: RunId, reason: StopReason },
    /// From now on at most so many units at once on a server; those in flight end. Zero counts as one.
    ServerLimited { server: ServerId, max_units: u32 },
    /// The same for all runs together; `None` for as many as there are workers for.
    UnitsLimited { max_units: Option<u32> },
}

/// Why a run is asked to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// An operator, or Ctrl-C.
    Operator,
    /// The ledger or the database cannot be reached, or the run was taken over.
    Driver(Failure),
}

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What can be done about it.
    pub class: FailureClass,
    /// What happened, without values of the user's rows.
    pub message: String,
    /// SQLSTATE, where PostgreSQL reported one.
    pub sqlstate: Option<String>,
}

/// What can be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// Serialisation, deadlock: again at once.
    Now,
    /// Locks, connections: again after a pause.
    Later,
    /// The statement timeout: split the unit.
    TimedOut,
    /// An operator must mend something first.
    Operator,
    /// Never again as it is.
    Never,
    /// The run is somebody else's.
    Fenced,
}

/// Something the driver must do. It persists what has to be durable first, then acts, and reports
/// with an [`Event`].
#[expect(missing_docs, reason = "run, task, unit and worker say what they are")]
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Create what the task keeps, record its instant and sequences → `TaskPrepared`.
    PrepareTask { run: RunId, task: TaskId },
    /// Cut up to `units` more units of about `rows` rows, behind those that exist, and record them →
    /// `UnitsCut`.
    CutTask {
        run: RunId,
        task: TaskId,
        rows: u64,
        units: u32,
    },
    /// Cut a unit in two → `UnitSplit`, with `new: None` where it is too small or already done.
    ///
    /// A worker that was believed lost may still have the unit with its old range, and must not do
    /// the upper half as well: `upshift_shared::ledger::unit::claim` and `cut::split` see to that.
    SplitUnit {
        run: RunId,
        task: TaskId,
        unit: UnitId,
    },
    /// Send a unit to a worker → `UnitFinished`, `UnitFailed` or `WorkerLost`.
    LeaseUnit {
        worker: WorkerId,
        run: RunId,
        task: TaskId,
        unit: UnitId,
        direction: Direction,
        attempt: u32,
    },
    /// Record that the task is done (or undone) → `TaskRecorded`.
    RecordTask { run: RunId, task: TaskId },
    /// Record that the module's checkpoint is prepared → `CheckpointRecorded`. Asked for in the order
    /// of the modules, when all tasks of this and of all earlier ones are recorded; a resumed run
    /// asks again for those that are there already.
    RecordCheckpoint { run: RunId, module: u32 },
    /// Tell whoever watches that a unit will be tried again.
    ReportRetry {
        run: RunId,
        task: TaskId,
        unit: UnitId,
        attempt: u32,
        delay: Duration,
        failure: Failure,
    },
    /// The run has ended; record it.
    EndRun { run: RunId, outcome: Outcome },
    /// Fire [`Event::TimerFired`] at this time. A later command replaces an earlier one.
    SetTimer { at: Duration },
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is done: `prepared` (or, going back, `rolled_back`).
    Finished,
    /// Stopped on request; it can be resumed.
    Stopped(StopReason),
    /// A task failed; it can be resumed once the cause is mended. Going back: stuck.
    Failed {
        /// The task.
        task: TaskId,
        /// The unit, where one failed.
        unit: Option<UnitId>,
        /// Why.
        failure: Failure,
    },
}
