//! What is stored with a run so that its pack can be compiled again when it was edited: all that the
//! compiler had, as it was when the run began.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use upshift_shared::{
    Error,
    catalog::Catalog,
    ids::RunId,
    pack::{Pack, Version},
    plan::{Rates, Strategy},
};

use super::{Failure, Sources};
use crate::compile::{
    Options, Passes,
    edit::{self, KnownStep, Start},
    resolve,
};

/// The version of this format.
const FORMAT: u32 = 1;

/// What the compiler had.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::command) struct Stored<'a> {
    format: u32,
    /// The steps of the run's pack, by their numbers in the plan.
    pub(in crate::command) steps: Vec<KnownStep>,
    installed: Cow<'a, BTreeMap<String, Version>>,
    strategy: Strategy,
    passes: Passes,
    disk_budget: Option<u64>,
    rates: Rates,
    /// Rows that steps touch, by what they do.
    estimates: BTreeMap<String, u64>,
    catalog: Cow<'a, Catalog>,
}

/// As the ledger stores it.
///
/// # Errors
/// When the pack does not fit the database.
pub(in crate::command) fn text(sources: &Sources, options: &Options) -> Result<String, Failure> {
    of(
        (&sources.pack, &sources.installed, &sources.catalog),
        options,
    )
}

/// The same of what is not in one place.
///
/// # Errors
/// When the pack does not fit the database.
pub(in crate::command) fn of(
    (pack, installed, catalog): (&Pack, &BTreeMap<String, Version>, &Catalog),
    options: &Options,
) -> Result<String, Failure> {
    let resolved = resolve::resolve(pack, installed)?;
    let steps = edit::known_steps(&resolved);
    let estimates = options.estimates.iter().filter_map(|(step, rows)| {
        let step = steps.get(step.0 as usize)?;
        Some((step.identity.clone(), *rows))
    });
    let stored = Stored {
        format: FORMAT,
        estimates: estimates.collect(),
        steps,
        installed: Cow::Borrowed(installed),
        strategy: options.strategy,
        passes: options.passes,
        disk_budget: options.disk_budget,
        rates: options.rates,
        catalog: Cow::Borrowed(catalog),
    };
    Ok(stored.to_text())
}

impl Stored<'_> {
    /// Reads what the ledger has.
    ///
    /// # Errors
    /// When a newer program wrote it.
    pub(in crate::command) fn parse(text: &str, run: RunId) -> Result<Self, Failure> {
        let unreadable = |why: String| {
            Failure::from(Error::Format(format!(
                "what the plan of run {run} was compiled from cannot be read ({why}): use the version \
                 of upshift that began it, or a newer one"
            )))
        };
        let mut stored: Self =
            serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))?;
        if stored.format > FORMAT {
            return Err(unreadable(format!("it has format {}", stored.format)));
        }
        stored.catalog.to_mut().index_names();
        Ok(stored)
    }

    /// As the ledger stores it.
    pub(in crate::command) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("it is plain data with string keys")
    }

    /// What the run asked for.
    pub(in crate::command) fn options(&self) -> Options {
        Options {
            passes: self.passes,
            disk_budget: self.disk_budget,
            rates: self.rates,
            ..Options::from(self.strategy)
        }
    }

    /// What a pack is compiled with.
    pub(in crate::command) fn start<'s>(&'s self, options: &'s Options) -> Start<'s> {
        Start {
            installed: &self.installed,
            catalog: &self.catalog,
            options,
            estimates: &self.estimates,
        }
    }
}
