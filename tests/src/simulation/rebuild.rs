//! From plan and ledger to what the engine drives, as `coordinator/src/driver/rebuild.rs` does it: a run that
//! begins, goes on where it was, or goes back.

use std::collections::BTreeMap;

use upshift_coordinator::engine::{Direction, GraphTask, RunGraph};
use upshift_shared::ids::{TaskId, UnitId};

use super::{
    adapter,
    ledger::{RunLedger, TaskState, UnitRow},
    plan::PlanTask,
};

/// What the driver remembers of a task.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// The number of the next unit.
    pub(super) next: u32,
    /// Where cutting goes on.
    pub(super) after: u64,
    /// Of units that are not done.
    pub(super) bounds: BTreeMap<UnitId, (u64, u64)>,
}

/// What is driven.
#[derive(Debug)]
pub(super) struct Rebuilt {
    pub(super) graph: RunGraph,
    pub(super) pages: BTreeMap<TaskId, Page>,
    /// Going back: tasks that were begun and have nothing in effect.
    pub(super) without_effect: Vec<TaskId>,
    /// Going back: no checkpoint holds from this place on.
    pub(super) left: u32,
}

/// What is done stays done, what was cut stays cut.
pub(super) fn forward(ledger: &RunLedger) -> Rebuilt {
    let plan = &ledger.plan;
    let mut pages = BTreeMap::new();
    let mut tasks = Vec::with_capacity(plan.tasks.len());
    for task in &plan.tasks {
        let mut node = adapter::graph_task(task, task.depends.clone());
        match ledger.tasks.get(&task.id).map(|row| row.state) {
            Some(TaskState::Done) => node.done = true,
            Some(TaskState::Prepared) => {
                node.prepared = true;
                node.cut_exhausted = ledger.tasks[&task.id].cut_exhausted;
                let (page, units) = remember(task, ledger);
                pages.insert(task.id, page);
                node.units = units;
            }
            Some(TaskState::Undone) | None => {}
        }
        tasks.push(node);
    }
    Rebuilt {
        graph: adapter::graph(Direction::Do, tasks, plan, ledger.limits),
        pages,
        without_effect: Vec::new(),
        left: plan.modules,
    }
}

fn remember(task: &PlanTask, ledger: &RunLedger) -> (Page, Vec<(UnitId, bool)>) {
    let mut page = Page::default();
    if !task.cuttable {
        let only = UnitId(0);
        return (page, vec![(only, ledger.is_done(task.id, only))]);
    }
    let mut units = Vec::new();
    for ((of, unit), bounds) in &ledger.cuts {
        if *of != task.id {
            continue;
        }
        let done = ledger.is_done(task.id, *unit);
        page.next = page.next.max(unit.0 + 1);
        page.after = page.after.max(bounds.1);
        if !done {
            page.bounds.insert(*unit, *bounds);
        }
        units.push((*unit, done));
    }
    (page, units)
}

/// Back to a checkpoint, or to the start: edges reversed, and of every task the units that are in effect.
pub(super) fn back(ledger: &RunLedger, to: Option<u32>) -> Rebuilt {
    let plan = &ledger.plan;
    let chosen = plan.chosen(to);
    let in_effect: Vec<Vec<UnitId>> = plan
        .tasks
        .iter()
        .map(|task| units_in_effect(ledger, task.id))
        .collect();
    let (mut tasks, mut without_effect) = (Vec::<GraphTask>::new(), Vec::new());
    let taken = |task: &&PlanTask| chosen[task.id.0 as usize];
    for task in plan.tasks.iter().rev().filter(taken) {
        let effective = &in_effect[task.id.0 as usize];
        if effective.is_empty() {
            let row = ledger.tasks.get(&task.id);
            if row.is_some_and(|row| row.state != TaskState::Undone) {
                without_effect.push(task.id);
            }
            continue;
        }
        let later = plan.tasks.iter().filter(|later| {
            let has_effect = !in_effect[later.id.0 as usize].is_empty();
            later.depends.contains(&task.id) && has_effect && taken(later)
        });
        let behind = later.map(|later| later.id).collect();
        tasks.push(GraphTask {
            prepared: true,
            cut_exhausted: true,
            units: effective.iter().map(|unit| (*unit, false)).collect(),
            ..adapter::graph_task(task, behind)
        });
    }
    Rebuilt {
        graph: adapter::graph(Direction::Undo, tasks, plan, ledger.limits),
        pages: BTreeMap::new(),
        without_effect,
        left: to.map_or(0, |place| place + 1),
    }
}

fn units_in_effect(ledger: &RunLedger, task: TaskId) -> Vec<UnitId> {
    let rows = ledger.units.iter();
    let rows = rows.filter(|((of, _), row)| *of == task && **row == UnitRow::Done);
    rows.map(|((_, unit), _)| *unit).collect()
}
