//! What a run is asked for beside its plan: it is stored with the run, and `resume` keeps to it.

use clap::Args;
use upshift_shared::{config::RunDefaults, ledger::options::RunOptions};

use super::bad_data::BadDataArguments;

/// Options of `run` that the run keeps.
#[derive(Debug, Clone, Args)]
pub(super) struct OrderingArguments {
    #[command(flatten)]
    pub(super) bad_data: BadDataArguments,
}

impl OrderingArguments {
    /// As the ledger stores them.
    pub(super) fn options(&self, defaults: &RunDefaults) -> RunOptions {
        let mut options = RunOptions::default();
        self.bad_data.fill(&mut options, defaults);
        options
    }
}
