//! What operators order of a cluster is done: whoever leads meanwhile, whatever else is ordered, and whether
//! or not another database is away.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use upshift_coordinator::coordination::DATABASE_LOCK;
use upshift_tests::{
    cluster::{Cluster, leads},
    compare::Snapshot,
    small_erp,
};

const SMALL: &[&str] = &["--unit-rows", "100", "--passes", "in-place"];

/// Whether a coordinator does that with a run, for a reason with these words.
fn does(doing: &'static str, why: &'static str) -> impl Fn(&Value) -> bool {
    move |status| {
        let message = status["message"].as_str().unwrap_or_default();
        status["doing"] == doing && message.contains(why)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_orders_one_is_done_and_the_other_is_told() -> Result<()> {
    let database = small_erp::database().await?;
    let before = Snapshot::take(&database).await?;
    let cluster = Cluster::new(1, &[("erp", &database)], "")?;
    let _leader = cluster.leader()?;
    let worker = cluster.worker(2)?;
    let run = cluster.submit(&small_erp::pack(), "erp", SMALL)?;
    cluster.expect(&run, "prepared")?;
    worker.signal(Signal::SIGTERM)?;
    worker.wait()?.expect_code(0)?;
    // Nobody works: it does not come back while more is ordered.
    let back = ["cluster", "rollback", run.as_str()];
    cluster.upshift(&back).succeed()?;
    cluster.stands(&run, "back", does("back", ""))?;
    let second = cluster.upshift(&back).succeed()?;
    ensure!(
        second.stdout.contains("is being taken back already"),
        "{}",
        second.stdout
    );
    let refused = cluster.upshift(&["cluster", "commit", &run]).run()?;
    refused.expect_code(3)?;
    cluster.stands(&run, "back", does("back", ""))?;
    let _worker = cluster.worker(2)?;
    cluster.expect(&run, "rolled_back")?;
    before.expect_same(&Snapshot::take(&database).await?, "rolled back")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_go_on_keeps_no_other_from_its_turn() -> Result<()> {
    let (first, second) = (small_erp::database().await?, small_erp::database().await?);
    let cluster = Cluster::new(1, &[("first", &first), ("second", &second)], "max_runs = 1")?;
    let leader = cluster.leader()?;
    let run = cluster.submit(&small_erp::pack(), "first", SMALL)?;
    cluster.stands(&run, "forward", does("forward", ""))?;
    let other = cluster.submit(&small_erp::pack(), "second", SMALL)?;
    cluster.stands(&other, "waiting", does("waiting", "as many runs as it may"))?;
    // One that waits for its turn does not hold up who stops.
    leader.signal(Signal::SIGTERM)?;
    let said = leader.wait()?.expect_code(0)?.stderr;
    ensure!(!said.contains("units that do not end"), "{said}");
    // Somebody else is at work on the first database when the next coordinator comes to lead.
    let mut session = first.connect().await?;
    sqlx::query("SELECT pg_advisory_lock($1, $2)")
        .bind(DATABASE_LOCK.0)
        .bind(DATABASE_LOCK.1)
        .execute(&mut session)
        .await?;
    let mut next = cluster.coordinator().start()?;
    leads(&mut next)?;
    let _worker = cluster.worker(2)?;
    cluster.expect(&other, "prepared")?;
    cluster.stands(
        &run,
        "waiting",
        does("waiting", "another upshift is at work"),
    )?;
    // Its order stands, and is done when it can be.
    drop(session);
    cluster.expect(&run, "prepared")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_that_was_cut_off_is_in_the_index() -> Result<()> {
    let database = small_erp::database().await?;
    let cluster = Cluster::new(1, &[("erp", &database)], "")?;
    // The coordinator dies where the ledger has the run, and the index has no order of it yet.
    let mut doomed = cluster
        .coordinator()
        .variable("UPSHIFT_FAILPOINT", "after_submit:1")
        .start()?;
    leads(&mut doomed)?;
    let mut submission = cluster
        .upshift(&["cluster", "submit", "--json", "--database", "erp"])
        .argument(small_erp::pack())
        .start()?;
    doomed.wait()?;
    // So does the operator's program: nobody submits it again.
    submission.signal(Signal::SIGKILL)?;
    ensure!(submission.next_line()?.is_none(), "it has no answer");
    let _leader = cluster.leader()?;
    let known = cluster
        .upshift(&["cluster", "status", "--json"])
        .succeed()?;
    let known: Value = serde_json::from_str(&known.stdout)?;
    let run = known["runs"][0]["run"]
        .as_str()
        .context("it is in the index")?;
    cluster.stands(run, "left", does("", "submit it again, or resume it"))?;
    let _worker = cluster.worker(2)?;
    cluster.upshift(&["cluster", "resume", run]).succeed()?;
    cluster.expect(run, "prepared")?;
    Ok(())
}

/// The database may be away just when it is written how a run stands: the ledger is asked again whenever
/// something is wished.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_behind_the_ledger_catches_up() -> Result<()> {
    let database = small_erp::database().await?;
    let before = Snapshot::take(&database).await?;
    let cluster = Cluster::new(1, &[("erp", &database)], "")?;
    let first = cluster.leader()?;
    let _worker = cluster.worker(2)?;
    let run = cluster.submit(&small_erp::pack(), "erp", SMALL)?;
    cluster.expect(&run, "prepared")?;
    first.signal(Signal::SIGTERM)?;
    first.wait()?.expect_code(0)?;
    let mut etcd = cluster.etcd.operator(None).await?;
    let key = format!("/upshift/test/runs/{run}");
    let found = etcd.get(key.clone(), None).await?;
    let found = found.kvs().first().context("it is in the index")?;
    let mut entry: Value = serde_json::from_slice(found.value())?;
    entry["state"] = "running".into();
    etcd.put(key, entry.to_string(), None).await?;
    let _second = cluster.leader()?;
    cluster.expect(&run, "running")?;
    let resumed = cluster.upshift(&["cluster", "resume", &run]).succeed()?;
    ensure!(
        resumed.stdout.contains("is prepared already"),
        "{}",
        resumed.stdout
    );
    cluster.expect(&run, "prepared")?;
    cluster.upshift(&["cluster", "rollback", &run]).succeed()?;
    cluster.expect(&run, "rolled_back")?;
    before.expect_same(&Snapshot::take(&database).await?, "rolled back")
}
