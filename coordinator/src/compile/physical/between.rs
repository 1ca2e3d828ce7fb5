//! The order of steps and passes as edges between their tasks. A pass is many tasks, and not all of them
//! wait, or are waited for: its table can be read from the swap on, while its foreign keys are still being
//! validated; and until its swap it changes nothing that others have.

use std::collections::BTreeMap;

use upshift_shared::{
    ids::{RelId, TaskId},
    plan::{Edge, EdgeReason},
};

use crate::compile::{
    model::{AnalysedStep, Analysis, Class, Resource},
    optimise::{Optimised, Pass},
};

/// The tasks of a node that are waited for, and that wait.
pub(super) enum Ends {
    Task(TaskId),
    /// A step in several tasks.
    Parts {
        first: TaskId,
        last: TaskId,
    },
    /// See [`super::shadow::Stages`].
    Pass {
        first: TaskId,
        swap: TaskId,
        last: Vec<TaskId>,
        validated: Vec<(TaskId, RelId)>,
        gates: Vec<TaskId>,
    },
}

/// All edges between nodes.
pub(super) fn edges(
    analysis: &Analysis,
    optimised: &Optimised,
    ends: &BTreeMap<u32, Ends>,
) -> Vec<Edge> {
    let passes: BTreeMap<u32, &Pass> = optimised.passes.iter().map(|p| (p.steps[0], p)).collect();
    let nodes = Nodes { analysis, passes };
    let mut edges = Vec::new();
    for (from, to, reason) in optimised.order.edges() {
        let (Some(before), Some(after)) = (ends.get(&from), ends.get(&to)) else {
            continue;
        };
        let later = nodes.passes.get(&to).map(|pass| pass.relation);
        let pairs = pairs(before, (after, later), nodes.meeting((from, to), reason));
        edges.extend(pairs.into_iter().map(|(from, to)| Edge {
            from,
            to,
            reason: reason.clone(),
        }));
    }
    edges
}

/// What two nodes have to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meeting {
    /// The definitions of tables: all of one comes before all of the other.
    Definitions,
    /// The later one reads or changes rows of a table that the earlier one builds anew.
    Rows,
    /// Two passes, each over its own table, and foreign keys between those, or to a third one.
    Keys,
}

/// `relation` is the table of the later one, if that is a pass.
fn pairs(
    before: &Ends,
    (after, relation): (&Ends, Option<RelId>),
    meeting: Meeting,
) -> Vec<(TaskId, TaskId)> {
    let to = match after {
        Ends::Task(to) => to,
        Ends::Parts { first, .. } | Ends::Pass { first, .. } => first,
    };
    match (before, after) {
        (Ends::Task(from) | Ends::Parts { last: from, .. }, _) => vec![(*from, *to)],
        (Ends::Pass { swap, last, .. }, Ends::Task(_) | Ends::Parts { .. }) => match meeting {
            Meeting::Rows => vec![(*swap, *to)],
            _ => last.iter().map(|from| (*from, *to)).collect(),
        },
        (
            Ends::Pass {
                swap,
                last,
                validated,
                ..
            },
            Ends::Pass {
                first,
                swap: later,
                gates,
                ..
            },
        ) => {
            let mut pairs: Vec<_> = match meeting {
                Meeting::Definitions => {
                    return last.iter().map(|from| (*from, *first)).collect();
                }
                Meeting::Rows => vec![(*swap, *first)],
                Meeting::Keys => Vec::new(),
            };
            // The keys of the later pass's table are found by the names that they have before its swap; the
            // others are called the same after it, and are valid no sooner if that waits for them.
            let own = validated
                .iter()
                .filter(|(_, table)| Some(*table) == relation);
            pairs.extend(own.map(|(from, _)| (*from, *later)));
            pairs.push((*swap, *later));
            // On the way back all are found by the names that they have after it.
            pairs.extend(gates.iter().map(|gate| (*swap, *gate)));
            pairs
        }
    }
}

struct Nodes<'a> {
    analysis: &'a Analysis,
    passes: BTreeMap<u32, &'a Pass>,
}

impl Nodes<'_> {
    fn meeting(&self, (from, to): (u32, u32), reason: &EdgeReason) -> Meeting {
        let hazard = matches!(
            reason,
            EdgeReason::ReadAfterWrite { .. }
                | EdgeReason::WriteAfterRead { .. }
                | EdgeReason::WriteAfterWrite { .. }
        );
        let Some(before) = self.passes.get(&from).filter(|_| hazard) else {
            return Meeting::Definitions;
        };
        match self.passes.get(&to) {
            Some(after) => {
                let mention =
                    |pass: &Pass, table: &Pass| self.steps(pass).any(|step| mentions(step, table));
                match mention(after, before) || mention(before, after) {
                    true => Meeting::Rows,
                    false => Meeting::Keys,
                }
            }
            None => match self.analysis.steps[to as usize].bound.class {
                Class::Update(_) | Class::Delete(_) => Meeting::Rows,
                _ => Meeting::Definitions,
            },
        }
    }

    fn steps(&self, pass: &Pass) -> impl Iterator<Item = &AnalysedStep> {
        let steps = pass.steps.clone().into_iter();
        steps.map(|place| &self.analysis.steps[place as usize])
    }
}

/// Whether a step reads or writes the table of a pass.
fn mentions(step: &AnalysedStep, pass: &Pass) -> bool {
    let bound = &step.bound;
    let table = pass.relation;
    let is_of = |resource: &Resource| match resource {
        Resource::Table(id) | Resource::Rows(id) | Resource::Column(id, _) => *id == table,
        Resource::Everything => true,
        _ => false,
    };
    bound.tables.iter().any(|(id, ..)| *id == table) || bound.reads.iter().any(is_of)
}
