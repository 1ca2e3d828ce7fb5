//! Two orders at once on one database: one is served, the other is told, nothing is harmed.

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use upshift_tests::{
    compare::{self, Snapshot},
    harness::{Database, Upshift},
    oracle, small_erp,
};

fn run(database: &Database) -> Upshift {
    Upshift::on(database, ["run"])
        .argument(small_erp::pack())
        .arguments(&["--workers", "2", "--unit-rows", "50", "--json"])
}

#[tokio::test]
async fn a_second_order_is_refused_while_the_first_runs() -> Result<()> {
    let database = small_erp::database().await?;
    let naive = database.copy()?;
    let mut first = run(&database).start()?;
    ensure!(
        first.read_until(|line| line.contains("unit_done"))?,
        "no unit was done"
    );
    // Stopped in its tracks, so that it is certainly still at it.
    first.signal(Signal::SIGSTOP)?;
    for verb in ["run", "resume", "rollback", "commit"] {
        let order = match verb {
            "run" => run(&database),
            verb => Upshift::on(&database, [verb]),
        };
        let outcome = order.run()?.expect_code(3)?;
        ensure!(
            outcome.stderr.contains("another"),
            "{verb}: {}",
            outcome.stderr
        );
    }
    first.signal(Signal::SIGCONT)?;
    first.wait()?.expect_code(0)?;
    Upshift::on(&database, ["commit"]).succeed()?;
    oracle::upgrade(&naive, &small_erp::pack()).await?;
    compare::expect_same(&naive, &database, "two orders at once").await
}

#[tokio::test]
async fn of_many_at_the_same_instant_one_wins() -> Result<()> {
    let database = small_erp::database().await?;
    let before = Snapshot::take(&database).await?;
    let runs = (0..4)
        .map(|_| run(&database).start())
        .collect::<Result<Vec<_>>>()?;
    let mut codes = Vec::new();
    for running in runs {
        codes.push(running.wait()?.code);
    }
    codes.sort_unstable();
    ensure!(codes == [Some(0), Some(3), Some(3), Some(3)], "{codes:?}");
    let runs = database.psql("SELECT count(*) FROM upshift.run")?;
    ensure!(runs.trim() == "1", "{runs} runs in the ledger");
    Upshift::on(&database, ["rollback"]).succeed()?;
    before.expect_same(&Snapshot::take(&database).await?, "rolled back")
}

/// Ctrl-C ends a run cleanly, says how to go on, and it can be gone on with.
#[tokio::test]
async fn ctrl_c_stops_cleanly_and_says_how_to_resume() -> Result<()> {
    let database = small_erp::database().await?;
    let naive = database.copy()?;
    let mut first = run(&database).start()?;
    ensure!(
        first.read_until(|line| line.contains("unit_done"))?,
        "no unit was done"
    );
    first.signal(Signal::SIGINT)?;
    let outcome = first.wait()?.expect_code(1)?;
    let said = format!("{}\n{}", outcome.stdout, outcome.stderr);
    ensure!(said.contains("upshift resume"), "{said}");
    Upshift::on(&database, ["resume"]).succeed()?;
    Upshift::on(&database, ["commit"]).succeed()?;
    oracle::upgrade(&naive, &small_erp::pack()).await?;
    compare::expect_same(&naive, &database, "stopped by Ctrl-C").await
}
