//! `upshift fleet status FILE`: how a fleet stands, as whoever conducts it tells, else by the ledgers.

use std::{path::Path, time::Duration};

use clap::Args;
use upshift_shared::clock;

use super::{
    super::{
        Failure,
        database::{print_json, print_line},
    },
    members::{Chosen, FleetArguments, Surveyed, configured, survey},
    shown::{Shown, in_words},
};
use crate::fleet::Fleet;

/// How often it is looked anew with `--watch`.
const EVERY: Duration = Duration::from_secs(1);

/// `upshift fleet status FILE`
#[derive(Debug, Args)]
pub(in crate::command) struct Arguments {
    #[command(flatten)]
    fleet: FleetArguments,
    /// Every database, not only those that are at work or that something is to be said of
    #[arg(long)]
    all: bool,
    /// Show it again whenever it has changed, until no process conducts the fleet
    #[arg(long)]
    watch: bool,
    /// Print as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(in crate::command) async fn run(
    arguments: Arguments,
    config: Option<&Path>,
) -> Result<(), Failure> {
    if let Some(remote) = arguments.fleet.remote(config)? {
        let how = (arguments.all, arguments.watch, arguments.json);
        return remote.status(how).await;
    }
    let chosen = arguments.fleet.open()?;
    let mut last = String::new();
    while arguments.watch
        && let Some(shown) = told(&chosen)?
    {
        let line = format!("{}: {}", shown.standing, in_words(&shown.states));
        if line != last {
            match arguments.json {
                true => print_line(&serde_json::to_string(&shown).expect("it is plain data")),
                false => print_line(&line),
            }
            last = line;
        }
        tokio::time::sleep(EVERY).await;
    }
    let shown = match told(&chosen)? {
        Some(shown) => shown,
        None => by_ledgers(&chosen, config).await?,
    };
    if arguments.json {
        return print_json(&shown);
    }
    print_line(shown.text(arguments.all).trim_end());
    Ok(())
}

/// What whoever conducts the fleet tells; `None` where nobody does.
fn told(chosen: &Chosen) -> Result<Option<Shown>, Failure> {
    match chosen.folder.try_lock()? {
        Some(_) => Ok(None),
        None => {
            let told: Option<Shown> = chosen.folder.told();
            // It may be looking at its members still.
            Ok(told.filter(|shown| shown.conducted))
        }
    }
}

/// How it stands by the ledgers of its members, and its place.
async fn by_ledgers(chosen: &Chosen, config: Option<&Path>) -> Result<Shown, Failure> {
    let Surveyed {
        members, unasked, ..
    } = Box::pin(survey(
        (&chosen.order, &chosen.folder),
        configured(config)?,
        false,
    ))
    .await?;
    for unasked in unasked {
        eprintln!(
            "upshift: warning: {} cannot be had: {}",
            unasked.source, unasked.why
        );
    }
    let (place, now) = (chosen.folder.place()?, clock::since_epoch());
    let fleet = Fleet::new(chosen.order.clone(), members, place, now);
    Ok(Shown::of(&fleet, now, false))
}
