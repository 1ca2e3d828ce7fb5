//! `upshift fleet run FILE`: upgrades a fleet, or goes on with it, wherever an earlier process left it.

use std::path::Path;

use clap::Args;

use super::{
    super::{Failure, database::print_line},
    beginning::{Asked, Given, conduct},
    members::{FleetArguments, configured},
    remote::Submit,
    running::STOPPED,
    shown::Shown,
    telling::Telling,
};
use crate::fleet::{FleetOrder, MemberState};

/// States that somebody has to do something about.
const FAILED: [MemberState; 2] = [MemberState::Failed, MemberState::Stuck];

/// `upshift fleet run FILE`
#[derive(Debug, Args)]
pub(in crate::command) struct Arguments {
    #[command(flatten)]
    fleet: FleetArguments,
    #[command(flatten)]
    how: HowArguments,
    /// Do not wait for waves to be approved
    #[arg(long, short)]
    yes: bool,
    /// Begin once more, waves from the first: though the fleet was aborted, and what was rolled back
    /// again. What failed is gone on with by retry
    #[arg(long)]
    anew: bool,
    /// Show how it goes until a cluster has conducted it to its end
    #[arg(long)]
    watch: bool,
    /// Options of `upshift run`, such as --passes shadow --verify full. Whoever goes on keeps to them
    /// until others are given
    #[arg(last = true, value_name = "OPTIONS")]
    options: Vec<String>,
}

impl Arguments {
    pub(super) fn json(&self) -> bool {
        self.how.json
    }
}

/// How a process conducts a fleet.
#[derive(Debug, Clone, Args)]
pub(super) struct HowArguments {
    /// Workers, for all databases together [default: as many as processors, at most 8]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    workers: Option<u32>,
    /// One line of JSON for every event, on standard output
    #[arg(long)]
    pub(super) json: bool,
    /// Tell nothing on the way
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
}

impl HowArguments {
    pub(super) fn workers(&self) -> u32 {
        let processors = std::thread::available_parallelism().map_or(2, |n| n.get().min(8) as u32);
        self.workers.unwrap_or(processors)
    }

    pub(super) fn telling(&self, approve: String) -> Telling {
        Telling::new(self.json, self.quiet, approve)
    }

    /// The same where its members were to be upgraded.
    pub(super) fn upgraded(&self, shown: &Shown, next: &Next) -> Result<(), Failure> {
        let in_state = |state: &MemberState| shown.states.get(state.as_str());
        let failed: u32 = FAILED.iter().filter_map(in_state).sum();
        // Those too that were taken back since.
        let failed = failed.max(shown.failed);
        if let Some(refused) = in_state(&MemberState::Refused) {
            eprintln!(
                "{refused} were left alone, because they cannot be upgraded: {}",
                next.status
            );
        }
        if let Some(back) = in_state(&MemberState::RolledBack) {
            eprintln!(
                "{back} are rolled back, and stay so; to upgrade all of them once more: {} --anew",
                next.run
            );
        }
        self.outcome(shown, (failed, "failed"), next)
    }

    /// Shows how the fleet stands when a process is done with it, and makes an outcome of it: a failure
    /// where so many members have come to that.
    pub(super) fn outcome(
        &self,
        shown: &Shown,
        (bad, what): (u32, &str),
        next: &Next,
    ) -> Result<(), Failure> {
        if self.json {
            let line = serde_json::json!({"event": "fleet_ended", "standing": shown.standing,
                "states": shown.states, "failed": shown.failed, "waves": shown.waves});
            print_line(&line.to_string());
        } else {
            print_line(shown.text(false).trim_end());
        }
        if bad > 0 {
            return Err(Failure::failed(format!(
                "{bad} {what}; when the cause is mended: {}\nor take back: {}",
                next.retry, next.rollback
            )));
        }
        match shown.standing.as_str() {
            "done" | "what was ordered is done" => Ok(()),
            "aborted" => Err(Failure::failed(format!(
                "the fleet was aborted; begin once more: {} --anew",
                next.run
            ))),
            standing => Err(Failure::failed(format!("the fleet is {standing}"))),
        }
    }
}

/// The commands that come next.
pub(super) struct Next {
    pub(super) run: String,
    pub(super) retry: String,
    pub(super) rollback: String,
    pub(super) status: String,
}

/// What whoever was told to stop says, and how to go on.
pub(super) fn stopped(failure: Failure, go_on: &str) -> Failure {
    match failure.message().strip_prefix(STOPPED) {
        Some(owed) => Failure::failed(format!("{STOPPED}{owed}; go on with: {go_on}")),
        None => failure,
    }
}

pub(in crate::command) async fn run(
    arguments: Arguments,
    config: Option<&Path>,
) -> Result<(), Failure> {
    if let Some(remote) = arguments.fleet.remote(config)? {
        if arguments.how.workers.is_some() {
            return Err(Failure::usage(
                "--workers is for a fleet that this process conducts: a cluster has its own",
            ));
        }
        let submit = Submit {
            options: &arguments.options,
            yes: arguments.yes,
            anew: arguments.anew,
            watch: arguments.watch,
        };
        return remote.run(submit, &arguments.how).await;
    }
    let chosen = arguments.fleet.open()?;
    let config = configured(config)?;
    let approve = arguments.yes.then_some(FleetOrder::Approve { wave: None });
    let asked = Asked {
        workers: arguments.how.workers(),
        orders: approve.into_iter().collect(),
        only_orders: false,
    };
    let given = Given {
        options: arguments.options,
        anew: arguments.anew,
    };
    let asked = (asked, given);
    let telling = arguments.how.telling(chosen.command("approve"));
    let conducted = Box::pin(conduct(&chosen, asked, (config, telling))).await;
    let shown = conducted.map_err(|failure| stopped(failure, &chosen.command("run")))?;
    let next = Next {
        run: chosen.command("run"),
        retry: chosen.command("retry"),
        rollback: chosen.command("rollback"),
        status: chosen.command("status"),
    };
    arguments.how.upgraded(&shown, &next)
}
