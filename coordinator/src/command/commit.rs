//! `upshift commit`: closes the way back of a prepared run.

use std::path::Path;

use clap::Args;
use upshift_shared::{
    ids::RunId,
    ledger::{self, run::RunState},
};

use super::{
    Failure,
    driving::{Driving, DrivingArguments},
    group::{self, GroupArguments},
};
use crate::driver::commit::is_pending;

/// `upshift commit [RUN]`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The run's id, or the end of it [default: the newest]
    #[arg(value_name = "RUN", conflicts_with = "group")]
    run: Option<String>,
    #[command(flatten)]
    group: GroupArguments,
    #[command(flatten)]
    driving: DrivingArguments,
}

impl Arguments {
    pub(super) fn json(&self) -> bool {
        self.driving.json
    }
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> Result<(), Failure> {
    if let Some(file) = &arguments.group.group {
        return Box::pin(group::commit::run(file, &arguments.driving, config)).await;
    }
    commit(&arguments.driving, config, arguments.run.as_deref()).await
}

/// `run --commit`
pub(super) async fn commit_run(
    arguments: &DrivingArguments,
    config: Option<&Path>,
    run: RunId,
) -> Result<(), Failure> {
    commit(arguments, config, Some(&run.to_string())).await
}

async fn commit(
    arguments: &DrivingArguments,
    config: Option<&Path>,
    wanted: Option<&str>,
) -> Result<(), Failure> {
    let driving = Driving::open(arguments, config).await?;
    commit_of(driving, arguments, wanted).await
}

/// The same of a database that is open.
pub(super) async fn commit_of(
    mut driving: Driving,
    arguments: &DrivingArguments,
    wanted: Option<&str>,
) -> Result<(), Failure> {
    let (row, after) = driving.select(arguments, wanted).await?;
    match row.state {
        RunState::Prepared => {}
        RunState::Committed if is_pending(&mut driving.conn, row.run).await? => {}
        // The same order twice: the second one finds it done.
        RunState::Committed => {
            eprintln!("upshift: run {} is committed already", row.run);
            driving.close().await;
            return Ok(());
        }
        RunState::RolledBack if row.rollback_to.is_none() => {
            return Err(Failure::refused(format!(
                "run {} is rolled back: it has ended",
                row.run
            )));
        }
        RunState::RollingBack | RunState::Stuck => {
            return Err(Failure::refused(format!(
                "run {} is {}: it cannot be committed; go on back with: {}",
                row.run,
                row.state,
                after.command("rollback")
            )));
        }
        RunState::Planned | RunState::Running | RunState::Failed | RunState::RolledBack => {
            return Err(Failure::refused(format!(
                "run {} is {}: only a prepared run can be committed; first: {}",
                row.run,
                row.state,
                after.command("resume")
            )));
        }
    }
    let plan = ledger::run::plan(&mut driving.conn, row.run).await?;
    let holder = driving.take_over(row.run).await?;
    driving.commit(holder, &plan, arguments).await
}
