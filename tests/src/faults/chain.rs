//! Every point that is passed on a way, each killed at once: one database dies at point after point, as
//! long as one follows the other, and arrives all the same.

use anyhow::{Context, Result, ensure};

use super::{
    trace::{Pass, Way},
    world::{Ready, go_on},
};

/// Kills a case at every point that it passes on a way; how often.
///
/// # Errors
/// Where a point is not reached, or the database is not where it has to be.
pub async fn killed_at_every_point(ready: &Ready, way: Way) -> Result<usize> {
    let mut pending: Vec<Pass> = ready.on(way).to_vec();
    let all = pending.len();
    while !pending.is_empty() {
        let (database, first) = ready.set_out(way)?;
        let mut command = Some(first);
        let mut dead = Vec::new();
        let mut left = Vec::new();
        let mut arrived = false;
        for pass in pending {
            if arrived {
                left.push(pass);
                continue;
            }
            let command = command.take().unwrap_or_else(|| go_on(way, &database));
            let outcome = command
                .variable("UPSHIFT_FAILPOINT", &pass.to_string())
                .run()?;
            if outcome.code.is_none() {
                dead.push(pass.to_string());
                continue;
            }
            // It was behind it already: the order of what runs at once is not always the same.
            outcome
                .expect_code(0)
                .with_context(|| format!("{way}, {pass}, after {dead:?}"))?;
            arrived = true;
            left.push(pass);
        }
        ensure!(
            !dead.is_empty(),
            "{}, {way}: it does not come to {}",
            ready.case.name,
            left[0]
        );
        go_on(way, &database)
            .succeed()
            .with_context(|| format!("{way}, dead at {dead:?}"))?;
        let what = format!("{}, {way}, dead at {}", ready.case.name, dead.join(", "));
        ready.expect_arrived(way, &database, &what).await?;
        pending = left;
    }
    Ok(all)
}
