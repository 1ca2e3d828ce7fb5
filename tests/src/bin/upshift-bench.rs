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
    /// Seconds of planning, stage by stage.
    Plan {
        /// Modules of the generated pack.
        #[arg(long, default_value_t = 5_000)]
        modules: u32,
        /// Statements in all.
        #[arg(long, default_value_t = 100_000)]
        statements: u32,
    },
    /// Milliseconds that each unit costs besides its own SQL.
    Overhead {
        /// Tables.
        #[arg(long, default_value_t = 40)]
        tables: u32,
        /// Rows of each.
        #[arg(long, default_value_t = 2_000)]
        rows: u32,
        /// Rows of the first units (they grow).
        #[arg(long, default_value_t = 50)]
        unit_rows: u32,
    },
    /// The demo's upgrade with 1, 2 and 4 workers against one statement after another.
    InPlace {
        /// Rows of the largest table.
        #[arg(long, default_value_t = 1_000_000)]
        rows: u32,
    },
    /// An upgrade of a large table in several ways: psql, chunks, an expert's script, Upshift.
    Rewrite(bench::rewrite::Options),
    /// Databases a minute: a fleet against a loop of psql.
    Fleet(bench::fleet::Options),
    /// Many databases, workers, units and sessions.
    #[command(subcommand)]
    Scale(bench::scale::Scale),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().benchmark {
        Benchmark::Engine {
            units,
            tasks,
            workers,
        } => bench::engine::run(units, tasks, workers),
        Benchmark::Plan {
            modules,
            statements,
        } => bench::plan::run(modules, statements).await,
        Benchmark::Overhead {
            tables,
            rows,
            unit_rows,
        } => bench::overhead::run(tables, rows, unit_rows).await,
        Benchmark::InPlace { rows } => bench::in_place::run(rows).await,
        Benchmark::Rewrite(options) => bench::rewrite::run(&options).await,
        Benchmark::Fleet(options) => bench::fleet::run(&options).await,
        Benchmark::Scale(scale) => bench::scale::run(&scale).await,
    }
}
