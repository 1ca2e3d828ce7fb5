//! Random runs with faults mixed over them, each from a seed: see `upshift_tests::faults::walk`. More of them:
//!
//! ```text
//! UPSHIFT_FIRST=1 UPSHIFT_CASES=500 target/debug/upshift-test-server \
//!     cargo test -p upshift-tests --test fault_runs -- --nocapture
//! ```
//!
//! `UPSHIFT_SEED=n` runs one again. Choices come from the seed; what is under way at the instant of a fault
//! does not, so a failure prints its orders, faults and the whole case.

use anyhow::{Result, ensure};
use upshift_tests::{
    faults::{Went, walk},
    harness::Server,
    seeds,
};

/// Cases that run of themselves.
const CASES: u64 = 6;

/// So many failures are enough: the server may be gone.
const ENOUGH: usize = 10;

#[tokio::test]
async fn random_runs_come_to_the_same_end() -> Result<()> {
    let seeds = seeds(1..CASES + 1);
    let count = seeds.end - seeds.start;
    let server = Server::own()?;
    let (mut ended, mut none) = (0, 0);
    let mut failures = Vec::new();
    for seed in seeds {
        match walk(seed, server).await {
            Ok(went) => {
                println!("seed {seed}: {went:?}");
                match went {
                    Went::NoCase => none += 1,
                    Went::Committed | Went::Back => ended += 1,
                }
            }
            Err(error) => {
                println!("seed {seed}: FAILED: {error:#}");
                failures.push(format!("UPSHIFT_SEED={seed}: {error:#}"));
            }
        }
        if failures.len() >= ENOUGH {
            break;
        }
    }
    println!(
        "{ended} of {count} runs came to their end, {none} had no plan, {} failed",
        failures.len()
    );
    ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
    ensure!(
        count < 5 || ended * 2 > count,
        "only {ended} of {count} runs ran"
    );
    Ok(())
}
