//! `optimise`: which statements on a table become one pass over it.
//!
//! A pass gathers the statements on one table, also of different files and modules, as far as nothing
//! that must come between two of them stands outside it; composes them into one SELECT that gives
//! every row its final values; and is chosen where building the table anew costs less than writing
//! its rows in place.

mod alter;
mod assign;
mod cast;
mod compose;
mod constant;
pub(super) mod cost;
mod default;
mod found;
mod from;
mod gather;
mod graph;
mod spare;
#[cfg(test)]
mod tests;
mod transform;
mod with;

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;
use upshift_shared::{
    catalog::{Constraint, Relation},
    ids::RelId,
    pack::{Location, StrategyDirective},
    pg::ident::QualifiedName,
    plan::{AddedKey, Carried, JoinedTransform, KeyColumn, Rates, Strategy},
};

use super::model::{Analysis, Options, Ordered, Passes};

pub use constant::ConstantFill;
pub use graph::Contracted;

/// Result of `optimise`.
#[derive(Debug, Clone, Serialize)]
pub struct Optimised {
    /// The passes.
    pub passes: Vec<Pass>,
    /// Fresh columns that are filled with one constant.
    pub fills: Vec<ConstantFill>,
    /// Statements whose author asked for a pass that cannot be, and why.
    pub refused: Vec<(Location, String)>,
    /// The steps' order, with each pass as one node.
    #[serde(skip)]
    pub order: Contracted,
    /// What the choices were made by.
    pub rates: Rates,
}

/// Several statements on one table, as one pass over it.
#[derive(Debug, Clone, Serialize)]
pub struct Pass {
    /// Places in [`Analysis::steps`], in order.
    pub steps: Vec<u32>,
    /// The table.
    pub relation: RelId,
    /// Its name.
    pub table: QualifiedName,
    /// Why a pass, and what the alternatives would cost.
    pub why: String,
    /// Statements on the table that did not come in, and why.
    pub left_out: Vec<(Location, String)>,
    /// Rows of the table.
    pub rows: u64,
    /// What it is expected to cost.
    pub cost: Cost,
    /// What it does.
    #[serde(skip)]
    pub composed: Composed,
    /// The table before the first and after the last of the steps.
    #[serde(skip)]
    pub before: Arc<Relation>,
    /// See [`Self::before`].
    #[serde(skip)]
    pub after: Arc<Relation>,
    /// Foreign keys of other tables that point at it.
    #[serde(skip)]
    pub incoming: Vec<(RelId, QualifiedName, Constraint)>,
    /// Rows of those tables.
    #[serde(skip)]
    pub incoming_rows: Vec<f64>,
    /// Tables that its own foreign keys point at.
    #[serde(skip)]
    pub parents: Vec<(RelId, QualifiedName)>,
}

/// Expected seconds on one worker.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    /// Filling the new table.
    pub fill: f64,
    /// Each index.
    pub index: f64,
    /// Each of its foreign keys.
    pub key: f64,
    /// The whole pass.
    pub total: f64,
    /// The same statements in place, cut into chunks.
    pub in_place: f64,
    /// Bytes of disk that the new table takes beside the old one until commit.
    pub bytes: u64,
}

/// What the steps of a pass come to.
#[derive(Debug, Clone)]
pub struct Composed {
    /// `INSERT INTO` this, with the new table between the two parts.
    pub fill: (String, String),
    /// What the pack does to the table, for [`upshift_shared::plan::ShadowStage::Build`].
    pub evolve: Vec<String>,
    /// Columns whose name is another after it than before.
    pub renames: Vec<(String, String)>,
    /// Foreign keys dropped.
    pub dropped_keys: Vec<String>,
    /// Foreign keys added.
    pub added_keys: Vec<AddedKey>,
    /// Whether `now()` is the first parameter.
    pub pinned_now: bool,
    /// Settings of the scripts.
    pub settings: Vec<(String, String)>,
    /// The new table's columns that the fill gives values to.
    pub columns: Vec<KeyColumn>,
    /// Transforms whose values the fill takes.
    pub transforms: Vec<JoinedTransform>,
    /// What it carries over unchanged.
    pub carried: Carried,
}

/// Finds the passes.
#[must_use]
pub fn optimise(analysis: &Analysis, ordered: &Ordered, options: &Options) -> Optimised {
    let mut order = Contracted::new(analysis.steps.len(), &ordered.edges);
    let mut passes = Vec::new();
    let mut reasons = BTreeMap::new();
    let apart = |place: u32| {
        options
            .apart
            .contains(&analysis.steps[place as usize].step.id)
    };
    if options.strategy != Strategy::Sequential {
        let mut tables: BTreeMap<RelId, Vec<u32>> = BTreeMap::new();
        for (place, step) in (0_u32..).zip(&analysis.steps) {
            if let Some(around) = step.around.as_ref().filter(|_| !apart(place)) {
                tables.entry(around.before.id).or_default().push(place);
            }
        }
        // One value in a fresh column is no reason to build a table anew, though it joins a pass that has one.
        let alone = constant::fills(analysis, &mut order.clone(), &apart);
        for places in tables.values() {
            let rest = places.iter().copied();
            let rest: Vec<u32> = rest
                .filter(|place| !alone.iter().any(|f| f.add == *place || f.update == *place))
                .collect();
            if rest.len() < places.len() && options.passes != Passes::Shadow {
                let (mut attempt, mut ignored) = (order.clone(), BTreeMap::new());
                let rest = (rest.as_slice(), 0);
                if gather::passes_of(analysis, rest, options, &mut attempt, &mut ignored).is_empty()
                {
                    continue;
                }
            }
            let taken = passes.iter().map(|pass: &Pass| pass.cost.bytes).sum();
            let places = (places.as_slice(), taken);
            let found = gather::passes_of(analysis, places, options, &mut order, &mut reasons);
            passes.extend(found);
        }
    }
    if !order.is_acyclic() {
        // Cannot be, and must not cost a statement: what a cycle holds would never run.
        debug_assert!(false, "passes wait for each other");
        order = Contracted::new(analysis.steps.len(), &ordered.edges);
        passes.clear();
    }
    passes.sort_by_key(|pass: &Pass| pass.steps[0]);
    let taken = |place: u32| apart(place) || passes.iter().any(|pass| pass.steps.contains(&place));
    let fills = match options.strategy {
        Strategy::Sequential => Vec::new(),
        _ => constant::fills(analysis, &mut order, &taken),
    };
    Optimised {
        rates: options.rates,
        refused: refused(analysis, &passes, reasons, &apart),
        passes,
        fills,
        order,
    }
}

/// Statements that `strategy = shadow` stands on and that are in no pass.
fn refused(
    analysis: &Analysis,
    passes: &[Pass],
    mut reasons: BTreeMap<u32, String>,
    apart: &dyn Fn(u32) -> bool,
) -> Vec<(Location, String)> {
    let asked = (0_u32..)
        .zip(&analysis.steps)
        .filter(|(_, step)| step.step.directives.strategy == Some(StrategyDirective::Shadow));
    let alone = asked.filter(|(place, _)| {
        !apart(*place) && !passes.iter().any(|pass| pass.steps.contains(place))
    });
    alone
        .map(|(place, step)| {
            let why = reasons.remove(&place).unwrap_or_else(|| {
                "it is no UPDATE, DELETE or DDL on one table that was there before".to_owned()
            });
            (step.step.location.clone(), why)
        })
        .collect()
}
