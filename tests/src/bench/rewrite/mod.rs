//! What the rewrite compiler gains: one upgrade of a large table done four ways in one run, on copies of
//! one database: by `psql`, cut into chunks in place, by an expert's hand-written script, by `upshift run`.
//! Each has to leave the same database, and a rollback the one there was, or the benchmark fails.

mod by_hand;
mod case;
mod folder;
mod journal;
mod measure;
mod picture;
mod report;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

pub use case::Case;
use case::Way;

/// `upshift-bench rewrite`
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Which cases; several with commas.
    #[arg(
        long = "case",
        value_enum,
        value_delimiter = ',',
        default_value = "base"
    )]
    cases: Vec<Case>,
    /// Only these ways; several with commas [default: all that the case has].
    #[arg(long, value_enum, value_delimiter = ',')]
    ways: Vec<Way>,
    /// Rows of the journal's lines [default: 3000000; of toast: 600000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(100..=100_000_000))]
    rows: Option<u32>,
    /// Size of the Odoo database, in hundredths of 3 million journal items.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    scale: u32,
    /// How often each way is measured; the median counts.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Workers of Upshift. The expert's script has two connections.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: u32,
    /// Writes a picture of the medians.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Writes all that was measured.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measures the cases one after another, prints a table of each, and writes picture and figures.
///
/// # Errors
/// Where one of the ways fails, or leaves another database than the others.
pub async fn run(options: &Options) -> Result<()> {
    let mut all = Vec::new();
    for case in Case::several(&options.cases) {
        // None: what it needs is not there, which has been said.
        let Some(prepared) = case.prepare(options).await? else {
            continue;
        };
        let measured = measure::measure(&prepared, options).await?;
        println!("{}", report::table(&measured));
        all.push(measured);
    }
    if let Some(file) = &options.svg {
        std::fs::write(file, picture::draw(&all))
            .with_context(|| format!("writing {}", file.display()))?;
    }
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&report::json(&all, options))?;
        std::fs::write(file, text + "\n").with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}
