//! The `upshift` command: configuration, telemetry, runtime, then the subcommand.

use std::process::ExitCode;

use clap::Parser;
use upshift_coordinator::command::{self, Cli, Failure};

fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let code = match runtime {
        Ok(runtime) => runtime.block_on(command::run(cli)),
        Err(error) => Failure::failed(format!("cannot start the runtime: {error}")).report(false),
    };
    ExitCode::from(code)
}

/// Diagnostics go to standard error, and only where `UPSHIFT_LOG` asks for them (`info`, `debug`, or
/// a filter such as `upshift_worker=trace`); what users need is printed by the commands themselves.
fn telemetry() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("UPSHIFT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
