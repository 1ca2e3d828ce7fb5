//! The checkpoints of a plan: which there are, which task is covered by which, and where there is no
//! coming back to because a pass has statements from before and after.

use upshift_shared::{
    ids::StepId,
    plan::{PlannedCheckpoint, Task},
};

use crate::compile::{
    model::{Analysis, Resolved},
    optimise::Optimised,
};

/// A place in the order of what checkpoints cover: the module, and within it the step. `end` scripts
/// are numbered behind all others, and still belong to their module.
type Point = (u32, u32);

/// The checkpoints of a pack, and what each covers.
pub(in crate::compile) struct Checkpoints<'a> {
    resolved: &'a Resolved,
    list: Vec<PlannedCheckpoint>,
    /// Of each the first point that it does not cover, ascending.
    ends: Vec<Point>,
    /// Of each the place of a later one, where there is no coming back to it.
    joined_with: Vec<Option<usize>>,
}

impl<'a> Checkpoints<'a> {
    /// Those at the ends of modules, and those that steps name.
    pub(in crate::compile) fn new(resolved: &'a Resolved) -> Self {
        let modules = (0_u32..).zip(&resolved.modules).map(|(module, planned)| {
            let checkpoint = PlannedCheckpoint {
                name: planned.name.clone(),
                module,
                source: None,
                joined_with: None,
            };
            ((module, u32::MAX), checkpoint)
        });
        let named = resolved.steps.iter().filter_map(|step| {
            let checkpoint = PlannedCheckpoint {
                name: step.directives.checkpoint.clone()?,
                module: step.module,
                source: Some(step.location.clone()),
                joined_with: None,
            };
            Some(((step.module, step.id.0), checkpoint))
        });
        let mut both: Vec<(Point, PlannedCheckpoint)> = modules.chain(named).collect();
        both.sort_by_key(|(end, _)| *end);
        let joined_with = vec![None; both.len()];
        let (ends, list) = both.into_iter().unzip();
        Self {
            resolved,
            list,
            ends,
            joined_with,
        }
    }

    /// What is fused has no checkpoint inside of it.
    pub(super) fn join_fused(&mut self, analysis: &Analysis, optimised: &Optimised) {
        let fills = optimised
            .fills
            .iter()
            .map(|fill| vec![fill.add, fill.update]);
        let passes = optimised.passes.iter().map(|pass| pass.steps.clone());
        for steps in passes.chain(fills) {
            let id = |place: &u32| analysis.steps[*place as usize].step.id;
            self.join(&steps.iter().map(id).collect::<Vec<_>>());
        }
    }

    /// The place of the first checkpoint that covers a step.
    fn of_step(&self, step: StepId) -> u32 {
        let module = self.resolved.steps[step.0 as usize].module;
        let place = self.ends.partition_point(|end| *end <= (module, step.0));
        u32::try_from(place).unwrap_or(u32::MAX)
    }

    /// These steps are one: there is no coming back to between them.
    pub(in crate::compile) fn join(&mut self, steps: &[StepId]) {
        let places = steps.iter().map(|step| self.of_step(*step));
        let (first, last) =
            places.fold((u32::MAX, 0), |(a, b), place| (a.min(place), b.max(place)));
        for place in first..last {
            let known = &mut self.joined_with[place as usize];
            *known = (*known).max(Some(last as usize));
        }
    }

    /// Says of a task which checkpoint covers it.
    pub(in crate::compile) fn assign(&self, task: &mut Task) {
        let places = task.steps.iter().map(|step| self.of_step(*step));
        task.checkpoint = places.max().unwrap_or_default();
    }

    pub(in crate::compile) fn into_list(self) -> Vec<PlannedCheckpoint> {
        let mut list = self.list;
        for (place, with) in self.joined_with.into_iter().enumerate() {
            list[place].joined_with = with.map(|with| list[with].name.clone());
        }
        list
    }
}
