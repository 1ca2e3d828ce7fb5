//! One plan of two: what has begun, as the run's plan has it, and the rest, as the edited pack's has it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use upshift_shared::{
    ids::{StepId, TaskId},
    pack::Location,
    plan::{Check, Edge, Operator, Plan, Sequences, Task, UndoKind},
};

use super::{Refusal, Settled, Standing, groups::Groups};
use crate::compile::{
    model::Resolved,
    physical::{self, checkpoint::Checkpoints},
};

/// What keeps the two plans from being one.
pub(super) enum Conflict {
    /// Steps that a pass would bring before something that has begun: they have to stay out of it.
    Fused(Vec<StepId>),
    /// Something would have to come before this group, which has begun and not ended.
    Unfinished(usize),
    /// Something would have to come before what is done.
    Refused(Refusal),
}

/// Which group a task of the edited pack's plan stands for; `None` for one that is to be run.
fn group_of(task: &Task, settled: &Settled) -> Option<usize> {
    task.steps
        .first()
        .and_then(|step| settled.get(step))
        .copied()
}

/// Looks for something that would have to run before what has begun.
pub(super) fn conflict(
    fresh: &Plan,
    settled: &Settled,
    groups: &Groups,
    apart: &BTreeSet<StepId>,
) -> Option<Conflict> {
    for edge in &fresh.edges {
        let (from, to) = (task(fresh, edge.from), task(fresh, edge.to));
        let Some(later) = group_of(to, settled) else {
            continue;
        };
        let group = &groups.list[later];
        let first = group.tasks.first().copied()?;
        let refuse = |what: &str| {
            Some(Conflict::Refused(Refusal {
                message: format!(
                    "{} ({}) {what} {}, which has run",
                    place(&from.sources),
                    from.label,
                    place(&to.sources)
                ),
                task: first,
            }))
        };
        match group_of(from, settled) {
            Some(earlier) if earlier == later => {}
            Some(earlier) => {
                if groups.list[earlier].tasks.first() > Some(&first) {
                    return refuse("now has to come before");
                }
            }
            None if is_fused(from) && from.steps.iter().any(|step| !apart.contains(step)) => {
                return Some(Conflict::Fused(from.steps.clone()));
            }
            None if !group.complete => return Some(Conflict::Unfinished(later)),
            None => return refuse("would have to come before"),
        }
    }
    None
}

/// Whether it is part of a pass, or two steps that are one.
fn is_fused(task: &Task) -> bool {
    task.steps.len() > 1 || matches!(task.operator, Operator::Shadow(_))
}

fn task(plan: &Plan, id: TaskId) -> &Task {
    &plan.tasks[id.0 as usize]
}

fn place(sources: &[Location]) -> String {
    sources.first().map(ToString::to_string).unwrap_or_default()
}

/// The plan, and how many tasks of it are as they were.
pub(super) fn merge(
    standing: &Standing<'_>,
    groups: &Groups,
    mut fresh: Plan,
    settled: &Settled,
    resolved: &Resolved,
) -> (Plan, usize) {
    let staying: BTreeSet<usize> = settled.values().copied().collect();
    let kept = groups.tasks_of(&staying);
    // No number is given twice: the ledger may still speak of what had it.
    let last = kept.iter().chain(standing.recorded).max();
    let next = last.map_or(0, |last| last.0 + 1);
    let mut steps_of: BTreeMap<usize, Vec<StepId>> = BTreeMap::new();
    for (step, group) in settled {
        steps_of.entry(*group).or_default().push(*step);
    }
    let mut tasks: Vec<Task> = Vec::with_capacity(fresh.tasks.len());
    let known = standing.plan.tasks.iter().take(next as usize);
    tasks.extend(known.map(|task| match kept.contains(&task.id) {
        true => task.clone(),
        false => superseded(task),
    }));
    for group in &staying {
        let steps = &steps_of[group];
        for task in &groups.list[*group].tasks {
            follow(&mut tasks[task.0 as usize], steps, resolved);
        }
    }
    let mut numbers: HashMap<TaskId, TaskId> = HashMap::new();
    for task in fresh
        .tasks
        .iter()
        .filter(|t| group_of(t, settled).is_none())
    {
        let number = next + u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        numbers.insert(task.id, TaskId(number));
    }
    let edges = edges(standing.plan, &fresh, (groups, settled, &kept), &numbers);
    let new = fresh.tasks.into_iter().filter_map(|mut task| {
        let to = *numbers.get(&task.id)?;
        task.renumber(to, |other| numbers.get(&other).copied().unwrap_or(other));
        Some(task)
    });
    tasks.extend(new);
    let mut checkpoints = Checkpoints::new(resolved);
    let fused: BTreeSet<&[StepId]> = tasks
        .iter()
        .filter(|task| !task.superseded)
        .map(|task| task.steps.as_slice())
        .collect();
    fused.iter().for_each(|steps| checkpoints.join(steps));
    let live = tasks.iter_mut().filter(|task| !task.superseded);
    live.for_each(|task| checkpoints.assign(task));
    fresh = Plan {
        tasks,
        edges,
        checkpoints: checkpoints.into_list(),
        ..Plan {
            tasks: Vec::new(),
            ..fresh
        }
    };
    fresh.modules = physical::planned_modules(resolved, &fresh.checkpoints);
    fresh.way_back = physical::way_back(&fresh);
    (fresh, kept.len())
}

/// What stands for a task that is no more: its number stays taken.
fn superseded(task: &Task) -> Task {
    Task {
        operator: Operator::Check(Check {
            query: String::new(),
            message: String::new(),
            lasting: false,
        }),
        why: "the pack was edited and no longer has it".to_owned(),
        module: 0,
        checkpoint: 0,
        steps: Vec::new(),
        rows: 0,
        seconds: 0.0,
        undo: UndoKind::Nothing,
        tables: Vec::new(),
        settings: Vec::new(),
        sequences: Sequences::None,
        notes: Vec::new(),
        superseded: true,
        ..task.clone()
    }
}

/// A task that stays: its steps have other numbers now, and may stand elsewhere.
fn follow(task: &mut Task, steps: &[StepId], resolved: &Resolved) {
    let resolved = || steps.iter().map(|step| &resolved.steps[step.0 as usize]);
    task.steps = steps.to_vec();
    task.sources = resolved().map(|step| step.location.clone()).collect();
    task.module = resolved().map(|step| step.module).max().unwrap_or(0);
}

/// Between what stays, the edges that were there; else those of the edited pack's plan.
fn edges(
    was: &Plan,
    fresh: &Plan,
    (groups, settled, kept): (&Groups, &Settled, &BTreeSet<TaskId>),
    numbers: &HashMap<TaskId, TaskId>,
) -> Vec<Edge> {
    let between = |edge: &&Edge| kept.contains(&edge.from) && kept.contains(&edge.to);
    let mut edges: Vec<Edge> = was.edges.iter().filter(between).cloned().collect();
    let inner: BTreeSet<TaskId> = {
        let of_task: HashMap<TaskId, usize> = groups
            .list
            .iter()
            .enumerate()
            .flat_map(|(place, group)| group.tasks.iter().map(move |task| (*task, place)))
            .collect();
        let inside = edges.iter().filter(|e| of_task[&e.from] == of_task[&e.to]);
        inside.map(|edge| edge.from).collect()
    };
    let mut seen: BTreeSet<(TaskId, TaskId)> = BTreeSet::new();
    for edge in &fresh.edges {
        let Some(to) = numbers.get(&edge.to) else {
            continue;
        };
        let from: Vec<TaskId> = match numbers.get(&edge.from) {
            Some(from) => vec![*from],
            // Behind all of the group: its tasks that none of its own comes after.
            None => group_of(task(fresh, edge.from), settled)
                .into_iter()
                .flat_map(|group| &groups.list[group].tasks)
                .filter(|task| !inner.contains(task))
                .copied()
                .collect(),
        };
        let new = from.into_iter().filter(|from| seen.insert((*from, *to)));
        edges.extend(new.map(|from| Edge {
            from,
            to: *to,
            reason: edge.reason.clone(),
        }));
    }
    edges.sort_by_key(|edge| (edge.to, edge.from));
    edges
}
