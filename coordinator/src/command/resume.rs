//! `upshift resume`: goes on with a run that was stopped, failed or killed, in the direction that it
//! had, and ends the pause of one that somebody drives; with `--pack`, as an edited pack has what has not
//! run yet.

mod edited;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use upshift_shared::{
    ids::RunId,
    ledger::{
        self,
        run::{Change, RunRow, RunState},
    },
};

use super::{
    Failure,
    bad_data::ShowArguments,
    driving::{After, Driving, DrivingArguments},
    group::{self, GroupArguments},
    snapshotting,
    steering::{self, Steered},
};

/// `upshift resume [RUN]`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The run's id, or the end of it [default: the newest]
    #[arg(value_name = "RUN", conflicts_with = "group")]
    run: Option<String>,
    /// The run's pack, edited: what has not run yet is done as it has it
    #[arg(long, value_name = "DIR", conflicts_with = "group")]
    pack: Option<PathBuf>,
    /// Do not ask before an edited pack is taken up
    #[arg(long, short, requires = "pack")]
    yes: bool,
    #[command(flatten)]
    show: ShowArguments,
    #[command(flatten)]
    group: GroupArguments,
    #[command(flatten)]
    driving: DrivingArguments,
}

impl Arguments {
    pub(super) fn json(&self) -> bool {
        self.driving.json
    }

    /// For this run alone, as the coordinator of a cluster goes on with it.
    pub(super) fn of(run: RunId, driving: DrivingArguments) -> Self {
        Self {
            run: Some(run.to_string()),
            pack: None,
            yes: false,
            show: ShowArguments::default(),
            group: GroupArguments::default(),
            driving,
        }
    }
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> Result<(), Failure> {
    if let Some(file) = &arguments.group.group {
        let called = (&arguments.driving, &arguments.show);
        return Box::pin(group::resume::run(file, called, config)).await;
    }
    if let Some(pack) = &arguments.pack {
        return Box::pin(edited::resume(&arguments, pack, config)).await;
    }
    let wanted = arguments.run.as_deref();
    let chosen = arguments.driving.database.resolve(config)?;
    // A coordinator that goes on with a run ends no pause of it: an operator does.
    if arguments.driving.host.is_process() {
        let change = arguments.driving.steering.change();
        let steered = Steered::of(&chosen, wanted).await?;
        if steering::unpaused(steered, change, arguments.driving.json).await? {
            return Ok(());
        }
    }
    let (driving, row, after) = Driving::on_run(chosen, &arguments.driving, wanted).await?;
    match row.state {
        RunState::RollingBack => {
            Box::pin(super::rollback::go_back(
                driving,
                row.clone(),
                row.rollback_to.as_deref(),
                (&arguments.driving, config),
            ))
            .await
        }
        // The same order twice: the second one finds it done.
        RunState::Prepared => {
            let commit = after.command("commit");
            eprintln!(
                "upshift: run {} is prepared already; keep it with: {commit}",
                row.run
            );
            driving.close().await;
            Ok(())
        }
        _ => {
            refuse_ended(&row, &after)?;
            Box::pin(go_forward(driving, &row, (&arguments, config))).await
        }
    }
}

/// Refuses a run that cannot go forward: all states but planned, running, failed, and rolled back to a
/// checkpoint. (Rolling back and prepared are the caller's business.)
fn refuse_ended(row: &RunRow, after: &After) -> Result<(), Failure> {
    match row.state {
        RunState::Stuck => Err(Failure::refused(format!(
            "run {} is stuck on its way back; go on with: {}",
            row.run,
            after.command("rollback")
        ))),
        RunState::RolledBack if row.rollback_to.is_some() => Ok(()),
        RunState::Committed | RunState::RolledBack => Err(Failure::refused(format!(
            "run {} is {}: it has ended",
            row.run, row.state
        ))),
        RunState::Planned
        | RunState::Running
        | RunState::Failed
        | RunState::Prepared
        | RunState::RollingBack => Ok(()),
    }
}

/// Drives the run to `prepared`, by the plan that the ledger has.
async fn go_forward(
    mut driving: Driving,
    row: &RunRow,
    (arguments, config): (&Arguments, Option<&Path>),
) -> Result<(), Failure> {
    let after = driving.after(row.run);
    let plan = Arc::new(ledger::run::plan(&mut driving.conn, row.run).await?);
    let holder = driving.take_over(row.run).await?;
    ledger::run::change_state(
        &mut driving.conn,
        holder,
        RunState::Running,
        Change::default(),
    )
    .await?;
    arguments.show.go_on(&mut driving.conn, holder).await?;
    let called = (&arguments.driving, config);
    if row.state == RunState::RolledBack {
        // What was taken back before is done anew, and so are the snapshots before it.
        snapshotting::tidy(&mut driving, called, (holder, &plan)).await?;
    }
    let ended = snapshotting::forward(driving, called, (holder, plan), true).await?;
    after.outcome(&ended)
}
