//! `upshift pause`: no new unit of a run begins until `upshift resume`, whoever drives it, wherever.

use std::path::Path;

use clap::Args;
use upshift_shared::ledger::{
    control::{Change, Pause},
    run::RunState,
};

use super::{
    Failure,
    steering::{Steered, SteeredRun, print},
};

/// `upshift pause [RUN]`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    which: SteeredRun,
    /// Why, for whoever asks `upshift status`
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Arguments {
    pub(super) fn json(&self) -> bool {
        self.which.json
    }
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> Result<(), Failure> {
    let mut steered = Steered::open(&arguments.which, config).await?;
    let run = steered.row.run;
    match steered.row.state {
        RunState::Committed => return Err(steered.has_ended()),
        RunState::RolledBack if steered.row.rollback_to.is_none() => {
            return Err(steered.has_ended());
        }
        RunState::Prepared | RunState::RolledBack | RunState::Stuck => {
            return Err(Failure::refused(format!(
                "run {run} is {}: nothing of it runs that could pause",
                steered.row.state
            )));
        }
        RunState::Planned | RunState::Running | RunState::Failed | RunState::RollingBack => {}
    }
    let change = Change {
        paused: Some(Pause::Begin(arguments.reason)),
        ..Change::default()
    };
    let heeded = steered.ask(&change).await?;
    let resume = steered.after.command("resume");
    print(&heeded, arguments.which.json, || match heeded.in_force() {
        Some(in_force) if in_force.paused => format!(
            "run {run} is paused: units in flight end, no new one begins; go on with: {resume}"
        ),
        Some(_) => format!("somebody has resumed run {run} meanwhile"),
        None => format!("nobody drives run {run}: it stays where it is until: {resume}"),
    })
}
