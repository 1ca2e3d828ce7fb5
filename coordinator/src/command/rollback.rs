//! `upshift rollback`: takes a run back, whole or to a checkpoint.

use std::{path::Path, sync::Arc};

use clap::Args;
use upshift_shared::ledger::{
    self,
    run::{Change, RunRow, RunState},
};

use super::{
    Failure,
    driving::{Driving, DrivingArguments},
    group::{self, GroupArguments},
    snapshotting::{self, Called},
};
use crate::{
    driver::{Aim, quarantine, rollback},
    progress::Ending,
};

/// `upshift rollback [RUN]`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The run's id, or the end of it [default: the newest]
    #[arg(value_name = "RUN", conflicts_with = "group")]
    run: Option<String>,
    #[command(flatten)]
    group: GroupArguments,
    /// Go back to this checkpoint: a module's name, or one that the pack names [default: to the start]
    #[arg(long, value_name = "CHECKPOINT")]
    to: Option<String>,
    /// Go on where rows that were changed are gone meanwhile, and cannot get their old values back;
    /// and lose what an application has written to tables that a pass built anew
    #[arg(long)]
    force: bool,
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
        let (to, force) = (arguments.to.as_deref(), arguments.force);
        let driving = &arguments.driving;
        return Box::pin(group::rollback::run(file, to, force, driving, config)).await;
    }
    let wanted = arguments.run.as_deref();
    let (mut driving, row, _) = Driving::open_run(&arguments.driving, config, wanted).await?;
    driving.limits.force = arguments.force;
    match row.state {
        RunState::Committed => Err(Failure::refused(format!(
            "run {} is committed: there is no way back; restore a backup",
            row.run
        ))),
        // The same order twice: the second one finds it done.
        RunState::RolledBack if row.rollback_to.is_none() && arguments.to.is_none() => {
            eprintln!("upshift: run {} is rolled back already", row.run);
            let taken = ledger::snapshot::load(&mut driving.conn, row.run).await?;
            driving.close().await;
            if taken.is_empty() {
                return Ok(());
            }
            let called = (&arguments.driving, config);
            snapshotting::tidy_up(called, row.run).await
        }
        RunState::RolledBack if row.rollback_to.is_none() => Err(Failure::refused(format!(
            "run {} is rolled back to the start: there is no checkpoint to go to",
            row.run
        ))),
        RunState::Planned => {
            // Nothing has run.
            let holder = driving.take_over(row.run).await?;
            let change = Change::default();
            ledger::run::change_state(&mut driving.conn, holder, RunState::RolledBack, change)
                .await?;
            driving.close().await;
            Ok(())
        }
        _ => {
            let called = (&arguments.driving, config);
            go_back(driving, row, arguments.to.as_deref(), called).await
        }
    }
}

/// Takes a run back, or goes on doing so.
pub(super) async fn go_back(
    mut driving: Driving,
    row: RunRow,
    to: Option<&str>,
    called: Called<'_>,
) -> Result<(), Failure> {
    let plan = Arc::new(ledger::run::plan(&mut driving.conn, row.run).await?);
    let place = rollback::destination(&mut driving.conn, &row, &plan, to).await?;
    let force = driving.limits.force;
    let aim = (&*plan, to, place);
    let (mut driving, row) = Box::pin(snapshotting::restore(driving, called, row, aim)).await?;
    driving.limits.force = force;
    // What has no way back is refused before anybody is disturbed.
    crate::driver::back(&mut driving.conn, row.run, &plan, place, &driving.limits).await?;
    rollback::refuse_lost_writes(&mut driving.conn, &row, &plan, place, &driving.limits).await?;
    let holder = driving.take_over(row.run).await?;
    ledger::bad_row::forget_found(&mut driving.conn, holder).await?;
    let target = &driving.chosen.target;
    let job = (holder, &*plan, &driving.limits);
    quarantine::take_retries_back(&mut driving.conn, target, job).await?;
    let rebuilt = rollback::begin(
        &mut driving.conn,
        holder,
        &plan,
        (to, place),
        &driving.limits,
    )
    .await?;
    let after = driving.after(row.run);
    let aim = Aim::Back {
        to: to.map(str::to_owned),
    };
    let resumed = row.state == RunState::RollingBack;
    let has_snapshots = !plan.snapshots.is_empty();
    let progress = called.0.progress();
    let ended = driving
        .drive((holder, plan), (aim, rebuilt, resumed), progress)
        .await?;
    after.outcome(&ended)?;
    if has_snapshots && ended.ending == Ending::RolledBack {
        snapshotting::tidy_up(called, row.run).await?;
    }
    Ok(())
}
