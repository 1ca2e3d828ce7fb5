//! What plans and stages look like for people. Programs take the JSON, which is the data itself.

mod dot;
mod passes;
mod snapshots;
mod stage;
pub(crate) mod text;
mod tree;

#[cfg(test)]
mod tests;

pub use dot::dot;
pub use passes::stage_optimised;
pub use stage::{stage_analysis, stage_ordered, stage_resolved};
pub use tree::tree;

use upshift_shared::plan::{EdgeReason, Plan, PlannedModule, Strategy, Task, UndoKind};

/// The modules, each with its tasks in the plan's order, those of an earlier checkpoint first.
fn by_module(plan: &Plan) -> impl Iterator<Item = (&PlannedModule, Vec<&Task>)> {
    let mut tasks = vec![Vec::new(); plan.modules.len()];
    for task in plan.live() {
        if let Some(of_module) = tasks.get_mut(task.module as usize) {
            of_module.push(task);
        }
    }
    for of_module in &mut tasks {
        of_module.sort_by_key(|task: &&Task| task.checkpoint);
    }
    plan.modules.iter().zip(tasks)
}

/// Why one task comes before another.
fn reason(reason: &EdgeReason) -> String {
    match reason {
        EdgeReason::ReadAfterWrite { what } => format!("read after write: {what}"),
        EdgeReason::WriteAfterRead { what } => format!("write after read: {what}"),
        EdgeReason::WriteAfterWrite { what } => format!("write after write: {what}"),
        EdgeReason::Opaque { why } => format!("opaque: {why}"),
        EdgeReason::ModuleOrder { rule } => format!("module order: {rule}"),
        EdgeReason::Sequence => "in sequence".to_owned(),
        EdgeReason::Stage => "the pass's next stage".to_owned(),
    }
}

/// How a task is taken back.
fn undo(undo: &UndoKind) -> &'static str {
    match undo {
        UndoKind::InverseDdl => "inverse DDL",
        UndoKind::Hidden => "hidden until commit",
        UndoKind::BeforeImages => "before-images",
        UndoKind::RecordedKeys => "recorded keys",
        UndoKind::Directive => "the pack's undo",
        UndoKind::Copy => "copy of what it writes",
        UndoKind::SwapBack => "swap back, in constant time",
        UndoKind::Nothing => "nothing to undo",
        UndoKind::Irreversible => "NONE, IRREVERSIBLE",
    }
}

/// How a plan is ordered, as `--strategy` calls it.
fn strategy(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Dataflow => "dataflow",
        Strategy::Strict => "strict",
        Strategy::Sequential => "sequential",
    }
}
