//! kill -9 at any instant: a run goes on to the same end, a rollback to the same start.

use anyhow::{Context, Result, ensure};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use upshift_tests::{
    compare::Snapshot,
    harness::{Database, Running, Upshift},
    oracle, small_erp,
};
use upshift_worker::failpoint;

/// Seeds the instants. A failure names the instant; the same seed gives the same ones.
const SEED: u64 = 0x5eed_0002;

/// So many instants for a run, and as many for a rollback.
const INSTANTS: usize = 25;

/// The units are small, so that there are many.
const RUN: [&str; 5] = ["--workers", "4", "--unit-rows", "100", "--json"];

/// `--passes`: rows changed in place, and tables built anew wherever that can be.
const IN_PLACE: &str = "in-place";
const SHADOW: &str = "shadow";

fn run(database: &Database, passes: &str) -> Upshift {
    Upshift::on(database, ["run"])
        .argument(small_erp::pack())
        .arguments(&RUN)
        .arguments(&["--passes", passes])
}

/// When a process is killed: after this many lines of progress, and a little later.
#[derive(Debug, Clone, Copy)]
struct Instant {
    line: usize,
    spin: u32,
}

impl Instant {
    /// A line below `lines`, and up to some milliseconds after it: a unit of these takes about one.
    fn random(random: &mut StdRng, lines: usize) -> Self {
        Self {
            line: random.random_range(0..lines),
            spin: random.random_range(0..200_000),
        }
    }

    /// Whether the process was still at it.
    fn kill(self, mut running: Running) -> Result<bool> {
        let mut alive = true;
        for _ in 0..self.line {
            alive = running.next_line()?.is_some();
        }
        for _ in 0..self.spin {
            std::hint::spin_loop();
        }
        running.kill()?;
        Ok(alive)
    }
}

/// The database after a run that nobody killed, committed; and how many lines that run printed.
async fn uninterrupted(start: &Database, passes: &str) -> Result<(Snapshot, usize)> {
    let database = start.copy()?;
    let outcome = run(&database, passes).succeed()?;
    Upshift::on(&database, ["commit"]).succeed()?;
    let naive = start.copy()?;
    oracle::upgrade(&naive, &small_erp::pack()).await?;
    upshift_tests::compare::expect_same(&database, &naive, "not even uninterrupted").await?;
    let lines = outcome.stdout.lines().count();
    ensure!(
        lines > 100,
        "only {lines} lines of progress: the units are too large"
    );
    Ok((Snapshot::take(&database).await?, lines))
}

async fn killed_run(passes: &str) -> Result<()> {
    let start = small_erp::database().await?;
    let (end, lines) = uninterrupted(&start, passes).await?;
    let mut random = StdRng::seed_from_u64(SEED);
    for number in 0..INSTANTS {
        let instant = Instant::random(&mut random, lines);
        let what = format!("instant {number}: {instant:?} of {lines} lines");
        let database = start.copy()?;
        instant
            .kill(run(&database, passes).start()?)
            .context(what.clone())?;
        go_on(&database, passes).context(what.clone())?;
        Upshift::on(&database, ["commit"])
            .succeed()
            .context(what.clone())?;
        Snapshot::take(&database).await?.expect_same(&end, &what)?;
    }
    Ok(())
}

/// Killed before it had begun, there is nothing to resume: it is simply run.
fn go_on(database: &Database, passes: &str) -> Result<()> {
    let begun = database
        .psql("SELECT to_regclass('upshift.run') IS NOT NULL")?
        .trim()
        == "t"
        && !database
            .psql("SELECT run FROM upshift.run")?
            .trim()
            .is_empty();
    if begun {
        Upshift::on(database, ["resume"]).succeed()?;
    } else {
        run(database, passes).succeed()?;
    }
    Ok(())
}

async fn killed_again_and_again(passes: &str) -> Result<()> {
    let start = small_erp::database().await?;
    let (end, lines) = uninterrupted(&start, passes).await?;
    let mut random = StdRng::seed_from_u64(SEED + 1);
    let database = start.copy()?;
    Instant::random(&mut random, lines / 3).kill(run(&database, passes).start()?)?;
    for number in 0..6 {
        let begun = database
            .psql("SELECT to_regclass('upshift.run') IS NOT NULL")?
            .trim()
            == "t";
        if !begun {
            run(&database, passes).succeed()?;
            break;
        }
        let instant = Instant::random(&mut random, lines / 4);
        let resume = Upshift::on(&database, ["resume", "--json"]).start()?;
        if !instant
            .kill(resume)
            .with_context(|| format!("kill {number}: {instant:?}"))?
        {
            break;
        }
    }
    go_on(&database, passes)?;
    Upshift::on(&database, ["commit"]).succeed()?;
    Snapshot::take(&database)
        .await?
        .expect_same(&end, "killed again and again")
}

async fn killed_rollback(passes: &str) -> Result<()> {
    let start = small_erp::database().await?;
    let before = Snapshot::take(&start).await?;
    let counted = start.copy()?;
    run(&counted, passes).succeed()?;
    let outcome = Upshift::on(&counted, ["rollback", "--json"]).succeed()?;
    let lines = outcome.stdout.lines().count();
    Snapshot::take(&counted)
        .await?
        .expect_same(&before, "not even uninterrupted")?;
    let mut random = StdRng::seed_from_u64(SEED + 2);
    for number in 0..INSTANTS {
        let instant = Instant::random(&mut random, lines);
        let what = format!("instant {number}: {instant:?} of {lines} lines");
        let database = start.copy()?;
        run(&database, passes).succeed().context(what.clone())?;
        let back = Upshift::on(&database, ["rollback", "--json"]);
        instant.kill(back.start()?).context(what.clone())?;
        Upshift::on(&database, ["rollback"])
            .succeed()
            .context(what.clone())?;
        Snapshot::take(&database)
            .await?
            .expect_same(&before, &what)?;
    }
    Ok(())
}

/// The n-th time that each point is reached: early, in the middle, late.
const TIMES: [u32; 3] = [1, 7, 40];

/// Whether it died at the point; it may also never have come there so often.
fn die_at(point: &str, nth: u32, command: Upshift) -> Result<bool> {
    let outcome = command
        .variable("UPSHIFT_FAILPOINT", &format!("{point}:{nth}"))
        .run()?;
    match outcome.code {
        None => Ok(true),
        Some(0) => Ok(false),
        Some(_) => outcome.expect_code(0).map(|_| false),
    }
}

async fn run_dies_around_a_commit(passes: &str) -> Result<()> {
    let start = small_erp::database().await?;
    let (end, _) = uninterrupted(&start, passes).await?;
    let mut died = 0;
    for point in failpoint::ALL {
        for nth in TIMES {
            let what = format!("{point}:{nth}");
            let database = start.copy()?;
            if die_at(point, nth, run(&database, passes)).context(what.clone())? {
                died += 1;
                go_on(&database, passes).context(what.clone())?;
            }
            let commit = Upshift::on(&database, ["commit"]);
            if die_at(point, nth, commit).context(what.clone())? {
                died += 1;
                Upshift::on(&database, ["commit"])
                    .succeed()
                    .context(what.clone())?;
            }
            Snapshot::take(&database).await?.expect_same(&end, &what)?;
        }
    }
    ensure!(died >= 15, "only {died} of the instants were reached");
    Ok(())
}

async fn rollback_dies_around_a_commit(passes: &str) -> Result<()> {
    let start = small_erp::database().await?;
    let before = Snapshot::take(&start).await?;
    let mut died = 0;
    for point in failpoint::ALL {
        for nth in TIMES {
            let what = format!("{point}:{nth}");
            let database = start.copy()?;
            run(&database, passes).succeed().context(what.clone())?;
            let rollback = Upshift::on(&database, ["rollback"]);
            if die_at(point, nth, rollback).context(what.clone())? {
                died += 1;
                Upshift::on(&database, ["rollback"])
                    .succeed()
                    .context(what.clone())?;
            }
            Snapshot::take(&database)
                .await?
                .expect_same(&before, &what)?;
        }
    }
    ensure!(died >= 10, "only {died} of the instants were reached");
    Ok(())
}

#[tokio::test]
async fn a_killed_run_goes_on_to_the_same_end() -> Result<()> {
    killed_run(IN_PLACE).await
}

#[tokio::test]
async fn a_killed_run_goes_on_to_the_same_end_with_passes() -> Result<()> {
    killed_run(SHADOW).await
}

#[tokio::test]
async fn a_run_killed_again_and_again_gets_there() -> Result<()> {
    killed_again_and_again(IN_PLACE).await
}

#[tokio::test]
async fn a_run_killed_again_and_again_gets_there_with_passes() -> Result<()> {
    killed_again_and_again(SHADOW).await
}

#[tokio::test]
async fn a_killed_rollback_goes_back_to_the_same_start() -> Result<()> {
    killed_rollback(IN_PLACE).await
}

#[tokio::test]
async fn a_killed_rollback_goes_back_to_the_same_start_with_passes() -> Result<()> {
    killed_rollback(SHADOW).await
}

#[tokio::test]
async fn a_run_that_dies_around_a_commit_goes_on_to_the_same_end() -> Result<()> {
    run_dies_around_a_commit(IN_PLACE).await
}

#[tokio::test]
async fn a_run_that_dies_around_a_commit_goes_on_to_the_same_end_with_passes() -> Result<()> {
    run_dies_around_a_commit(SHADOW).await
}

#[tokio::test]
async fn a_rollback_that_dies_around_a_commit_goes_back_to_the_same_start() -> Result<()> {
    rollback_dies_around_a_commit(IN_PLACE).await
}

#[tokio::test]
async fn a_rollback_that_dies_around_a_commit_goes_back_to_the_same_start_with_passes() -> Result<()>
{
    rollback_dies_around_a_commit(SHADOW).await
}
