//! What becomes tasks: steps, passes, and pairs that are one, each with the number of its first task.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
};

use upshift_shared::plan::Strategy;

use super::{checked, shadow};
use crate::compile::{
    model::{AnalysedStep, Analysis},
    optimise::{ConstantFill, Contracted, Optimised, Pass},
};

/// A node of the order, and the number of its first task.
pub(super) struct Piece<'a> {
    pub(super) node: u32,
    pub(super) first: u32,
    pub(super) work: Work<'a>,
}

pub(super) enum Work<'a> {
    Step(&'a AnalysedStep),
    /// A step that becomes several tasks.
    Parts(&'a AnalysedStep, checked::Parts),
    /// The step that adds a column, the one that fills it, and how both are one.
    Fill(&'a AnalysedStep, &'a AnalysedStep, &'a ConstantFill),
    Pass(shadow::Stages),
}

/// What becomes tasks, in the order of their numbers.
pub(super) fn pieces<'a>(
    analysis: &'a Analysis,
    optimised: &'a Optimised,
    strategy: Strategy,
) -> Vec<Piece<'a>> {
    let parts = |step: &AnalysedStep, first| match strategy {
        Strategy::Sequential => None,
        _ => checked::parts(step, first),
    };
    let passes: BTreeMap<u32, &Pass> = optimised.passes.iter().map(|p| (p.steps[0], p)).collect();
    let fills: BTreeMap<u32, &ConstantFill> = optimised.fills.iter().map(|f| (f.add, f)).collect();
    let mut first = 0;
    let nodes = sequence(&optimised.order, analysis.steps.len());
    nodes
        .into_iter()
        .map(|node| {
            let step = |place: u32| &analysis.steps[place as usize];
            let work = match (passes.get(&node), fills.get(&node)) {
                (Some(pass), _) => Work::Pass(shadow::stages(pass, analysis, first)),
                (None, Some(fill)) => Work::Fill(step(node), step(fill.update), fill),
                (None, None) => match parts(step(node), first) {
                    Some(parts) => Work::Parts(step(node), parts),
                    None => Work::Step(step(node)),
                },
            };
            let count = match &work {
                Work::Pass(stages) => stages.tasks.len(),
                Work::Parts(_, parts) => parts.count(),
                Work::Step(_) | Work::Fill(..) => 1,
            };
            let piece = Piece { node, first, work };
            first += u32::try_from(count).expect("a plan has fewer than 2^32 tasks");
            piece
        })
        .collect()
}

/// The nodes, each after all that it depends on, and otherwise in the order of the steps.
fn sequence(order: &Contracted, steps: usize) -> Vec<u32> {
    let steps = u32::try_from(steps).unwrap_or(u32::MAX);
    let mut waits: BTreeMap<u32, usize> = (0..steps)
        .filter(|step| order.node(*step) == *step)
        .map(|node| (node, 0))
        .collect();
    let mut next: HashMap<u32, Vec<u32>> = HashMap::new();
    for (from, to, _) in order.edges() {
        next.entry(from).or_default().push(to);
        *waits.entry(to).or_default() += 1;
    }
    let ready = waits.iter().filter(|(_, waits)| **waits == 0);
    let mut ready: BinaryHeap<Reverse<u32>> = ready.map(|(node, _)| Reverse(*node)).collect();
    let mut sequence = Vec::with_capacity(waits.len());
    while let Some(Reverse(node)) = ready.pop() {
        sequence.push(node);
        for to in next.get(&node).into_iter().flatten() {
            let waiting = waits.entry(*to).or_default();
            *waiting -= 1;
            if *waiting == 0 {
                ready.push(Reverse(*to));
            }
        }
    }
    sequence
}
