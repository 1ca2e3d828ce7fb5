//! Clusters on hosts of their own under sequences of faults. CI runs a dozen; a command runs more:
//!
//! ```text
//! UPSHIFT_FIRST=1 UPSHIFT_CASES=200 target/debug/upshift-test-server \
//!     cargo test -p upshift-tests --test chaos -- --exact sequences_come_to_the_same_end --nocapture
//! ```
//!
//! `UPSHIFT_SEED=n` runs one again.

use std::ops::Range;

use anyhow::{Result, bail, ensure};
use upshift_tests::{
    chaos::{Expected, sequence},
    seeds,
};

async fn come_to_the_same_end(seeds: Range<u64>) -> Result<()> {
    let expected = Expected::new().await?;
    let (mut failed, mut in_time) = (Vec::new(), 0);
    for seed in seeds.clone() {
        println!("UPSHIFT_SEED={seed}");
        match sequence(seed, &expected).await {
            Ok(Some(faults)) => {
                println!("{seed} came to its end: {faults:?}");
                in_time += faults.in_time;
            }
            // Said loudly by whoever looked for hosts.
            Ok(None) => return Ok(()),
            Err(error) => {
                println!("{seed} failed: {error:#}");
                failed.push(seed);
            }
        }
    }
    if !failed.is_empty() {
        bail!("of {seeds:?} these failed: {failed:?}");
    }
    ensure!(in_time > 0, "no fault met a run that was going on");
    Ok(())
}

#[tokio::test]
async fn sequences_come_to_the_same_end() -> Result<()> {
    come_to_the_same_end(seeds(1..4)).await
}

#[tokio::test]
async fn so_does_a_second() -> Result<()> {
    come_to_the_same_end(4..7).await
}

#[tokio::test]
async fn so_does_a_third() -> Result<()> {
    come_to_the_same_end(7..10).await
}

#[tokio::test]
async fn so_does_a_fourth() -> Result<()> {
    come_to_the_same_end(10..13).await
}
