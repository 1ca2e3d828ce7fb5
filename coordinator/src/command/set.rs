//! `upshift set`: other limits, while the run goes on: workers, units at once, thresholds of throttling.

use std::path::Path;

use clap::Args;
use upshift_shared::ledger::control::Change;

use super::{
    Failure,
    steering::{SteeredRun, SteeringArguments, change_limits},
};

/// `upshift set [RUN] --max-units N …`
#[derive(Debug, Args)]
#[command(after_help = "What is left out stays as it is.")]
pub(super) struct Arguments {
    #[command(flatten)]
    which: SteeredRun,
    #[command(flatten)]
    wanted: SteeringArguments,
}

impl Arguments {
    pub(super) fn json(&self) -> bool {
        self.which.json
    }
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> Result<(), Failure> {
    let change = arguments.wanted.change();
    if change == Change::default() {
        return Err(Failure::usage(
            "nothing to set: name a limit, such as --max-units 4 or --wal-budget 50MB/s",
        ));
    }
    change_limits(&arguments.which, &change, config).await
}
