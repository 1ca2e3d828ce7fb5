//! `upshift fleet pause|resume|approve|abort|retry|rollback|commit FILE`: orders for a fleet. Whoever
//! conducts it takes them up; where nobody does, what needs no process is written down, and the rest is
//! done by this one.

use std::{path::Path, time::Duration};

use clap::Args;
use upshift_proto::v1::{FleetMembers, fleet_order_request::What};
use upshift_shared::{
    clock::Stopwatch,
    fleet::{FleetFile, MemberName},
};

use super::{
    super::{Failure, database::print_line},
    beginning::{Asked, Given, conduct},
    folder::ORDER_PATIENCE,
    home::Left,
    members::{Chosen, FleetArguments, configured},
    remote,
    run::{HowArguments, Next, stopped},
    shown::{Shown, ShownMember},
};
use crate::fleet::{FleetOrder, MemberState, Which};

/// How often it is looked whether it has.
const EVERY: Duration = Duration::from_millis(100);

/// `upshift fleet pause|resume|abort FILE`
#[derive(Debug, Args)]
pub(in crate::command) struct Arguments {
    #[command(flatten)]
    fleet: FleetArguments,
    #[command(flatten)]
    pub(super) how: HowArguments,
}

/// `upshift fleet approve FILE WAVE`
#[derive(Debug, Args)]
pub(in crate::command) struct ApproveArguments {
    #[command(flatten)]
    fleet: FleetArguments,
    /// The wave that has ended: what comes after it may come
    #[arg(value_name = "WAVE", required_unless_present = "all")]
    wave: Option<String>,
    /// All waves, those to come too
    #[arg(long, conflicts_with = "wave")]
    all: bool,
    #[command(flatten)]
    pub(super) how: HowArguments,
}

/// `upshift fleet rollback FILE`
#[derive(Debug, Args)]
pub(in crate::command) struct RollbackArguments {
    /// Go on where rows that were changed are gone meanwhile, and cannot get their old values back;
    /// and lose what an application has written to tables that a pass built anew
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    pub(super) of: WhichArguments,
}

/// `upshift fleet retry|rollback|commit FILE`
#[derive(Debug, Args)]
pub(in crate::command) struct WhichArguments {
    #[command(flatten)]
    fleet: FleetArguments,
    /// These members, by the names that status shows
    #[arg(value_name = "MEMBER", conflicts_with_all = ["wave", "all"])]
    members: Vec<String>,
    /// Those of this wave
    #[arg(long, value_name = "WAVE", conflicts_with = "all")]
    wave: Option<String>,
    /// All of them
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    pub(super) how: HowArguments,
}

impl WhichArguments {
    fn which(&self, order: &FleetFile, verb: &str) -> Result<Which, Failure> {
        if let Some(wave) = &self.wave {
            return Ok(Which::Wave(wave_number(order, wave)?));
        }
        if self.all {
            return Ok(Which::All);
        }
        self.meant(verb)?;
        let names = self.members.iter().cloned().map(MemberName::from);
        Ok(Which::These(names.collect()))
    }

    /// Which members, where somebody else knows the waves.
    fn meant(&self, verb: &str) -> Result<FleetMembers, Failure> {
        if self.members.is_empty() && self.wave.is_none() && !self.all {
            return Err(Failure::usage(format!(
                "say what to {verb}: members by name, --wave WAVE, or --all"
            )));
        }
        Ok(remote::members(&self.members, self.wave.as_deref()))
    }
}

/// The number of a wave, by its name.
fn wave_number(order: &FleetFile, name: &str) -> Result<u32, Failure> {
    let found = order.waves.iter().position(|wave| wave.name == name);
    let found = found.and_then(|place| u32::try_from(place).ok());
    found.ok_or_else(|| {
        let names: Vec<&str> = order.waves.iter().map(|wave| wave.name.as_str()).collect();
        Failure::usage(format!(
            "the fleet has no wave \"{name}\"; it has {}",
            names.join(", ")
        ))
    })
}

pub(in crate::command) async fn pause(
    arguments: Arguments,
    config: Option<&Path>,
) -> Result<(), Failure> {
    if let Some(remote) = arguments.fleet.remote(config)? {
        return remote.order(What::Pause(true), &arguments.how).await;
    }
    let chosen = arguments.fleet.open()?;
    give(&chosen, FleetOrder::Pause, (&arguments.how, config)).await
}

pub(in crate::command) async fn resume(
    arguments: Arguments,
    config: Option<&Path>,
) -> Result<(), Failure> {
    if let Some(remote) = arguments.fleet.remote(config)? {
        return remote.order(What::Resume(true), &arguments.how).await;
    }
    let chosen = arguments.fleet.open()?;
    give(&chosen, FleetOrder::Resume, (&arguments.how, config)).await
}

pub(in crate::command) async fn abort(
    arguments: Arguments,
    config: Option<&Path>,
) -> Result<(), Failure> {
    if let Some(remote) = arguments.fleet.remote(config)? {
        return remote.order(What::Abort(true), &arguments.how).await;
    }
    let chosen = arguments.fleet.open()?;
    give(&chosen, FleetOrder::Abort, (&arguments.how, config)).await
}

pub(in crate::command) async fn approve(
    arguments: ApproveArguments,
    config: Option<&Path>,
) -> Result<(), Failure> {
    if let Some(remote) = arguments.fleet.remote(config)? {
        let wave = arguments.wave.clone().unwrap_or_default();
        return remote.order(What::Approve(wave), &arguments.how).await;
    }
    let chosen = arguments.fleet.open()?;
    let wave = match &arguments.wave {
        None => None,
        Some(wave) => Some(wave_number(&chosen.order, wave)?),
    };
    let order = FleetOrder::Approve { wave };
    give(&chosen, order, (&arguments.how, config)).await
}

pub(in crate::command) async fn retry(
    mut arguments: WhichArguments,
    config: Option<&Path>,
) -> Result<(), Failure> {
    if let Some(remote) = arguments.fleet.remote(config)? {
        let which = remote::members(&arguments.members, arguments.wave.as_deref());
        return remote.order(What::Retry(which), &arguments.how).await;
    }
    let chosen = arguments.fleet.open()?;
    // The failed ones: nobody else is meant.
    arguments.all |= arguments.members.is_empty() && arguments.wave.is_none();
    let which = arguments.which(&chosen.order, "retry")?;
    give(&chosen, FleetOrder::Retry(which), (&arguments.how, config)).await
}

pub(in crate::command) async fn rollback(
    RollbackArguments { force, of }: RollbackArguments,
    config: Option<&Path>,
) -> Result<(), Failure> {
    if let Some(remote) = of.fleet.remote(config)? {
        let mut which = of.meant("roll back")?;
        which.force = force;
        return remote.order(What::Rollback(which), &of.how).await;
    }
    let chosen = of.fleet.open()?;
    let which = of.which(&chosen.order, "roll back")?;
    let order = match force {
        true => FleetOrder::RollBackByForce(which),
        false => FleetOrder::RollBack(which),
    };
    give(&chosen, order, (&of.how, config)).await
}

pub(in crate::command) async fn commit(
    arguments: WhichArguments,
    config: Option<&Path>,
) -> Result<(), Failure> {
    if let Some(remote) = arguments.fleet.remote(config)? {
        let which = arguments.meant("commit")?;
        return remote.order(What::Commit(which), &arguments.how).await;
    }
    let chosen = arguments.fleet.open()?;
    let which = arguments.which(&chosen.order, "commit")?;
    give(&chosen, FleetOrder::Commit(which), (&arguments.how, config)).await
}

/// Gives an order to whoever conducts the fleet, or does what it says.
async fn give(
    chosen: &Chosen,
    order: FleetOrder,
    (how, config): (&HowArguments, Option<&Path>),
) -> Result<(), Failure> {
    let Some(lock) = chosen.folder.lock_or_none().await? else {
        let left = chosen.folder.leave(&order)?;
        taken_up(&left).await?;
        return ordered(
            how,
            "ordered: the process that conducts the fleet has taken it up",
        );
    };
    // What needs no member is not worth looking at all of them.
    let mut place = chosen.folder.place()?;
    let taken = place.take_down(&order);
    if taken.map_err(|refusal| Failure::refused(refusal.to_string()))? {
        chosen.folder.keep(&place)?;
        let run = chosen.command("run");
        return ordered(
            how,
            &format!("written down; no process conducts the fleet: {run}"),
        );
    }
    drop(lock);
    let asked = Asked {
        workers: how.workers(),
        orders: vec![order.clone()],
        only_orders: true,
    };
    let asked = (asked, Given::default());
    let with = (configured(config)?, how.telling(chosen.command("approve")));
    let conducted = Box::pin(conduct(chosen, asked, with)).await;
    // What was ordered and is not done is kept: whoever conducts the fleet next does it.
    let shown = conducted.map_err(|failure| stopped(failure, &chosen.command("run")))?;
    let next = Next {
        run: chosen.command("run"),
        retry: chosen.command("retry"),
        rollback: chosen.command("rollback"),
        status: chosen.command("status"),
    };
    // Others may have failed before: that is not what this order is about.
    let missed = u32::try_from(shown.missed.len()).unwrap_or(u32::MAX);
    how.outcome(&shown, (missed, &what_was_missed(&order, &shown)), &next)
}

/// What has become of those that an order did not bring where it was to.
fn what_was_missed(order: &FleetOrder, shown: &Shown) -> String {
    let is_committed = |member: &&ShownMember| {
        member.state == MemberState::Committed && shown.missed.contains(&member.name)
    };
    match order {
        FleetOrder::Commit(_) => "are not committed".to_owned(),
        order if order.goes_back() => {
            let what = "are not taken back";
            match shown.members.iter().filter(is_committed).count() {
                0 => what.to_owned(),
                count => {
                    format!("{what}: {count} are committed, for which a backup is the way back")
                }
            }
        }
        _ => "failed".to_owned(),
    }
}

fn ordered(how: &HowArguments, text: &str) -> Result<(), Failure> {
    if how.json {
        super::super::database::print_json(&serde_json::json!({"ordered": true}))
    } else {
        print_line(text);
        Ok(())
    }
}

async fn taken_up(left: &Left) -> Result<(), Failure> {
    let watch = Stopwatch::start();
    loop {
        if let Some(answer) = left.answered() {
            return answer;
        }
        if watch.elapsed() > ORDER_PATIENCE {
            return Err(Failure::failed(match left.withdraw() {
                true => {
                    "nobody has taken the order up, and it is withdrawn: whoever conducts the fleet looks at its \
                     databases still, or hangs; give it again when it is under way"
                }
                false => {
                    "the order was being taken up, and nobody knows what became of it: see upshift fleet status, \
                     and give it again where it was not done"
                }
            }));
        }
        tokio::time::sleep(EVERY).await;
    }
}
