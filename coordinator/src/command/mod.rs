//! The subcommands, one file each. What they have in common: how a database is named, how failures
//! become exit codes.

mod commit;
mod compiling;
mod database;
mod demo;
mod doctor;
mod driving;
mod failure;
mod ordering;
mod pack;
mod plan;
mod resume;
mod rollback;
mod run;
mod selection;
mod snapshotting;
mod status;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub use failure::Failure;

/// Upgrades PostgreSQL databases: compiles packs of plain SQL migrations, runs them on many workers,
/// and brings the database back until you commit.
#[derive(Debug, Parser)]
#[command(name = "upshift", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// Configuration file [default: $UPSHIFT_CONFIG, ./upshift.toml, ~/.config/upshift/upshift.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed or stopped; nothing is half done, and what was begun can be resumed
  2  usage, configuration, or the pack: nothing was touched
  3  refused: the state of the database or of the run does not allow it

Environment: PG* variables, service and password files as in libpq; UPSHIFT_CONFIG; UPSHIFT_LOG
(diagnostics on standard error: error, warn, info, debug, trace).";

#[derive(Debug, Subcommand)]
enum Command {
    /// Compile a pack for a database and show what would be done. Changes nothing
    Plan(plan::Arguments),
    /// Upgrade a database: compile, run on workers, stop before `commit` unless told otherwise
    Run(run::Arguments),
    /// Go on with a run that was stopped, failed or killed
    Resume(resume::Arguments),
    /// Show how a run stands
    Status(status::Arguments),
    /// Take a run back, whole or to a checkpoint
    Rollback(rollback::Arguments),
    /// Close the way back: destroy what was only hidden and what was kept
    Commit(commit::Arguments),
    /// Work on packs
    #[command(subcommand)]
    Pack(pack::PackCommand),
    /// Look at server and database for what would get in a run's way
    Doctor(doctor::Arguments),
    /// Show all of it on a throwaway server with generated data
    Demo(demo::Arguments),
}

/// Runs a subcommand and gives the exit code.
pub async fn run(cli: Cli) -> u8 {
    let config = cli.config.as_deref();
    let (json, done) = match cli.command {
        Command::Plan(arguments) => (arguments.json, plan::run(arguments, config).await),
        Command::Run(arguments) => (
            arguments.json(),
            Box::pin(run::run(arguments, config)).await,
        ),
        Command::Resume(arguments) => (
            arguments.json(),
            Box::pin(resume::run(arguments, config)).await,
        ),
        Command::Status(arguments) => (arguments.json, status::run(arguments, config).await),
        Command::Rollback(arguments) => (
            arguments.json(),
            Box::pin(rollback::run(arguments, config)).await,
        ),
        Command::Commit(arguments) => (
            arguments.json(),
            Box::pin(commit::run(arguments, config)).await,
        ),
        Command::Pack(command) => (false, pack::run(command)),
        Command::Doctor(arguments) => (arguments.json, doctor::run(arguments, config).await),
        Command::Demo(arguments) => (false, Box::pin(demo::run(arguments)).await),
    };
    match done {
        Ok(()) => 0,
        Err(failure) => failure.report(json),
    }
}
