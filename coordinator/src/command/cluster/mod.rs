//! `upshift cluster`: what an operator asks of the coordinator that leads.

pub(super) mod client;
pub(super) mod files;
mod fleets;
mod status;
mod submit;
mod watch;
mod wish;
mod workers;

use std::path::Path;

use clap::{Args, Subcommand};

use super::Failure;

/// `upshift cluster …`
#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Send a pack to the cluster, for one of its databases, and have it run
    Submit(submit::Arguments),
    /// Show how runs stand
    Status(status::Arguments),
    /// Show what happens to runs, as it happens
    Watch(watch::Arguments),
    /// Let no new unit of a run begin
    Pause(wish::PauseArguments),
    /// Go on with a run that was paused, stopped or failed
    Resume(wish::RunArguments),
    /// Take a run back, whole or to a checkpoint
    Rollback(wish::RollbackArguments),
    /// Close the way back of a prepared run
    Commit(wish::RunArguments),
    /// List the workers
    Workers(workers::Arguments),
    /// Let a worker finish what it has and leave
    Drain(workers::DrainArguments),
    /// List the fleets that were submitted: `upshift fleet … --cluster` is about one of them
    Fleets(fleets::Arguments),
}

/// Which cluster, and how answers are printed.
#[derive(Debug, Clone, Args)]
pub(in crate::command) struct OperatorArguments {
    /// URL of a coordinator; may be given several times, any of them may be down
    /// [default: coordinators of [cluster], else etcd is asked]
    #[arg(long = "coordinator", value_name = "URL")]
    coordinators: Vec<String>,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

impl ClusterCommand {
    pub(super) fn json(&self) -> bool {
        match self {
            Self::Submit(arguments) => arguments.operator.json,
            Self::Status(arguments) => arguments.operator.json,
            Self::Watch(arguments) => arguments.operator.json,
            Self::Pause(arguments) => arguments.run.operator.json,
            Self::Resume(arguments) | Self::Commit(arguments) => arguments.operator.json,
            Self::Rollback(arguments) => arguments.run.operator.json,
            Self::Workers(arguments) => arguments.operator.json,
            Self::Drain(arguments) => arguments.operator.json,
            Self::Fleets(arguments) => arguments.operator.json,
        }
    }
}

pub(super) async fn run(command: ClusterCommand, config: Option<&Path>) -> Result<(), Failure> {
    match command {
        ClusterCommand::Submit(arguments) => submit::run(arguments, config).await,
        ClusterCommand::Status(arguments) => status::run(arguments, config).await,
        ClusterCommand::Watch(arguments) => watch::run(arguments, config).await,
        ClusterCommand::Pause(arguments) => wish::pause(arguments, config).await,
        ClusterCommand::Resume(arguments) => wish::resume(arguments, config).await,
        ClusterCommand::Rollback(arguments) => wish::rollback(arguments, config).await,
        ClusterCommand::Commit(arguments) => wish::commit(arguments, config).await,
        ClusterCommand::Workers(arguments) => workers::run(arguments, config).await,
        ClusterCommand::Drain(arguments) => workers::drain(arguments, config).await,
        ClusterCommand::Fleets(arguments) => fleets::run(arguments, config).await,
    }
}
