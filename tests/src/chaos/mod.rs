//! A cluster on hosts of its own, and what can happen to it: sequences of faults from a seed, after which a
//! run has to have come to the end that it would have had without them.

mod fault;
mod world;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    compare::{self, Snapshot},
    harness::Database,
    oracle, small_erp,
};

pub use fault::Fault;
pub use world::World;

/// Faults of a sequence.
const FAULTS: std::ops::RangeInclusive<u32> = 2..=4;
/// A run that has failed for a fault is resumed so often.
const RESUMES: u32 = 8;

/// The databases that results are compared with.
pub struct Expected {
    before: Snapshot,
    upgraded: Database,
}

impl Expected {
    /// Of the small ERP.
    ///
    /// # Errors
    /// Where the server says no.
    pub async fn new() -> Result<Self> {
        let database = small_erp::database().await?;
        let before = Snapshot::take(&database).await?;
        oracle::upgrade(&database, &small_erp::pack()).await?;
        Ok(Self {
            before,
            upgraded: database,
        })
    }
}

/// The faults of a sequence that came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// All of them.
    pub all: u32,
    /// Those that met a run that was going on.
    pub in_time: u32,
}

/// One sequence: a run, faults while it goes on, then all is mended, and the run comes to its end; or is
/// taken back, where the seed says so. `None` where hosts cannot be had here.
///
/// # Errors
/// Where it comes to another end, or to none in time, with what has happened.
pub async fn sequence(seed: u64, expected: &Expected) -> Result<Option<Faults>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let Some(mut world) = World::or_skip()? else {
        return Ok(None);
    };
    let mut story = Vec::new();
    let told = tell(&mut world, &mut rng, expected, &mut story).await;
    let faults = told.with_context(|| {
        format!(
            "UPSHIFT_SEED={seed}: {}\n{}",
            story.join("; "),
            world.said()
        )
    })?;
    Ok(Some(faults))
}

async fn tell(
    world: &mut World,
    rng: &mut StdRng,
    expected: &Expected,
    story: &mut Vec<String>,
) -> Result<Faults> {
    let run = world.submit(&["--unit-rows", "20"])?;
    let mut faults = Faults { all: 0, in_time: 0 };
    for _ in 0..rng.random_range(FAULTS) {
        std::thread::sleep(Duration::from_millis(rng.random_range(50..900)));
        let fault = Fault::of(rng);
        let goes_on = world.goes_on();
        faults.all += 1;
        faults.in_time += u32::from(goes_on);
        story.push(format!("{fault:?}{}", if goes_on { "" } else { " (late)" }));
        world.befall(&fault)?;
        std::thread::sleep(Duration::from_millis(rng.random_range(200..3_000)));
        if rng.random_bool(0.7) {
            story.push("mended".to_owned());
            world.mend()?;
        }
    }
    story.push("all is mended".to_owned());
    world.mend()?;
    let back = rng.random_bool(0.3);
    if back {
        story.push("taken back".to_owned());
        world.operator(&["rollback", &run])?;
    }
    let goal = if back { "rolled_back" } else { "prepared" };
    let mut resumes = 0;
    loop {
        let status = world.settled(&run)?;
        if status["state"] == goal {
            break;
        }
        resumes += 1;
        ensure!(resumes <= RESUMES, "it is not {goal}: {status}");
        story.push(format!("resumed from {status}"));
        world.operator(&["resume", &run])?;
    }
    if back {
        let found = Snapshot::take(&world.copy()?).await?;
        expected.before.expect_same(&found, "taken back")?;
        return Ok(faults);
    }
    world.operator(&["commit", &run])?;
    let status = world.settled(&run)?;
    ensure!(status["state"] == "committed", "{status}");
    compare::expect_same(&expected.upgraded, &world.copy()?, "committed").await?;
    Ok(faults)
}
