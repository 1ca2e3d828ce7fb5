//! `upshift fleet plan FILE`: what every database of a fleet gets, which cannot be upgraded and why, and
//! how long all of it takes. Changes nothing.

mod shown;
mod survey;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::Args;
use upshift_shared::{
    clock::Stopwatch,
    config::{Config, Environment},
    fleet::FleetFile,
    ledger::options::RunOptions,
    plan::Warning,
};

use self::{shown::Shown, survey::Survey};
use super::{
    super::{
        Failure, bad_data, compiling,
        database::{print_json, print_line},
    },
    finding,
    folder::Folder,
    variants::Variants,
};
use crate::{compile::Options, figures};

/// How often it is told how far planning is.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// `upshift fleet plan FILE`
#[derive(Debug, Args)]
pub(in crate::command) struct Arguments {
    /// The order: fleet.toml
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The folder in which the fleet keeps its place [default: .upshift/fleets/NAME beside the file]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
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
    let wrong = |error: upshift_shared::Error| Failure::usage(error.to_string());
    let file = FleetFile::load(&arguments.file).map_err(wrong)?;
    let config = Config::load(config, &Environment::capture()).map_err(wrong)?;
    let config = Arc::new(config);
    let pack = compiling::load(&file.pack)?;
    let (options, remark) = options(&config)?;
    let place = Folder::of(&arguments.file, &file.name, arguments.state.as_deref()).place()?;
    let found = finding::find(&file, Arc::clone(&config)).await?;
    let all = found.members.len();
    let survey = Arc::new(Survey {
        own: finding::Own {
            pack: Some(Arc::from(finding::pack_in_words(&pack))),
            ..finding::Own::of(&file, &place)
        },
        found,
        variants: Variants::for_planning(pack, options, remark),
        snapshot: config.snapshot.clone(),
        sessions: file.caps.looking().max(1),
        modules: Mutex::default(),
    });
    let mut told = Stopwatch::start();
    let surveyed = survey.all(|done| {
        if !arguments.json && told.elapsed() > TOLD_EVERY {
            told = Stopwatch::start();
            let of = figures::count(all as u64);
            eprintln!(
                "looked at {} of {of} databases",
                figures::count(done as u64)
            );
        }
    });
    let surveyed = surveyed.await;
    let shown = Shown::new((&file, arguments.workers), surveyed, &survey);
    if arguments.json {
        print_json(&shown)?;
    } else {
        print_line(shown.text(arguments.brief).trim_end());
    }
    match survey.found.unasked.len() {
        0 => Ok(()),
        // It says which.
        _ if arguments.json => Err(Failure::silent_failure()),
        _ => Err(Failure::failed(
            "not all that [[members]] names could be asked: the plan is not whole",
        )),
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
