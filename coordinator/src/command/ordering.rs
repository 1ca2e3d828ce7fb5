//! What a run is asked for beside its plan: it is stored with the run, and `resume` keeps to it.

use clap::Args;
use upshift_shared::ledger::options::RunOptions;

/// Options of `run` that the run keeps.
#[derive(Debug, Clone, Args)]
pub(super) struct OrderingArguments {}

impl OrderingArguments {
    /// As the ledger stores them.
    pub(super) fn options(&self) -> RunOptions {
        RunOptions { group: None }
    }
}
