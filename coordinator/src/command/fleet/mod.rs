//! `upshift fleet …`: many databases upgraded by one order, in waves. One file per subcommand.

mod beginning;
mod budget;
mod conducting;
mod doing;
mod finding;
mod folder;
mod home;
mod hooks;
mod loads;
mod looking;
mod members;
mod orders;
mod pace;
mod plan;
mod remote;
mod report;
mod run;
mod running;
mod shown;
mod status;
mod telling;
mod variants;

use std::path::Path;

use clap::Subcommand;

use super::Failure;
pub(super) use beginning::{Asked, AtHand, Given, run_arguments};
pub(super) use conducting::RunLimits;
pub(super) use folder::Done;
pub(super) use home::{Audit, Home, Left};
pub(super) use looking::OfMember;
pub(super) use members::{For, survey};
pub(super) use plan::ToPlan;
pub(super) use report::Report;
pub(super) use running::UNITS;
pub(super) use shown::{Shown, in_words};
pub(super) use telling::Telling;

/// `upshift fleet`
#[derive(Debug, Subcommand)]
pub(super) enum FleetCommand {
    /// Show what every database would get, which cannot be upgraded and why, and how long all of it
    /// takes. Changes nothing
    Plan(plan::Arguments),
    /// Upgrade all databases in waves, or go on with it
    Run(run::Arguments),
    /// Show how the fleet stands
    Status(status::Arguments),
    /// Begin nothing any more; what is being done ends
    Pause(orders::Arguments),
    /// Go on after a pause, and in spite of the failures that stopped it
    Resume(orders::Arguments),
    /// Let what comes after a wave come
    Approve(orders::ApproveArguments),
    /// Upgrade nothing any more, and stop what is being upgraded
    Abort(orders::Arguments),
    /// Go on with databases that failed
    Retry(orders::WhichArguments),
    /// Take databases back: some, a wave, or all
    Rollback(orders::RollbackArguments),
    /// Close the way back of databases: some, a wave, or all
    Commit(orders::WhichArguments),
    /// Say what became of every database
    Report(report::Arguments),
}

impl FleetCommand {
    /// Whether it may drive runs, or has them driven.
    pub(super) fn has_runs(&self) -> bool {
        matches!(
            self,
            Self::Run(_) | Self::Retry(_) | Self::Rollback(_) | Self::Commit(_)
        )
    }

    pub(super) fn json(&self) -> bool {
        match self {
            Self::Plan(arguments) => arguments.json,
            Self::Run(arguments) => arguments.json(),
            Self::Status(arguments) => arguments.json,
            Self::Pause(arguments) | Self::Resume(arguments) | Self::Abort(arguments) => {
                arguments.how.json
            }
            Self::Approve(arguments) => arguments.how.json,
            Self::Rollback(arguments) => arguments.of.how.json,
            Self::Retry(arguments) | Self::Commit(arguments) => arguments.how.json,
            Self::Report(arguments) => arguments.json,
        }
    }
}

pub(super) async fn run(command: FleetCommand, config: Option<&Path>) -> Result<(), Failure> {
    match command {
        FleetCommand::Plan(arguments) => plan::run(arguments, config).await,
        FleetCommand::Run(arguments) => Box::pin(run::run(arguments, config)).await,
        FleetCommand::Status(arguments) => status::run(arguments, config).await,
        FleetCommand::Pause(arguments) => Box::pin(orders::pause(arguments, config)).await,
        FleetCommand::Resume(arguments) => Box::pin(orders::resume(arguments, config)).await,
        FleetCommand::Approve(arguments) => Box::pin(orders::approve(arguments, config)).await,
        FleetCommand::Abort(arguments) => Box::pin(orders::abort(arguments, config)).await,
        FleetCommand::Retry(arguments) => Box::pin(orders::retry(arguments, config)).await,
        FleetCommand::Rollback(arguments) => Box::pin(orders::rollback(arguments, config)).await,
        FleetCommand::Commit(arguments) => Box::pin(orders::commit(arguments, config)).await,
        FleetCommand::Report(arguments) => report::run(arguments, config).await,
    }
}
