//! Random plans: tasks, what each depends on, rows of those that are cut.

use rand::{RngExt, rngs::StdRng};
use upshift_coordinator::engine::Access;
use upshift_shared::ids::TaskId;

/// What goes wrong in a task for good: its data, or what its undo meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fatal {
    /// The unit with this row cannot be done.
    Do(u64),
    /// The unit with this row cannot be taken back.
    Undo(u64),
}

/// A task of a plan.
#[derive(Debug, Clone)]
pub(super) struct PlanTask {
    pub(super) id: TaskId,
    pub(super) depends: Vec<TaskId>,
    /// Its checkpoint.
    pub(super) module: u32,
    pub(super) seconds: f64,
    pub(super) tables: Vec<(u32, Access)>,
    /// Whether it is cut into units.
    pub(super) cuttable: bool,
    /// Rows; one that is not cut counts as one.
    pub(super) rows: u64,
    pub(super) fatal: Option<Fatal>,
}

/// A short task wants its table alone, a long one writes another one besides.
fn tables((table, writes): (u32, bool), seconds: f64) -> Vec<(u32, Access)> {
    match writes {
        true if seconds < 3.0 => vec![(table, Access::Alone)],
        true if seconds > 7.0 => vec![(table, Access::Write), ((table + 1) % 4, Access::Write)],
        true => vec![(table, Access::Write)],
        false => vec![(table, Access::Read)],
    }
}

/// Where a database is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Databases of one server share its limit.
    pub(super) server: u32,
    /// Where workers should be.
    pub(super) wants: Option<u32>,
}

/// A plan for one database.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) tasks: Vec<PlanTask>,
    pub(super) modules: u32,
    pub(super) max_units: u32,
    pub(super) max_units_per_task: u32,
    pub(super) max_attempts: u32,
    pub(super) first_unit_rows: u64,
    pub(super) place: Place,
}

impl Plan {
    pub(super) fn random(random: &mut StdRng, place: Place) -> Self {
        let count = random.random_range(1..=7);
        let mut tasks: Vec<PlanTask> = Vec::new();
        let mut module = 0;
        for id in 0..count {
            let depends = (0..id).filter(|_| random.random_bool(0.3));
            let depends = depends.map(TaskId).collect();
            if id > 0 && random.random_bool(0.4) {
                module += 1;
            }
            let cuttable = random.random_bool(0.6);
            let rows = if cuttable {
                random.random_range(0..=4_000)
            } else {
                1
            };
            let seconds = random.random_range(0.0..10.0);
            tasks.push(PlanTask {
                id: TaskId(id),
                depends,
                module,
                seconds,
                tables: tables(
                    (random.random_range(0..4), random.random_bool(0.5)),
                    seconds,
                ),
                cuttable,
                rows,
                fatal: None,
            });
        }
        if random.random_bool(0.1) {
            let task = random.random_range(0..tasks.len());
            let row = random.random_range(1..=tasks[task].rows.max(1));
            tasks[task].fatal = Some(match random.random_bool(0.7) {
                true => Fatal::Do(row),
                false => Fatal::Undo(row),
            });
        }
        Self {
            tasks,
            modules: module + 1,
            max_units: random.random_range(1..=4),
            max_units_per_task: random.random_range(1..=3),
            max_attempts: random.random_range(3..=8),
            place,
            first_unit_rows: random.random_range(150..=600),
        }
    }

    pub(super) fn task(&self, task: TaskId) -> &PlanTask {
        &self.tasks[task.0 as usize]
    }

    /// For each task the first checkpoint that going back to leaves it in effect.
    pub(super) fn covered_from(&self) -> Vec<u32> {
        let mut covered: Vec<u32> = self.tasks.iter().map(|task| task.module).collect();
        for task in &self.tasks {
            let place = task.id.0 as usize;
            for earlier in &task.depends {
                covered[place] = covered[place].max(covered[earlier.0 as usize]);
            }
        }
        covered
    }

    /// Which tasks are taken back on the way to a checkpoint, or to the start.
    pub(super) fn chosen(&self, to: Option<u32>) -> Vec<bool> {
        let taken = |place: u32| to.is_none_or(|to| place > to);
        self.covered_from().into_iter().map(taken).collect()
    }
}
