//! `upshift fleet status FILE`: how a fleet stands, as whoever conducts it tells, else by the ledgers.

use std::{path::Path, time::Duration};

use clap::Args;
use upshift_shared::clock;

use super::{
    super::{
        Failure,
        database::{print_json, print_line},
    },
    members::{Chosen, FleetArguments, For, Surveyed, configured, survey},
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
    if arguments.watch {
        watch(&chosen, arguments.json).await?;
    }
    let shown = match told(&chosen).await? {
        Told::Stands(shown) => *shown,
        Told::Looking => by_ledgers(&chosen, config, true).await?,
        Told::Nothing => by_ledgers(&chosen, config, false).await?,
    };
    if arguments.json {
        return print_json(&shown);
    }
    print_line(shown.text(arguments.all).trim_end());
    Ok(())
}

/// Shows it whenever it has changed, until nobody conducts the fleet.
async fn watch(chosen: &Chosen, json: bool) -> Result<(), Failure> {
    let mut last = String::new();
    loop {
        match told(chosen).await? {
            Told::Nothing => return Ok(()),
            Told::Looking => {}
            Told::Stands(shown) => {
                let line = format!("{}: {}", shown.standing, in_words(&shown.states));
                if line != last {
                    match json {
                        true => {
                            print_line(&serde_json::to_string(&shown).expect("it is plain data"));
                        }
                        false => print_line(&line),
                    }
                    last = line;
                }
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// What whoever conducts the fleet tells.
enum Told {
    /// Nobody does.
    Nothing,
    /// It looks at its members still.
    Looking,
    Stands(Box<Shown>),
}

async fn told(chosen: &Chosen) -> Result<Told, Failure> {
    if chosen.folder.is_free().await? {
        return Ok(Told::Nothing);
    }
    let told: Option<Box<Shown>> = chosen.folder.told();
    let told = told.filter(|shown| shown.conducted);
    Ok(told.map_or(Told::Looking, Told::Stands))
}

/// How it stands by the ledgers of its members, and its place.
async fn by_ledgers(
    chosen: &Chosen,
    config: Option<&Path>,
    conducted: bool,
) -> Result<Shown, Failure> {
    let place = chosen.folder.place()?;
    let Surveyed {
        members,
        unasked,
        incomplete,
        ..
    } = Box::pin(survey(
        (&chosen.order, &chosen.folder),
        configured(config)?,
        (&place, For::Status),
    ))
    .await?;
    for unasked in unasked {
        eprintln!(
            "upshift: warning: {} cannot be had: {}",
            unasked.source, unasked.why
        );
    }
    let now = clock::since_epoch();
    let mut fleet = Fleet::new(chosen.order.clone(), members, place, now);
    if incomplete {
        fleet.miss_members();
    }
    Ok(match conducted {
        true => Shown::of(&fleet, now, true),
        false => Shown::at_rest(fleet, now),
    })
}
