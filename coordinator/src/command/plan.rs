//! `upshift plan`: compiles, prints, changes nothing.

use std::path::Path;

use clap::{Args, ValueEnum};
use upshift_shared::plan::Warning;

use super::{
    Failure,
    compiling::{self, PackArguments, Sources},
    database::{DatabaseArguments, print_json, print_line},
    group::{self, GroupArguments},
    snapshotting,
};
use crate::compile::{self, analyse, optimise, order, resolve};

/// Columns of the printed plan; long labels and reasons are cut there. Fixed, so that plans can be
/// compared.
pub(super) const WIDTH: usize = 120;

/// `upshift plan PACK`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pack: PackArguments,
    #[command(flatten)]
    group: GroupArguments,
    #[command(flatten)]
    database: DatabaseArguments,
    /// Print as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Print the tasks as a graph for Graphviz
    #[arg(long, conflicts_with_all = ["json", "group"])]
    dot: bool,
    /// Print the result of this stage of the compiler
    #[arg(long, value_enum, default_value_t = Stage::Physical, conflicts_with_all = ["dot", "group"])]
    stage: Stage,
}

/// `--stage`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// Modules, versions, and the steps in the order of psql
    Resolve,
    /// What each statement reads and writes, and what it may be subjected to
    Analyse,
    /// What must come before what, and why
    Order,
    /// Which statements on a table become one pass, at what cost, and which do not
    Optimise,
    /// The tasks, how each is done and taken back
    Physical,
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> Result<(), Failure> {
    if let Some(file) = &arguments.group.group {
        return group::plan::run(file, &arguments.pack, arguments.json, config).await;
    }
    let pack = compiling::load(&arguments.pack.pack)?;
    let chosen = arguments.database.resolve(config)?;
    let mut conn = chosen.connect("plan").await?;
    let sources = compiling::read(&mut conn, pack, &arguments.pack).await?;
    let settings = &chosen.config.snapshot;
    let snapshot = snapshotting::request(&mut conn, arguments.pack.snapshot, settings).await?;
    if arguments.stage != Stage::Physical {
        return print_stage(sources, &arguments);
    }
    let options = compile::Options {
        snapshot,
        ..sources.options(&arguments.pack)
    };
    let mut plan = compiling::compile(sources, &options)?;
    let of_plan = (&plan, settings);
    if let Some(why) = snapshotting::obstacle(&mut conn, &chosen.target, of_plan).await? {
        plan.warnings.push(Warning {
            source: None,
            message: format!("the snapshot that was asked for cannot be taken here: {why}"),
        });
    }
    drop(conn);
    if arguments.json {
        return print_json(&plan);
    }
    let text = if arguments.dot {
        compile::render::dot(&plan)
    } else {
        compile::render::tree(&plan, WIDTH)
    };
    print_line(text.trim_end());
    if !arguments.dot {
        let verify = chosen.config.run.verify.unwrap_or_default();
        let verified = super::run::verification(&plan, &options.rates, verify);
        verified.iter().for_each(|line| print_line(line));
    }
    Ok(())
}

fn print_stage(sources: Sources, arguments: &Arguments) -> Result<(), Failure> {
    let options = sources.options(&arguments.pack);
    let resolved = resolve::resolve(&sources.pack, &sources.installed)?;
    if arguments.stage == Stage::Resolve {
        return match arguments.json {
            true => print_json(&resolved),
            false => print_text(&compile::render::stage_resolved(&resolved)),
        };
    }
    let analysis = analyse::analyse(&resolved, sources.catalog, &options)?;
    if arguments.stage == Stage::Analyse {
        return match arguments.json {
            true => print_json(&analysis),
            false => print_text(&compile::render::stage_analysis(&analysis)),
        };
    }
    let ordered = order::order(&analysis, &resolved, options.strategy);
    if arguments.stage == Stage::Optimise {
        let optimised = optimise::optimise(&analysis, &ordered, &options);
        return match arguments.json {
            true => print_json(&optimised),
            false => print_text(&compile::render::stage_optimised(&optimised, &analysis)),
        };
    }
    match arguments.json {
        true => print_json(&ordered),
        false => print_text(&compile::render::stage_ordered(&ordered, &analysis)),
    }
}

fn print_text(text: &str) -> Result<(), Failure> {
    print_line(text.trim_end());
    Ok(())
}
