//! Starts one throwaway PostgreSQL cluster, runs a command with its URL in the environment, and stops
//! the cluster when the command ends, however it ends: `upshift-test-server cargo nextest run`.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use upshift_coordinator::demo::cluster::Cluster;
use upshift_tests::harness::{SERVER_VARIABLE, Server};

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments
        .next()
        .context("usage: upshift-test-server COMMAND [ARGUMENT]…")?;
    let cluster = Cluster::start(&Server::options())?;
    let status = Command::new(&program)
        .args(arguments)
        .env(SERVER_VARIABLE, cluster.url("postgres"))
        .env("UPSHIFT_PG_BIN", cluster.binaries())
        .status()
        .with_context(|| format!("starting {}", program.display()))?;
    drop(cluster);
    // 128 and above stand for a signal, as in a shell.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(130)))
}
