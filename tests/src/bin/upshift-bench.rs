//! The benchmarks that README shows. A command, not tests: timings never decide a test.

use clap::{Parser, Subcommand};
use upshift_tests::bench;

/// Benchmarks of Upshift; run with `--release`.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Debug, Subcommand)]
enum Benchmark {
    /// Units a second, and memory, of the engine alone.
    Engine {
        /// Units of the one large task.
        #[arg(long, default_value_t = 1_000_000)]
        units: u32,
        /// Tasks of the run that has many.
        #[arg(long, default_value_t = 100_000)]
        tasks: u32,
        /// Workers, with 4 slots each.
        #[arg(long, default_value_t = 16)]
        workers: u32,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().benchmark {
        Benchmark::Engine {
            units,
            tasks,
            workers,
        } => bench::engine::run(units, tasks, workers),
    }
}
