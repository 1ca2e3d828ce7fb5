//! `upshift fleet …`: many databases upgraded by one order, in waves. One file per subcommand.

mod finding;
mod plan;
mod variants;

use std::path::Path;

use clap::Subcommand;

use super::Failure;

/// `upshift fleet`
#[derive(Debug, Subcommand)]
pub(super) enum FleetCommand {
    /// Show what every database would get, which cannot be upgraded and why, and how long all of it
    /// takes. Changes nothing
    Plan(plan::Arguments),
}

impl FleetCommand {
    pub(super) fn json(&self) -> bool {
        match self {
            Self::Plan(arguments) => arguments.json,
        }
    }
}

pub(super) async fn run(command: FleetCommand, config: Option<&Path>) -> Result<(), Failure> {
    match command {
        FleetCommand::Plan(arguments) => plan::run(arguments, config).await,
    }
}
