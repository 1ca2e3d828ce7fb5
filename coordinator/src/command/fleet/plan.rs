//! `upshift fleet plan FILE`: what every database of a fleet gets, which cannot be upgraded and why, and
//! how long all of it takes. Changes nothing.

mod shown;
mod survey;

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::Args;
use upshift_shared::{
    clock::Stopwatch, config::Config, fleet::FleetFile, ledger::options::RunOptions, pack::Pack,
    plan::Warning,
};

pub(in crate::command) use self::shown::Shown;
use self::survey::Survey;
use super::{
    super::{
        Failure, bad_data, compiling,
        database::{print_json, print_line},
    },
    finding,
    members::{FleetArguments, configured},
    variants::Variants,
};
use crate::{compile::Options, figures, fleet::FleetPlace};

/// How often it is told how far planning is.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// `upshift fleet plan FILE`
#[derive(Debug, Args)]
pub(in crate::command) struct Arguments {
    #[command(flatten)]
    fleet: FleetArguments,
    /// How long it takes with so many workers [default: with one for each database that the caps let be
    /// worked on at once]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    workers: Option<u32>,
    /// Print as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Leave out the table of databases, those apart that cannot be upgraded
    #[arg(long, conflicts_with = "json")]
    brief: bool,
}

pub(in crate::command) async fn run(
    arguments: Arguments,
    config: Option<&Path>,
) -> Result<(), Failure> {
    let shown = match arguments.fleet.remote(config)? {
        Some(remote) => remote.plan(arguments.workers).await?,
        None => Box::pin(own(&arguments, config)).await?,
    };
    if arguments.json {
        print_json(&shown)?;
    } else {
        print_line(shown.text(arguments.brief).trim_end());
    }
    match shown.is_whole() {
        true => Ok(()),
        // It says which.
        false if arguments.json => Err(Failure::silent_failure()),
        false => Err(Failure::failed(
            "not all that [[members]] names could be asked: the plan is not whole",
        )),
    }
}

/// Plans it in this process.
async fn own(arguments: &Arguments, config: Option<&Path>) -> Result<Shown, Failure> {
    let chosen = arguments.fleet.open()?;
    let config = configured(config)?;
    let to_plan = ToPlan {
        pack: compiling::load(&chosen.order.pack)?,
        place: chosen.folder.place()?,
        order: chosen.order,
        workers: arguments.workers,
    };
    let mut told = Stopwatch::start();
    let planned = to_plan.plan(config, |done, all| {
        if !arguments.json && told.elapsed() > TOLD_EVERY {
            told = Stopwatch::start();
            eprintln!(
                "looked at {} of {} databases",
                figures::count(done as u64),
                figures::count(all as u64)
            );
        }
    });
    planned.await
}

/// A fleet that is to be planned, wherever it is at home.
pub(in crate::command) struct ToPlan {
    pub(in crate::command) order: FleetFile,
    pub(in crate::command) pack: Pack,
    pub(in crate::command) place: FleetPlace,
    /// How long it takes with so many.
    pub(in crate::command) workers: Option<u32>,
}

impl ToPlan {
    /// Looks at all its databases. `told` gets the number of those that are done, of all.
    pub(in crate::command) async fn plan(
        self,
        config: Arc<Config>,
        mut told: impl FnMut(usize, usize),
    ) -> Result<Shown, Failure> {
        let Self {
            order,
            pack,
            place,
            workers,
        } = self;
        let (options, remark) = options(&config)?;
        let found = finding::find(&order, Arc::clone(&config)).await?;
        let all = found.members.len();
        let survey = Arc::new(Survey {
            own: finding::Own {
                pack: Some(Arc::from(finding::pack_in_words(&pack))),
                ..finding::Own::of(&order, &place)
            },
            found,
            variants: Variants::for_planning(pack, options, remark),
            snapshot: config.snapshot.clone(),
            sessions: order.caps.looking().max(1),
            modules: Mutex::default(),
        });
        let surveyed = survey.all(|done| told(done, all)).await;
        Ok(Shown::new((&order, workers), surveyed, &survey))
    }
}

/// What all databases of a fleet are compiled with.
pub(in crate::command) fn options(config: &Config) -> Result<(Options, Option<Warning>), Failure> {
    let run = RunOptions {
        on_bad_data: config.run.on_bad_data.unwrap_or_default(),
        ..RunOptions::default()
    };
    let mut options = Options::default();
    let remark = bad_data::heed(&run, &mut options)?;
    Ok((options, remark))
}
