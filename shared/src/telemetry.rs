//! Diagnostics, for those who look into a problem: a log, and traces where they are asked for. What users
//! need is printed by the commands.

pub mod export;
pub mod trace;

use tracing_subscriber::EnvFilter;

/// What is logged where `UPSHIFT_LOG` does not say: of commands errors alone, of what runs for months what
/// it does, too. Of the libraries errors alone: a NOTICE of the server may hold values of users' rows.
const OF_COMMANDS: &str = "error";
const OF_DAEMONS: &str = "error,upshift_coordinator=info,upshift_worker=info,upshift_shared=info";

/// Diagnostics go to standard error. `UPSHIFT_LOG` says how many (`info`, `debug`, or a filter such as
/// `upshift_worker=trace`); `UPSHIFT_LOG_FORMAT=json` makes each a line of JSON. `daemon`: of a process that
/// runs until it is told to stop. To be called once.
pub fn start(daemon: bool) {
    let unsaid = if daemon { OF_DAEMONS } else { OF_COMMANDS };
    let filter = EnvFilter::try_from_env("UPSHIFT_LOG").unwrap_or_else(|_| EnvFilter::new(unsaid));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match std::env::var_os("UPSHIFT_LOG_FORMAT") {
        Some(format) if format == "json" => subscriber.json().flatten_event(true).init(),
        _ => subscriber.init(),
    }
}
