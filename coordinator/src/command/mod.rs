//! The subcommands, one file each. What they have in common: how a database is named, how failures
//! become exit codes.

mod bad_data;
mod certs;
mod checkpoints;
mod cluster;
mod commit;
mod compiling;
mod coordinator;
mod database;
mod demo;
mod doctor;
mod driving;
mod events;
mod failure;
mod fleet;
mod group;
mod host;
mod ordering;
mod pack;
mod pause;
mod plan;
mod quarantine;
mod resume;
mod rollback;
mod run;
mod scrape;
mod selection;
mod set;
mod signals;
mod snapshotting;
mod status;
mod steering;
mod verify;
mod worker;
mod workers;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use upshift_shared::{
    Result,
    config::{Config, Environment},
    telemetry::export::{self, Exporting},
};

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
  3  refused: the state of the database or of the run does not allow it; for `verify`: the database is
     not what the run left

Environment: PG* variables, service and password files as in libpq; UPSHIFT_CONFIG; UPSHIFT_LOG
(diagnostics on standard error: error, warn, info, debug, trace), UPSHIFT_LOG_FORMAT=json (as JSON);
OTEL_EXPORTER_OTLP_ENDPOINT (traces go there, by OTLP over gRPC), and OpenTelemetry's other variables.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Compile a pack for a database and show what would be done. Changes nothing
    Plan(plan::Arguments),
    /// Upgrade a database: compile, run on workers, stop before `commit` unless told otherwise
    Run(run::Arguments),
    /// Go on with a run that was paused, stopped, failed or killed
    Resume(resume::Arguments),
    /// Let no new unit of a run begin until it is resumed; from any process and machine
    Pause(pause::Arguments),
    /// Change the number of workers of a run that goes on
    Workers(workers::Arguments),
    /// Change limits of a run that goes on: workers, units at once, thresholds of throttling
    Set(set::Arguments),
    /// Show how a run stands
    Status(status::Arguments),
    /// Show what happened in a run
    Events(events::Arguments),
    /// List where a run can be brought back to, and what that would cost
    Checkpoints(checkpoints::Arguments),
    /// Say whether the database still is what a run left. Changes nothing
    Verify(verify::Arguments),
    /// Take a run back, whole or to a checkpoint
    Rollback(rollback::Arguments),
    /// Close the way back: destroy what was only hidden and what was kept
    Commit(commit::Arguments),
    /// Rows that statements could not work on: list, retry, export
    #[command(subcommand)]
    Quarantine(quarantine::QuarantineCommand),
    /// Work on packs
    #[command(subcommand)]
    Pack(pack::PackCommand),
    /// Be a coordinator of a cluster: lead, or stand by
    Coordinator(coordinator::Arguments),
    /// Run units for the coordinator of a cluster
    Worker(worker::Arguments),
    /// Ask the coordinator of a cluster: submit, status, watch, pause, resume, rollback, commit, workers,
    /// drain, fleets
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Upgrade many databases by one order, in waves: plan, run, status, pause, resume, approve, abort,
    /// retry, rollback, commit, report
    #[command(subcommand)]
    Fleet(fleet::FleetCommand),
    /// Make a CA and certificates for a cluster, to try it with
    Certs(certs::Arguments),
    /// Look at server and database for what would get in a run's way
    Doctor(doctor::Arguments),
    /// Show all of it on a throwaway server with generated data
    Demo(demo::Arguments),
}

impl Cli {
    /// Whether it runs until it is told to stop.
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        matches!(self.command, Command::Coordinator(_) | Command::Worker(_))
    }
}

impl Command {
    /// What it is called in traces; of those that drive runs or hand them in.
    fn service(&self) -> Option<&'static str> {
        match self {
            Self::Coordinator(_) => Some("upshift-coordinator"),
            Self::Worker(_) => Some("upshift-worker"),
            Self::Run(_)
            | Self::Resume(_)
            | Self::Rollback(_)
            | Self::Commit(_)
            | Self::Cluster(cluster::ClusterCommand::Submit(_)) => Some("upshift"),
            Self::Fleet(command) if command.has_runs() => Some("upshift"),
            _ => None,
        }
    }
}

/// Runs a subcommand and gives the exit code.
pub async fn run(cli: Cli) -> u8 {
    let config = cli.config.as_deref();
    let exporting = match cli.command.service() {
        Some(service) => begin_to_trace(config, service),
        None => Ok(None),
    };
    let exporting = match exporting {
        Ok(exporting) => exporting,
        Err(error) => return Failure::from(error).report(false),
    };
    let (json, done) = Box::pin(carry_out(cli.command, config)).await;
    if let Some(exporting) = exporting {
        tokio::task::block_in_place(|| exporting.end());
    }
    match done {
        Ok(()) => 0,
        Err(failure) => failure.report(json),
    }
}

/// Begins to trace, where that is asked for.
fn begin_to_trace(config: Option<&Path>, service: &'static str) -> Result<Option<Exporting>> {
    let environment = Environment::capture();
    // What is wrong with the configuration the command says itself.
    let settings = Config::load(config, &environment).map(|config| config.telemetry);
    export::begin(&settings.unwrap_or_default(), &environment, service)
}

/// Whether failures are told as JSON, and what has become of it.
async fn carry_out(command: Command, config: Option<&Path>) -> (bool, Result<(), Failure>) {
    match command {
        Command::Plan(arguments) => (arguments.json, plan::run(arguments, config).await),
        Command::Run(arguments) => (
            arguments.json(),
            Box::pin(run::run(arguments, config)).await,
        ),
        Command::Resume(arguments) => (
            arguments.json(),
            Box::pin(resume::run(arguments, config)).await,
        ),
        Command::Pause(arguments) => (arguments.json(), pause::run(arguments, config).await),
        Command::Workers(arguments) => (arguments.json(), workers::run(arguments, config).await),
        Command::Set(arguments) => (arguments.json(), set::run(arguments, config).await),
        Command::Status(arguments) => (arguments.json, status::run(arguments, config).await),
        Command::Events(arguments) => (arguments.json, events::run(arguments, config).await),
        Command::Checkpoints(arguments) => {
            (arguments.json, checkpoints::run(arguments, config).await)
        }
        Command::Verify(arguments) => (
            arguments.json,
            Box::pin(verify::run(arguments, config)).await,
        ),
        Command::Rollback(arguments) => (
            arguments.json(),
            Box::pin(rollback::run(arguments, config)).await,
        ),
        Command::Commit(arguments) => (
            arguments.json(),
            Box::pin(commit::run(arguments, config)).await,
        ),
        Command::Quarantine(command) => (
            command.json(),
            Box::pin(quarantine::run(command, config)).await,
        ),
        Command::Pack(command) => (false, pack::run(command)),
        Command::Coordinator(arguments) => {
            (false, Box::pin(coordinator::run(arguments, config)).await)
        }
        Command::Worker(arguments) => (false, Box::pin(worker::run(arguments, config)).await),
        Command::Cluster(command) => (
            command.json(),
            Box::pin(cluster::run(command, config)).await,
        ),
        Command::Fleet(command) => (command.json(), Box::pin(fleet::run(command, config)).await),
        Command::Certs(arguments) => (false, certs::run(&arguments)),
        Command::Doctor(arguments) => (arguments.json, doctor::run(arguments, config).await),
        Command::Demo(arguments) => (false, Box::pin(demo::run(arguments)).await),
    }
}

/// Arguments from words, as a shell would hand them over.
fn parsed<A: clap::Args>(words: &[String]) -> Result<A, Failure> {
    let command = clap::Command::new("order")
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true);
    let matches = A::augment_args(command).try_get_matches_from(words);
    let parsed = matches.and_then(|matches| A::from_arg_matches(&matches));
    parsed.map_err(|error| Failure::usage(error.render().to_string().trim_end().to_owned()))
}
