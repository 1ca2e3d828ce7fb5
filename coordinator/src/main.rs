//! The `upshift` command: configuration, telemetry, runtime, then the subcommand.

use std::process::ExitCode;

use clap::Parser;
use upshift_coordinator::command::{self, Cli, Failure};
use upshift_shared::telemetry;

fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::start(cli.is_daemon());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let code = match runtime {
        Ok(runtime) => runtime.block_on(command::run(cli)),
        Err(error) => Failure::failed(format!("cannot start the runtime: {error}")).report(false),
    };
    ExitCode::from(code)
}
