//! `upshift workers`: another number of workers, while the run goes on.

use std::path::Path;

use clap::Args;
use upshift_shared::ledger::control::Change;

use super::{
    Failure,
    steering::{SteeredRun, change_limits},
};

/// `upshift workers [RUN] N`
#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
pub(super) struct Arguments {
    #[command(flatten)]
    which: SteeredRun,
    /// So many: new ones begin at once; those too many finish the unit that they have
    #[arg(value_name = "N", required = true, value_parser = clap::value_parser!(u32).range(1..=256))]
    workers: u32,
}

impl Arguments {
    pub(super) fn json(&self) -> bool {
        self.which.json
    }
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> Result<(), Failure> {
    let change = Change {
        workers: Some(arguments.workers),
        ..Change::default()
    };
    change_limits(&arguments.which, &change, config).await
}
