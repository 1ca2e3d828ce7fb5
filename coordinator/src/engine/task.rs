//! One task of a run.

use std::cmp::Reverse;

use upshift_shared::ids::{TaskId, UnitId};

use super::{
    Access, GraphTask,
    schedule::{Place, Wants, micros},
    size::Cutter,
    unit::Units,
};

/// Where a task stands.
///
/// ```text
///            last dependency         slot, and its        TaskPrepared          all units finished
///            recorded                tables are free      or prepared before    and no more to cut
///  Blocked ────────────────► Ready ────────────────► Preparing ──► Open ───────────────► Recording
///     │                        │                     (skipped where prepared before)         │
///     │  done before           │                                                 TaskRecorded│
///     └────────────────────────┴───────────────────────────────────────────────────► Done ◄──┘
/// ```
///
/// A failure of the driver's (`TaskFailed`) leaves the state as it is; what was asked is asked again
/// after a pause, or the run fails.
#[derive(Debug)]
pub(super) enum TaskState {
    /// Waits for so many tasks. Set when the run is submitted; volatile.
    Blocked(u32),
    /// May begin. Set when its last dependency is recorded; volatile.
    Ready,
    /// `PrepareTask` was asked. Set when a slot and its tables are free; durable once the ledger has
    /// the task as `prepared`.
    Preparing,
    /// Units are cut and leased. Set by `TaskPrepared`; durable (the ledger's `prepared`).
    Open(Box<Units>),
    /// `RecordTask` was asked. Set when the last unit is finished; volatile.
    Recording,
    /// Set by `TaskRecorded`; durable (the ledger's `done` or `undone`).
    Done,
}

impl TaskState {
    /// For messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Blocked(_) => "blocked",
            Self::Ready => "ready",
            Self::Preparing => "being prepared",
            Self::Open(_) => "open",
            Self::Recording => "being recorded",
            Self::Done => "done",
        }
    }
}

/// A task and what hangs on it.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) id: TaskId,
    pub(super) module: u32,
    pub(super) place: Place,
    /// Relations that it uses, each once.
    pub(super) uses: Vec<(u32, Access)>,
    /// How long it is expected to take one worker.
    micros: u64,
    pub(super) cuttable: bool,
    pub(super) patient: Option<u64>,
    pub(super) prepared: bool,
    pub(super) cut_exhausted: bool,
    /// From the ledger, until the task is opened.
    pub(super) units: Vec<(UnitId, bool)>,
    pub(super) state: TaskState,
    /// Leases out. Kept here and not in the state: a lease may outlive its unit, when another
    /// worker's commit of it came in late.
    pub(super) in_flight: u32,
    /// Whether it is among those that have a unit to offer.
    pub(super) offering: bool,
    /// Whether the driver is at work for the task; only one thing at a time, so that `TaskFailed`
    /// says which.
    pub(super) asked: bool,
    /// Whether what the driver failed to do waits for its next attempt.
    pub(super) resting: bool,
    /// How often the driver failed in what it has to do now.
    pub(super) failures: u32,
}

impl Task {
    pub(super) fn new(task: GraphTask, place: Place) -> Self {
        let mut uses = task.tables;
        // Of several uses of one, the one that keeps most others away.
        uses.sort_unstable_by_key(|(relation, how)| (*relation, Reverse(*how)));
        uses.dedup_by_key(|(relation, _)| *relation);
        Self {
            id: task.id,
            module: task.module,
            place,
            uses,
            micros: micros(task.seconds),
            cuttable: task.cuttable,
            patient: task.patient,
            prepared: task.prepared,
            cut_exhausted: task.cut_exhausted,
            units: task.units,
            state: if task.done {
                TaskState::Done
            } else {
                TaskState::Blocked(task.depends.len() as u32)
            },
            in_flight: 0,
            offering: false,
            asked: false,
            resting: false,
            failures: 0,
        }
    }

    pub(super) fn wants(&self) -> Wants<'_> {
        Wants {
            uses: &self.uses,
            micros: self.micros,
        }
    }

    /// Its units as the ledger has them: one unit where it is not cut and none is listed.
    pub(super) fn take_units(&mut self, cutter: Cutter) -> Units {
        let exhausted = self.cut_exhausted || !self.cuttable;
        self.list_single_unit();
        Units::new(std::mem::take(&mut self.units), exhausted, cutter)
    }

    fn list_single_unit(&mut self) {
        if self.units.is_empty() && !self.cuttable {
            self.units.push((UnitId(0), false));
        }
    }

    /// A unit that an earlier coordinator leased has committed before the task is open again.
    pub(super) fn finished_early(&mut self, unit: UnitId) {
        self.list_single_unit();
        if let Some(entry) = self.units.iter_mut().find(|(u, _)| *u == unit) {
            entry.1 = true;
        }
    }

    /// The driver did what it was asked.
    pub(super) fn answered(&mut self) {
        self.asked = false;
        self.failures = 0;
    }
}
