//! Clusters on hosts of their own under sequences of faults. CI runs a few; a command runs more:
//!
//! ```text
//! UPSHIFT_FIRST=1 UPSHIFT_CASES=200 target/debug/upshift-test-server \
//!     cargo test -p upshift-tests --test chaos -- --exact sequences_come_to_the_same_end --nocapture
//! ```
//!
//! `UPSHIFT_SEED=n` runs one again.

use anyhow::{Result, bail};
use upshift_tests::chaos::{Expected, sequence};

/// So many in CI.
const CASES: u64 = 4;

fn number(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::test]
async fn sequences_come_to_the_same_end() -> Result<()> {
    let (first, cases) = match std::env::var("UPSHIFT_SEED") {
        Ok(seed) => (seed.parse()?, 1),
        Err(_) => (number("UPSHIFT_FIRST", 1), number("UPSHIFT_CASES", CASES)),
    };
    let expected = Expected::new().await?;
    let mut failed = Vec::new();
    for seed in first..first + cases {
        match sequence(seed, &expected).await {
            Ok(true) => println!("{seed} came to its end"),
            // Said loudly by whoever looked for hosts.
            Ok(false) => return Ok(()),
            Err(error) => {
                println!("{seed} failed: {error:#}");
                failed.push(seed);
            }
        }
    }
    if !failed.is_empty() {
        bail!("of {cases} sequences these failed: {failed:?}");
    }
    Ok(())
}
