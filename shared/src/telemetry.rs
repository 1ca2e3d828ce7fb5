//! Diagnostics, for those who look into a problem. What users need is printed by the commands.

use tracing_subscriber::EnvFilter;

/// Diagnostics go to standard error, and only where `UPSHIFT_LOG` asks for them (`info`, `debug`, or
/// a filter such as `upshift_worker=trace`). To be called once.
pub fn start() {
    let filter = EnvFilter::try_from_env("UPSHIFT_LOG").unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
