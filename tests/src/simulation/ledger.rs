//! The ledger of a run: what its tables say, and what the driver's operations do to them. As in the real one
//! (`upshift_shared::ledger`), every operation may be done again without harm, because its answer may be lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use upshift_coordinator::engine::FailureClass;
use upshift_shared::ids::{TaskId, UnitId};

use super::plan::Plan;

/// Where a run stands, in the ledger's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunState {
    Planned,
    Running,
    Prepared,
    Failed,
    RollingBack,
    RolledBack,
    Stuck,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TaskState {
    Prepared,
    Done,
    Undone,
}

/// A task's row.
#[derive(Debug, Clone, Copy)]
pub(super) struct TaskRow {
    pub(super) state: TaskState,
    pub(super) cut_exhausted: bool,
}

/// A unit's row: whether its work is in effect, or was taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnitRow {
    Done,
    Undone,
}

/// All rows of one run.
#[derive(Debug, Clone)]
pub(super) struct RunLedger {
    pub(super) plan: Rc<Plan>,
    pub(super) epoch: i64,
    pub(super) state: RunState,
    pub(super) rollback_to: Option<u32>,
    /// Whether it failed for a reason that trying again does not mend.
    pub(super) scripted: bool,
    pub(super) paused: bool,
    pub(super) limits: (u32, u32),
    pub(super) tasks: BTreeMap<TaskId, TaskRow>,
    pub(super) cuts: BTreeMap<(TaskId, UnitId), (u64, u64)>,
    pub(super) units: BTreeMap<(TaskId, UnitId), UnitRow>,
    pub(super) checkpoints: BTreeSet<u32>,
}

/// What the driver does on the ledger.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    /// Stores the plan; not fenced, because nobody drives it yet.
    Create(Rc<Plan>),
    /// Raises the epoch: waits for those who hold an older one.
    Raise,
    /// Reads all of it.
    Load,
    /// What an operator wants, kept for whoever drives the run next.
    Control {
        paused: Option<bool>,
        limits: Option<(u32, u32)>,
    },
    Change {
        state: RunState,
        scripted: bool,
    },
    /// It goes back: checkpoints from `left` on are forgotten, tasks without effect are undone.
    GoBack {
        to: Option<u32>,
        left: u32,
        without_effect: Vec<TaskId>,
    },
    Prepare(TaskId),
    Cut {
        task: TaskId,
        first: u32,
        after: u64,
        rows: u64,
        units: u32,
    },
    Split {
        task: TaskId,
        unit: UnitId,
        bounds: (u64, u64),
        new: UnitId,
    },
    RecordDone(TaskId),
    RecordUndone(TaskId),
    RecordCheckpoint(u32),
}

/// What the ledger answers.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    Epoch(i64),
    Loaded(Box<RunLedger>),
    Cut {
        first: u32,
        bounds: Vec<(u64, u64)>,
        exhausted: bool,
    },
    Split(Option<u64>),
    Done,
    Failed(FailureClass),
}

impl Operation {
    /// The task that it is done for.
    pub(super) fn task(&self) -> Option<TaskId> {
        match self {
            Self::Prepare(task)
            | Self::Cut { task, .. }
            | Self::Split { task, .. }
            | Self::RecordDone(task)
            | Self::RecordUndone(task) => Some(*task),
            _ => None,
        }
    }

    /// For the trace.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Raise => "raise",
            Self::Load => "load",
            Self::Control { .. } => "control",
            Self::Change { .. } => "change state",
            Self::GoBack { .. } => "go back",
            Self::Prepare(_) => "prepare",
            Self::Cut { .. } => "cut",
            Self::Split { .. } => "split",
            Self::RecordDone(_) => "record done",
            Self::RecordUndone(_) => "record undone",
            Self::RecordCheckpoint(_) => "record checkpoint",
        }
    }
}

impl RunLedger {
    pub(super) fn new(plan: Rc<Plan>) -> Self {
        Self {
            epoch: 0,
            state: RunState::Planned,
            rollback_to: None,
            scripted: false,
            paused: false,
            limits: (plan.max_units, plan.max_units_per_task),
            tasks: BTreeMap::new(),
            cuts: BTreeMap::new(),
            units: BTreeMap::new(),
            checkpoints: BTreeSet::new(),
            plan,
        }
    }

    /// The range of a unit, as it is now.
    pub(super) fn bounds(&self, task: TaskId, unit: UnitId) -> Option<(u64, u64)> {
        if self.plan.task(task).cuttable {
            self.cuts.get(&(task, unit)).copied()
        } else {
            Some((0, 1))
        }
    }

    pub(super) fn is_done(&self, task: TaskId, unit: UnitId) -> bool {
        self.units.get(&(task, unit)) == Some(&UnitRow::Done)
    }

    pub(super) fn is_recorded(&self, task: TaskId) -> bool {
        let row = self.tasks.get(&task);
        row.is_some_and(|row| row.state == TaskState::Done)
    }

    /// Does an operation of whoever holds the epoch. `again`: whether cuts may be recorded twice.
    pub(super) fn perform(&mut self, operation: &Operation, again: bool) -> Reply {
        match operation {
            Operation::Control { paused, limits } => {
                self.paused = paused.unwrap_or(self.paused);
                self.limits = limits.unwrap_or(self.limits);
            }
            Operation::Change { state, scripted } => {
                self.state = *state;
                self.scripted = *scripted;
            }
            Operation::GoBack {
                to,
                left,
                without_effect,
            } => {
                self.state = RunState::RollingBack;
                self.scripted = false;
                self.rollback_to = *to;
                self.checkpoints.retain(|place| place < left);
                for task in without_effect {
                    self.forget(*task);
                }
            }
            Operation::Prepare(task) => {
                let row = self.tasks.entry(*task).or_insert(TaskRow {
                    state: TaskState::Prepared,
                    cut_exhausted: false,
                });
                if row.state == TaskState::Undone {
                    row.state = TaskState::Prepared;
                }
            }
            Operation::Cut { .. } => return self.cut(operation, again),
            Operation::Split { .. } => return self.split(operation, again),
            Operation::RecordDone(task) => {
                if let Some(row) = self.tasks.get_mut(task) {
                    row.state = TaskState::Done;
                }
            }
            Operation::RecordUndone(task) => self.forget(*task),
            Operation::RecordCheckpoint(place) => {
                self.checkpoints.insert(*place);
            }
            Operation::Create(_) | Operation::Raise | Operation::Load => {}
        }
        Reply::Done
    }

    /// The task is undone: done again, it begins anew.
    fn forget(&mut self, task: TaskId) {
        self.cuts.retain(|(of, _), _| *of != task);
        self.units
            .retain(|(of, _), row| *of != task || *row == UnitRow::Done);
        if let Some(row) = self.tasks.get_mut(&task) {
            row.state = TaskState::Undone;
            row.cut_exhausted = false;
        }
    }

    fn cut(&mut self, operation: &Operation, again: bool) -> Reply {
        let Operation::Cut {
            task,
            first,
            after,
            rows,
            units,
        } = operation
        else {
            return Reply::Done;
        };
        if self.cuts.contains_key(&(*task, UnitId(*first))) {
            return match again {
                true => self.cut_before(*task, *first),
                false => Reply::Failed(FailureClass::Never),
            };
        }
        let total = self.plan.task(*task).rows;
        let whole = total.saturating_sub(*after) / rows;
        let found = whole.min(u64::from(*units)) as u32;
        let mut bounds: Vec<(u64, u64)> = (0..u64::from(found))
            .map(|n| (after + n * rows, after + (n + 1) * rows))
            .collect();
        let exhausted = found < *units;
        if exhausted {
            bounds.push((after + u64::from(found) * rows, total));
        }
        for (unit, range) in (*first..).zip(&bounds) {
            self.cuts.insert((*task, UnitId(unit)), *range);
        }
        if let Some(row) = self.tasks.get_mut(task) {
            row.cut_exhausted = exhausted;
        }
        Reply::Cut {
            first: *first,
            bounds,
            exhausted,
        }
    }

    /// A first attempt has cut: it stands, and this one may be so late that its units are done already.
    fn cut_before(&self, task: TaskId, first: u32) -> Reply {
        let from = (task, UnitId(first))..=(task, UnitId(u32::MAX));
        Reply::Cut {
            first,
            bounds: self.cuts.range(from).map(|(_, range)| *range).collect(),
            exhausted: self.tasks.get(&task).is_some_and(|row| row.cut_exhausted),
        }
    }

    fn split(&mut self, operation: &Operation, again: bool) -> Reply {
        let Operation::Split {
            task,
            unit,
            bounds: (lower, upper),
            new,
        } = operation
        else {
            return Reply::Done;
        };
        let split_before = self.cuts.contains_key(&(*task, *new));
        let too_small = upper.saturating_sub(*lower) < 2;
        if too_small || !split_before && self.is_done(*task, *unit) {
            return Reply::Split(None);
        }
        let middle = lower + (upper - lower) / 2;
        if split_before {
            return match again {
                // A first attempt has split it.
                true => Reply::Split(Some(middle)),
                false => Reply::Failed(FailureClass::Never),
            };
        }
        self.cuts.insert((*task, *unit), (*lower, middle));
        self.cuts.insert((*task, *new), (middle, *upper));
        Reply::Split(Some(middle))
    }
}
