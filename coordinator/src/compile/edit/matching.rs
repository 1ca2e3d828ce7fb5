//! Which steps of an edited pack are those that the run's pack had.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::Serialize;
use sha2::{Digest, Sha256};
use upshift_shared::{
    ids::StepId,
    pack::{Directives, Location},
};

use super::{KnownStep, Refusal, groups::Group};
use crate::compile::model::ResolvedStep;

/// What a step does, as a digest: what it is, what its author said about how it is to be done, the
/// settings before it. Not where it stands, what it is called, or the checkpoint before it.
#[must_use]
pub fn identity(step: &ResolvedStep) -> String {
    let directives = Directives {
        label: None,
        checkpoint: None,
        ..step.directives.clone()
    };
    let text = serde_json::to_string(&(&step.kind, directives, &step.settings))
        .expect("a step is plain data with string keys");
    let digest = Sha256::digest(text.as_bytes());
    digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// An edit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum Change {
    /// A step that was not there.
    Added {
        /// Where it stands.
        now: Location,
    },
    /// A step that is no longer there.
    Removed {
        /// Where it stood.
        was: Location,
    },
    /// A step that reads otherwise.
    Changed {
        /// Where it stood.
        was: Location,
        /// Where it stands.
        now: Location,
    },
}

/// Steps of the run's pack and of the edited one, matched by what they do.
pub(super) struct Matching<'a> {
    was: &'a [KnownStep],
    now: &'a [KnownStep],
    /// By the place in `was`.
    to_now: Vec<Option<usize>>,
    /// Of those without: the step that stands in their place now.
    instead: BTreeMap<usize, usize>,
    /// In `now` and not in `was`, nor instead of one.
    added: Vec<usize>,
}

impl<'a> Matching<'a> {
    pub(super) fn new(was: &'a [KnownStep], now: &'a [KnownStep]) -> Self {
        let mut to_now = vec![None; was.len()];
        let mut taken = vec![false; now.len()];
        // In their own files first: the same statement may stand in several.
        fn here(step: &KnownStep) -> (&str, Option<&std::path::Path>) {
            (&step.identity, Some(&step.location.file))
        }
        fn anywhere(step: &KnownStep) -> (&str, Option<&std::path::Path>) {
            (&step.identity, None)
        }
        for key in [here, anywhere] {
            let mut free: HashMap<_, VecDeque<usize>> = HashMap::new();
            for (place, step) in now.iter().enumerate().filter(|(place, _)| !taken[*place]) {
                free.entry(key(step)).or_default().push_back(place);
            }
            for (place, step) in was.iter().enumerate() {
                if to_now[place].is_none()
                    && let Some(found) = free.get_mut(&key(step)).and_then(VecDeque::pop_front)
                {
                    to_now[place] = Some(found);
                    taken[found] = true;
                }
            }
        }
        let mut rest: HashMap<&std::path::Path, VecDeque<usize>> = HashMap::new();
        for (place, step) in now.iter().enumerate().filter(|(place, _)| !taken[*place]) {
            let file = step.location.file.as_path();
            rest.entry(file).or_default().push_back(place);
        }
        let mut instead = BTreeMap::new();
        for (place, step) in was.iter().enumerate() {
            if to_now[place].is_some() {
                continue;
            }
            let of_file = rest.get_mut(step.location.file.as_path());
            if let Some(found) = of_file.and_then(VecDeque::pop_front) {
                instead.insert(place, found);
            }
        }
        let mut added: Vec<usize> = rest.into_values().flatten().collect();
        added.sort_unstable();
        Self {
            was,
            now,
            to_now,
            instead,
            added,
        }
    }

    /// The step's number in the edited pack.
    pub(super) fn now(&self, step: StepId) -> Option<StepId> {
        let place = self.to_now.get(step.0 as usize).copied().flatten()?;
        u32::try_from(place).ok().map(StepId)
    }

    /// Whether one of these steps is no longer there as it was.
    pub(super) fn is_edited(&self, steps: &[StepId]) -> bool {
        steps.iter().any(|step| self.now(*step).is_none())
    }

    /// All edits: those of steps that were there, in their order, then the new ones.
    pub(super) fn changes(&self) -> Vec<Change> {
        let gone = (0..self.was.len()).filter(|place| self.to_now[*place].is_none());
        let changes = gone.map(|place| {
            let was = self.was[place].location.clone();
            match self.instead.get(&place) {
                Some(now) => Change::Changed {
                    was,
                    now: self.now[*now].location.clone(),
                },
                None => Change::Removed { was },
            }
        });
        let added = self.added.iter().map(|place| Change::Added {
            now: self.now[*place].location.clone(),
        });
        changes.chain(added).collect()
    }

    /// Why a group that is done cannot be edited.
    pub(super) fn refusal(&self, group: &Group) -> Refusal {
        let mut edited = group.steps.iter().filter(|step| self.now(**step).is_none());
        let task = group.tasks.first().copied();
        let what = edited.next().map(|step| {
            let was = self.was.get(step.0 as usize).map(|was| &was.location);
            let was = was.map(ToString::to_string).unwrap_or_default();
            match self.instead.get(&(step.0 as usize)) {
                Some(now) => {
                    let now = &self.now[*now].location;
                    format!("{was} has run and was edited (now {now})")
                }
                None => format!("{was} has run and is no longer in the pack"),
            }
        });
        Refusal {
            message: what.unwrap_or_default(),
            task: task.expect("a group has tasks"),
        }
    }
}
