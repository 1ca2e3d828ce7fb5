//! `upshift demo`: everything at once, on a throwaway server.

use clap::Args;

use super::Failure;
use crate::demo::{self, DemoOptions};

/// `upshift demo`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Rows of the largest table
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    rows: u32,
    /// Workers of the parallel run
    #[arg(long, short, value_name = "N", default_value_t = 4)]
    workers: u32,
    /// Leave the server running until Ctrl-C
    #[arg(long)]
    keep: bool,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let options = DemoOptions {
        rows: arguments.rows,
        workers: arguments.workers,
        keep: arguments.keep,
    };
    Ok(demo::show(&options).await?)
}
