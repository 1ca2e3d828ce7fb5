//! What has begun, in the pieces in which it stays or goes: the tasks of a pass belong together, and so
//! do those of a statement that became several.

use std::collections::{BTreeMap, BTreeSet};

use upshift_shared::ids::{StepId, TaskId};

use super::{Settled, Standing, matching::Matching};

/// The tasks that the same steps became.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) tasks: Vec<TaskId>,
    /// As the run's plan numbers them.
    pub(super) steps: Vec<StepId>,
    /// Something of it is, or may be, in effect.
    begun: bool,
    /// All of it is done.
    pub(super) complete: bool,
}

/// All of a plan, by their first tasks.
#[derive(Debug)]
pub(super) struct Groups {
    pub(super) list: Vec<Group>,
    /// Of each group those that come right after it.
    after: Vec<BTreeSet<usize>>,
}

impl Groups {
    pub(super) fn new(standing: &Standing<'_>) -> Self {
        let mut list: Vec<Group> = Vec::new();
        let mut places: BTreeMap<&[StepId], usize> = BTreeMap::new();
        let mut of_task = vec![None; standing.plan.tasks.len()];
        for task in standing.plan.live() {
            let place = *places.entry(&task.steps).or_insert_with(|| {
                list.push(Group {
                    tasks: Vec::new(),
                    steps: task.steps.clone(),
                    begun: false,
                    complete: true,
                });
                list.len() - 1
            });
            of_task[task.id.0 as usize] = Some(place);
            let group = &mut list[place];
            group.tasks.push(task.id);
            group.begun |= standing.begun.contains(&task.id);
            group.complete &= standing.done.contains(&task.id);
        }
        let group = |task: TaskId| of_task.get(task.0 as usize).copied().flatten();
        let mut after = vec![BTreeSet::new(); list.len()];
        for edge in &standing.plan.edges {
            if let (Some(from), Some(to)) = (group(edge.from), group(edge.to))
                && from != to
            {
                after[from].insert(to);
            }
        }
        Self { list, after }
    }

    /// Those that have begun.
    pub(super) fn begun(&self) -> impl Iterator<Item = usize> {
        (0..self.list.len()).filter(|group| self.list[*group].begun)
    }

    /// Those that have begun and not ended.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = usize> {
        self.begun().filter(|group| !self.list[*group].complete)
    }

    /// Adds whatever has begun and came after one of these.
    pub(super) fn close(&self, groups: &mut BTreeSet<usize>) {
        let mut open: Vec<usize> = groups.iter().copied().collect();
        while let Some(group) = open.pop() {
            let begun = self.after[group].iter();
            for next in begun.filter(|next| self.list[**next].begun) {
                if groups.insert(*next) {
                    open.push(*next);
                }
            }
        }
    }

    /// The tasks of some groups, ascending.
    pub(super) fn tasks_of(&self, groups: &BTreeSet<usize>) -> BTreeSet<TaskId> {
        let tasks = groups.iter().flat_map(|group| &self.list[*group].tasks);
        tasks.copied().collect()
    }

    /// The steps of the edited pack that have begun and stay so.
    pub(super) fn settled(&self, taken_back: &BTreeSet<usize>, matching: &Matching<'_>) -> Settled {
        let staying = self.begun().filter(|group| !taken_back.contains(group));
        staying
            .flat_map(|group| {
                let steps = self.list[group].steps.iter();
                steps.filter_map(move |step| Some((matching.now(*step)?, group)))
            })
            .collect()
    }
}
