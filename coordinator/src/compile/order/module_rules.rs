//! The module rules as edges, for `--strategy strict`: what Odoo's order of scripts demands.
//!
//! Within a module the `pre` and `post` steps are a chain. A module's chain comes after the chains of
//! all modules that it depends on. All `end` steps are one chain after all modules' chains. Only the
//! ends of chains are joined, so the number of edges follows the number of steps and dependencies.

use std::{collections::BTreeSet, fmt};

use upshift_shared::pack::Phase;

use super::{Cause, Causes, note};
use crate::compile::model::{Analysis, Resolved};

/// Which of the rules an edge comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    /// Version, phase, file name and place in the file.
    WithinModule,
    /// `pre` and `post` come after those of the modules that it depends on.
    Dependency,
    /// `end` scripts come after all modules' `post`, in sequential order.
    End,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WithinModule => "a module's scripts run by version, phase and file name",
            Self::Dependency => "a module comes after the modules that it depends on",
            Self::End => "end scripts run after the post scripts of all modules",
        })
    }
}

pub(super) fn add(causes: &mut Causes<'_>, analysis: &Analysis, resolved: &Resolved) {
    let (chains, end) = chains(analysis, resolved);
    let mut exits: Vec<BTreeSet<u32>> = Vec::with_capacity(chains.len());
    let mut leads = vec![false; causes.len()];
    for (module, chain) in resolved.modules.iter().zip(&chains) {
        // A module without steps of its own passes on what its dependencies end in. Modules come
        // after what they depend on, so those are known already.
        let before: BTreeSet<u32> = module
            .depends
            .iter()
            .filter_map(|dependency| exits.get(*dependency as usize))
            .flatten()
            .copied()
            .collect();
        link(causes, chain, Rule::WithinModule);
        match (chain.first(), chain.last()) {
            (Some(first), Some(last)) => {
                for from in before.into_iter().filter(|from| from < first) {
                    leads[from as usize] = true;
                    note(
                        &mut causes[*first as usize],
                        from,
                        Cause::Module(Rule::Dependency),
                    );
                }
                exits.push(BTreeSet::from([*last]));
            }
            _ => exits.push(before),
        }
    }
    link(causes, &end, Rule::End);
    if let Some(first) = end.first() {
        let last_of_chains = chains.iter().filter_map(|chain| chain.last());
        for from in last_of_chains.filter(|from| !leads[**from as usize] && *from < first) {
            note(
                &mut causes[*first as usize],
                *from,
                Cause::Module(Rule::End),
            );
        }
    }
}

/// Each module's `pre` and `post` steps, and all `end` steps, in sequential order.
fn chains(analysis: &Analysis, resolved: &Resolved) -> (Vec<Vec<u32>>, Vec<u32>) {
    let mut chains = vec![Vec::new(); resolved.modules.len()];
    let mut end = Vec::new();
    for (place, step) in (0_u32..).zip(&analysis.steps) {
        match step.step.phase {
            Phase::Pre | Phase::Post => chains[step.step.module as usize].push(place),
            Phase::End => end.push(place),
        }
    }
    (chains, end)
}

fn link(causes: &mut Causes<'_>, chain: &[u32], rule: Rule) {
    for pair in chain.windows(2) {
        note(&mut causes[pair[1] as usize], pair[0], Cause::Module(rule));
    }
}
