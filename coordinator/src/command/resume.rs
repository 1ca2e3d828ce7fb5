//! `upshift resume`: goes on with a run that was stopped, failed or killed, in the direction that it
//! had.

use std::{path::Path, sync::Arc};

use clap::Args;
use upshift_shared::ledger::{
    self,
    run::{Change, RunState},
};

use super::{
    Failure,
    driving::{Driving, DrivingArguments},
    snapshotting,
};

/// `upshift resume [RUN]`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The run's id, or the end of it [default: the newest]
    #[arg(value_name = "RUN")]
    run: Option<String>,
    #[command(flatten)]
    driving: DrivingArguments,
}

impl Arguments {
    pub(super) fn json(&self) -> bool {
        self.driving.json
    }
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> Result<(), Failure> {
    let wanted = arguments.run.as_deref();
    let (mut driving, row, after) = Driving::open_run(&arguments.driving, config, wanted).await?;
    let next = |verb: &str| after.command(verb);
    match row.state {
        RunState::Planned | RunState::Running | RunState::Failed => {}
        RunState::RolledBack if row.rollback_to.is_some() => {}
        RunState::RollingBack => {
            return super::rollback::go_back(
                driving,
                row.clone(),
                row.rollback_to.as_deref(),
                (&arguments.driving, config),
            )
            .await;
        }
        // The same order twice: the second one finds it done.
        RunState::Prepared => {
            let commit = next("commit");
            eprintln!(
                "upshift: run {} is prepared already; keep it with: {commit}",
                row.run
            );
            driving.close().await;
            return Ok(());
        }
        RunState::Stuck => {
            return Err(Failure::refused(format!(
                "run {} is stuck on its way back; go on with: {}",
                row.run,
                next("rollback")
            )));
        }
        RunState::Committed | RunState::RolledBack => {
            return Err(Failure::refused(format!(
                "run {} is {}: it has ended",
                row.run, row.state
            )));
        }
    }
    let plan = Arc::new(ledger::run::plan(&mut driving.conn, row.run).await?);
    let holder = driving.take_over(row.run).await?;
    ledger::run::change_state(
        &mut driving.conn,
        holder,
        RunState::Running,
        Change::default(),
    )
    .await?;
    let called = (&arguments.driving, config);
    if row.state == RunState::RolledBack {
        // What was taken back before is done anew, and so are the snapshots before it.
        snapshotting::tidy(&mut driving, called, (holder, &plan)).await?;
    }
    let ended = snapshotting::forward(driving, called, (holder, plan), true).await?;
    after.outcome(&ended)
}
