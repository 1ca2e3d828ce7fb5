//! `edit`: an edited pack for a run that has begun. The pack is compiled as if the database still stood
//! at the run's start; what has begun and is still in the pack stays as it was planned, with its number and
//! all that is kept under it, and the rest of the plan is made anew around it.
//!
//! What the operator is told, and what is done first, in the order in which it is found out:
//!
//! - steps that have begun and not ended, and that the pack no longer has as they were: they are taken
//!   back first, with what came after them, and then run as the pack now has them;
//! - steps that are done and that the pack no longer has as they were: refused;
//! - a new step that would have to come before one that is done: refused.

mod groups;
mod matching;
mod merge;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use upshift_shared::{
    catalog::Catalog,
    ids::{StepId, TaskId},
    pack::{Location, Pack, Version},
    plan::Plan,
};

use super::{CompileError, Options, analyse, heading, model::Resolved, optimise, order, physical};
use groups::Groups;
use matching::Matching;
use merge::Conflict;

pub use matching::{Change, identity};

/// A step of the pack that a plan was compiled from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownStep {
    /// What it does: see [`identity`].
    pub identity: String,
    /// Where it stood.
    pub location: Location,
    /// The checkpoint that it named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}

/// The steps of a pack, to be known again; by [`StepId`].
#[must_use]
pub fn known_steps(resolved: &Resolved) -> Vec<KnownStep> {
    let steps = resolved.steps.iter();
    steps
        .map(|step| KnownStep {
            identity: identity(step),
            location: step.location.clone(),
            checkpoint: step.directives.checkpoint.clone(),
        })
        .collect()
}

/// How a run stands.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// Its plan.
    pub plan: &'a Plan,
    /// The steps that the plan was compiled from.
    pub steps: &'a [KnownStep],
    /// Tasks of which something is, or may be, in effect.
    pub begun: &'a BTreeSet<TaskId>,
    /// Those of them that are done.
    pub done: &'a BTreeSet<TaskId>,
    /// Tasks whose numbers the ledger knows, in effect or not: no other may have them.
    pub recorded: &'a BTreeSet<TaskId>,
}

/// What the pack is compiled with.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// Which modules were installed at the run's start.
    pub installed: &'a BTreeMap<String, Version>,
    /// The catalog as it was then.
    pub catalog: &'a Catalog,
    /// What the run asked for, without estimates.
    pub options: &'a Options,
    /// Rows that steps touch, by their identity.
    pub estimates: &'a BTreeMap<String, u64>,
}

/// What becomes of the edited pack.
#[derive(Debug)]
pub enum Decision {
    /// It says what the run's pack said.
    Same,
    /// It cannot be taken up as the run stands.
    Refused(Vec<Refusal>),
    /// These tasks have begun and are no longer in the pack as they were, or came after such ones: they
    /// have to be taken back first.
    TakeBack {
        /// The tasks.
        tasks: Vec<TaskId>,
        /// What was edited.
        changes: Vec<Change>,
    },
    /// It can be taken up.
    Edited(Box<Edited>),
}

/// A plan for the edited pack.
#[derive(Debug)]
pub struct Edited {
    /// The plan.
    pub plan: Plan,
    /// The pack's steps.
    pub steps: Vec<KnownStep>,
    /// What was edited.
    pub changes: Vec<Change>,
    /// Tasks that stay as they were, because they have begun.
    pub kept: usize,
}

/// Why an edited pack is not taken up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// In words, with file and line.
    pub message: String,
    /// The task that has run and stands in the way: one has to go back to before it.
    pub task: TaskId,
}

/// Compiles an edited pack for a run that has begun.
///
/// # Errors
/// What the compiler complains of in the pack.
pub fn edit(
    standing: &Standing<'_>,
    pack: &Pack,
    start: &Start<'_>,
) -> Result<Decision, CompileError> {
    let resolved = super::resolve::resolve(pack, start.installed)?;
    let steps = known_steps(&resolved);
    let says = |steps: &[KnownStep]| -> Vec<_> {
        let said = |step: &KnownStep| {
            let file = step.location.file.clone();
            (step.identity.clone(), step.checkpoint.clone(), file)
        };
        steps.iter().map(said).collect()
    };
    let planned = standing.plan.modules.iter().map(|one| (&one.name, &one.to));
    let modules = resolved.modules.iter().map(|one| (&one.name, &one.to));
    if planned.eq(modules) && says(standing.steps) == says(&steps) {
        return Ok(Decision::Same);
    }
    let matching = Matching::new(standing.steps, &steps);
    let changes = matching.changes();
    let groups = Groups::new(standing);
    let edited = |group: &usize| matching.is_edited(&groups.list[*group].steps);
    let mut taken_back = groups.unfinished().filter(edited).collect();
    groups.close(&mut taken_back);
    let refused: Vec<Refusal> = groups
        .begun()
        .filter(|group| !taken_back.contains(group) && edited(group))
        .map(|group| matching.refusal(&groups.list[group]))
        .collect();
    if !refused.is_empty() {
        return Ok(Decision::Refused(refused));
    }
    let analysed = Analysed::new(pack, start, &steps, &resolved)?;
    let mut apart = BTreeSet::new();
    loop {
        let settled = groups.settled(&taken_back, &matching);
        let fresh = analysed.plan(&settled, &apart)?;
        match merge::conflict(&fresh, &settled, &groups, &apart) {
            Some(Conflict::Fused(steps)) => apart.extend(steps),
            Some(Conflict::Unfinished(group)) => {
                taken_back.insert(group);
                groups.close(&mut taken_back);
            }
            Some(Conflict::Refused(refusal)) => return Ok(Decision::Refused(vec![refusal])),
            None if !taken_back.is_empty() => {
                let tasks = groups.tasks_of(&taken_back);
                let begun = |task: &TaskId| standing.begun.contains(task);
                return Ok(Decision::TakeBack {
                    tasks: tasks.into_iter().filter(begun).collect(),
                    changes,
                });
            }
            None => {
                let (plan, kept) = merge::merge(standing, &groups, fresh, &settled, &resolved);
                return Ok(Decision::Edited(Box::new(Edited {
                    plan,
                    steps,
                    changes,
                    kept,
                })));
            }
        }
    }
}

/// Steps of the edited pack that have begun, each with its group.
type Settled = BTreeMap<StepId, usize>;

/// The edited pack, analysed: it is planned once or a few times.
struct Analysed<'a> {
    heading: physical::Heading,
    resolved: &'a Resolved,
    analysis: super::model::Analysis,
    ordered: super::model::Ordered,
    options: Options,
}

impl<'a> Analysed<'a> {
    fn new(
        pack: &Pack,
        start: &Start<'_>,
        steps: &[KnownStep],
        resolved: &'a Resolved,
    ) -> Result<Self, CompileError> {
        let estimates = (0_u32..).zip(steps).filter_map(|(id, step)| {
            let rows = start.estimates.get(&step.identity)?;
            Some((StepId(id), *rows))
        });
        let options = Options {
            estimates: estimates.collect(),
            ..start.options.clone()
        };
        let analysis = analyse::analyse(resolved, start.catalog.clone(), &options)?;
        Ok(Self {
            heading: heading(pack, start.catalog),
            resolved,
            ordered: order::order(&analysis, resolved, options.strategy),
            analysis,
            options,
        })
    }

    fn plan(&self, settled: &Settled, apart: &BTreeSet<StepId>) -> Result<Plan, CompileError> {
        let options = Options {
            apart: settled.keys().chain(apart).copied().collect(),
            ..self.options.clone()
        };
        let optimised = optimise::optimise(&self.analysis, &self.ordered, &options);
        physical::plan(
            self.heading.clone(),
            self.resolved,
            self.analysis.clone(),
            &optimised,
            options.strategy,
        )
    }
}
