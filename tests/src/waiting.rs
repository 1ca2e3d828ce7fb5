//! Waiting for a state: looked at again and again, until a deadline.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::timeout;
use upshift_shared::clock::Stopwatch;

/// Between two looks.
const AGAIN: Duration = Duration::from_millis(100);

/// Returns when it is so.
///
/// # Errors
/// Where it is not within `deadline`, or cannot be looked at.
pub fn eventually(
    what: &str,
    deadline: Duration,
    mut holds: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let begun = Stopwatch::start();
    while !holds()? {
        if begun.elapsed() > deadline {
            bail!("{what}: not within {deadline:?}");
        }
        std::thread::sleep(AGAIN);
    }
    Ok(())
}

/// The same, where looking is asynchronous. A look that hangs counts too.
///
/// # Errors
/// Where it is not within `deadline`, or cannot be looked at.
pub async fn eventually_async(
    what: &str,
    deadline: Duration,
    mut holds: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let waited = timeout(deadline, async {
        while !holds().await? {
            tokio::time::sleep(AGAIN).await;
        }
        Ok(())
    });
    waited
        .await
        .unwrap_or_else(|_| bail!("{what}: not within {deadline:?}"))
}
