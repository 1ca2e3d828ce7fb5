//! A cluster on loopback: what operators ask of it, coordinators that end in the middle of a run, workers
//! that come and go, who is let in.

use std::fs;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use sqlx::Connection;
use upshift_tests::{
    cluster::{Cluster, Guarded, leads},
    compare::{self, Snapshot},
    harness::{Database, Upshift, one_module},
    oracle, small_erp,
};

/// The small ERP, and the same after its pack by `psql`.
async fn databases() -> Result<(Database, Database)> {
    let database = small_erp::database().await?;
    let naive = database.copy()?;
    oracle::upgrade(&naive, &small_erp::pack()).await?;
    Ok((database, naive))
}

const SMALL: &[&str] = &["--unit-rows", "100", "--passes", "in-place"];

#[tokio::test]
async fn a_run_goes_through_the_cluster_and_back() -> Result<()> {
    let (database, naive) = databases().await?;
    let before = Snapshot::take(&database).await?;
    let cluster = Cluster::new(1, &[("erp", &database)], "")?;
    let _leader = cluster.leader()?;
    let _workers = [cluster.worker(2)?, cluster.worker(1)?];
    let run = cluster.submit(&small_erp::pack(), "erp", SMALL)?;
    cluster.expect(&run, "prepared")?;
    cluster.upshift(&["cluster", "rollback", &run]).succeed()?;
    cluster.expect(&run, "rolled_back")?;
    before.expect_same(&Snapshot::take(&database).await?, "rolled back")?;
    let watched = cluster
        .upshift(&["cluster", "submit", "--watch", "--database", "erp"])
        .argument(small_erp::pack())
        .arguments(&["--", "--commit", "--unit-rows", "100"])
        .succeed()?;
    ensure!(
        watched.stdout.contains("is committed"),
        "{}",
        watched.stdout
    );
    ensure!(watched.stdout.contains("task_done"), "{}", watched.stdout);
    compare::expect_same(&naive, &database, "committed").await?;
    let again = cluster
        .upshift(&["cluster", "submit", "--database", "erp"])
        .argument(small_erp::pack())
        .succeed()?;
    ensure!(again.stdout.contains("nothing to do"), "{}", again.stdout);
    for (refused, code) in [
        (vec!["cluster", "commit", &run], 3),
        (vec!["cluster", "pause", &run], 3),
        (vec!["cluster", "resume", &run], 3),
    ] {
        cluster.upshift(&refused).run()?.expect_code(code)?;
    }
    let done = audited(&database)?;
    let expected = [
        "local|submit|--unit-rows 100 --passes in-place",
        "local|rollback|to the start",
        "local|submit|--commit --unit-rows 100",
    ];
    ensure!(done == expected, "{done:?}");
    Ok(())
}

#[tokio::test]
async fn a_standby_goes_on_where_the_leader_died() -> Result<()> {
    for point in ["after_checkpoint:1", "before_record:3", "before_end:1"] {
        let (database, naive) = databases().await?;
        let cluster = Cluster::new(1, &[("erp", &database)], "")?;
        let mut first = cluster
            .coordinator()
            .variable("UPSHIFT_FAILPOINT", point)
            .start()?;
        leads(&mut first)?;
        let _worker = cluster.worker(2)?;
        let run = cluster.submit(&small_erp::pack(), "erp", SMALL)?;
        let mut second = cluster.coordinator().start()?;
        leads(&mut second)?;
        ensure!(first.has_ended()?, "it was to die at {point}");
        cluster.expect(&run, "prepared")?;
        cluster.upshift(&["cluster", "commit", &run]).succeed()?;
        cluster.expect(&run, "committed")?;
        compare::expect_same(&naive, &database, point).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_leader_that_is_told_to_stop_hands_its_runs_over() -> Result<()> {
    let (database, naive) = databases().await?;
    let cluster = Cluster::new(1, &[("erp", &database)], "")?;
    let first = cluster.leader()?;
    let mut second = cluster.coordinator().start()?;
    let worker = cluster.worker(1)?;
    let run = cluster.submit(&small_erp::pack(), "erp", &["--unit-rows", "20"])?;
    database.await_answer("SELECT 1 FROM upshift.unit WHERE state = 'done' LIMIT 1")?;
    let epoch = || {
        database
            .psql("SELECT epoch FROM upshift.fence")?
            .trim()
            .parse::<i64>()
            .context("it has one")
    };
    let begun = epoch()?;
    first.signal(Signal::SIGTERM)?;
    first.wait()?.expect_code(0)?;
    leads(&mut second)?;
    cluster.expect(&run, "prepared")?;
    ensure!(epoch()? > begun, "nothing was left to hand over");
    // It never stood still as failed.
    let events = Upshift::on(&database, ["events", "--json"]).succeed()?;
    ensure!(!events.stdout.contains("\"failed\""), "{}", events.stdout);
    cluster.upshift(&["cluster", "commit", &run]).succeed()?;
    cluster.expect(&run, "committed")?;
    worker.signal(Signal::SIGTERM)?;
    worker.wait()?.expect_code(0)?;
    compare::expect_same(&naive, &database, "handed over").await
}

#[tokio::test]
async fn workers_come_and_go() -> Result<()> {
    let (database, naive) = databases().await?;
    let cluster = Cluster::new(1, &[("erp", &database)], "")?;
    let _leader = cluster.leader()?;
    let run = cluster.submit(&small_erp::pack(), "erp", &["--unit-rows", "20"])?;
    let doomed = cluster.worker(1)?;
    let at_work = |workers: &[serde_json::Value]| matches!(workers, [one] if one["units_in_flight"].as_u64() > Some(0));
    let first = cluster.expect_workers("one at work", at_work)?;
    let first = first[0]["worker"].clone();
    doomed.kill()?;
    let drained = cluster.worker(1)?;
    let is_another =
        |workers: &[serde_json::Value]| workers.iter().any(|worker| worker["worker"] != first);
    let workers = cluster.expect_workers("another", is_another)?;
    let newest = workers
        .as_array()
        .and_then(|all| all.iter().find(|worker| worker["worker"] != first))
        .map(|worker| worker["worker"].to_string());
    let newest = newest.context("it has a session")?;
    cluster.upshift(&["cluster", "drain", &newest]).succeed()?;
    drained.wait()?.expect_code(0)?;
    let _last = cluster.worker(4)?;
    cluster.expect(&run, "prepared")?;
    // An answer may have been lost: who asks again is told that it is so.
    for (words, told) in [
        (["cluster", "resume", &run], "is prepared already"),
        (["cluster", "commit", &run], "is committed"),
    ] {
        let answer = cluster.upshift(&words).succeed()?;
        ensure!(answer.stdout.contains(told), "{}", answer.stdout);
    }
    cluster.expect(&run, "committed")?;
    let again = cluster.upshift(&["cluster", "commit", &run]).succeed()?;
    ensure!(
        again.stdout.contains("is committed already"),
        "{}",
        again.stdout
    );
    compare::expect_same(&naive, &database, "committed").await
}

/// It has the time that the unit needs.
#[tokio::test]
async fn a_worker_that_is_told_to_stop_finishes_its_unit() -> Result<()> {
    let database = Database::create()?;
    database
        .psql("CREATE TABLE t AS SELECT 1 AS id, 1 AS value; ALTER TABLE t ADD PRIMARY KEY (id)")?;
    let pack = one_module(&[("post-t.sql", "UPDATE t SET value = value + 1;\n")])?;
    let cluster = Cluster::new(1, &[("erp", &database)], "")?;
    let _leader = cluster.leader()?;
    let worker = cluster.worker(1)?;
    // The unit waits for this as long as it is there.
    let mut holder = database.connect().await?;
    sqlx::raw_sql("BEGIN; SELECT FROM t FOR UPDATE")
        .execute(&mut holder)
        .await?;
    let options = ["--passes", "in-place", "--lock-timeout", "10min"];
    let run = cluster.submit(pack.path(), "erp", &options)?;
    database.await_answer(WAITS)?;
    worker.signal(Signal::SIGTERM)?;
    cluster.expect_workers("one that leaves", |workers| {
        matches!(workers, [one] if one["draining"] == true && one["units_in_flight"] == 1)
    })?;
    // Nobody ends it: it goes on as soon as it can.
    database.await_answer(WAITS)?;
    holder.close().await?;
    let said = worker.wait()?.expect_code(0)?;
    let done =
        database.psql("SELECT count(*) FROM upshift.unit WHERE state = 'done' AND rows = 1")?;
    ensure!(done.trim() == "1", "{done} {said:?}");
    let _next = cluster.worker(1)?;
    cluster.expect(&run, "prepared")?;
    // At its first attempt.
    let events = Upshift::on(&database, ["events", "--json"]).succeed()?;
    ensure!(!events.stdout.contains("\"retry\""), "{}", events.stdout);
    Ok(())
}

/// A unit that waits for a lock.
const WAITS: &str = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
    AND application_name LIKE 'upshift%' AND wait_event_type = 'Lock'";

#[tokio::test]
async fn a_pause_holds_until_the_run_is_resumed() -> Result<()> {
    let (database, _) = databases().await?;
    let before = Snapshot::take(&database).await?;
    let cluster = Cluster::new(1, &[("erp", &database)], "")?;
    let leader = cluster.leader()?;
    // Nobody works yet: it cannot end before it is paused.
    let run = cluster.submit(&small_erp::pack(), "erp", SMALL)?;
    cluster
        .upshift(&["cluster", "pause", &run, "--reason", "month end"])
        .succeed()?;
    let _worker = cluster.worker(2)?;
    let paused = |status: &serde_json::Value| status["message"] == "paused: month end";
    cluster.stands(&run, "paused", paused)?;
    // Another leader knows of it.
    leader.kill()?;
    let _second = cluster.leader()?;
    cluster.stands(&run, "paused still", paused)?;
    cluster.upshift(&["cluster", "resume", &run]).succeed()?;
    cluster.expect(&run, "prepared")?;
    cluster.upshift(&["cluster", "rollback", &run]).succeed()?;
    cluster.expect(&run, "rolled_back")?;
    let done = audited(&database)?;
    let steered = [
        "local|pause|month end",
        "local|resume|",
        "local|rollback|to the start",
    ];
    ensure!(done[1..] == steered, "{done:?}");
    before.expect_same(&Snapshot::take(&database).await?, "rolled back")
}

/// A leader that is cut off keeps its lock of the database for a while: whoever leads next waits for it, and
/// does not end what an operator wanted.
#[tokio::test]
async fn a_pause_holds_while_a_leader_that_was_cut_off_has_the_lock() -> Result<()> {
    let (database, naive) = databases().await?;
    let cluster = Cluster::new(1, &[("erp", &database)], "")?;
    let first = cluster.leader()?;
    // Nobody works yet: it cannot end before it is paused.
    let run = cluster.submit(&small_erp::pack(), "erp", SMALL)?;
    cluster
        .upshift(&["cluster", "pause", &run, "--reason", "month end"])
        .succeed()?;
    let says = |words: &'static str| {
        move |status: &serde_json::Value| {
            status["message"]
                .as_str()
                .is_some_and(|message| message.contains(words))
        }
    };
    cluster.stands(&run, "paused", says("paused: month end"))?;
    first.signal(Signal::SIGSTOP)?;
    let mut second = cluster.coordinator().start()?;
    leads(&mut second)?;
    cluster.stands(
        &run,
        "waiting for the lock",
        says("another upshift is at work"),
    )?;
    first.kill()?;
    cluster.stands(&run, "paused still", says("paused: month end"))?;
    let _worker = cluster.worker(2)?;
    cluster.upshift(&["cluster", "resume", &run]).succeed()?;
    cluster.expect(&run, "prepared")?;
    cluster.upshift(&["cluster", "commit", &run]).succeed()?;
    cluster.expect(&run, "committed")?;
    compare::expect_same(&naive, &database, "committed").await
}

/// What the ledger says that operators have done: who, what and more of it.
fn audited(database: &Database) -> Result<Vec<String>> {
    let rows = database
        .psql("SELECT by || '|' || verb || '|' || detail FROM upshift.audit ORDER BY at")?;
    Ok(rows.lines().map(str::to_owned).collect())
}

const SECRET: &str = "s3cret-token";

/// A cluster with certificates, and a viewer's token.
async fn guarded() -> Result<(Guarded, Database)> {
    let database = small_erp::database().await?;
    let guarded = Guarded::new(&database, &[("viewer", SECRET)], "max_pack = \"1MB\"")?;
    Ok((guarded, database))
}

fn submits(guarded: &Guarded, role: &str) -> Result<Upshift> {
    let submit = ["cluster", "submit", "--watch", "--database", "erp"];
    Ok(guarded.call(role, &submit)?.argument(small_erp::pack()))
}

#[tokio::test]
async fn only_who_shows_a_certificate_of_the_right_role_is_let_in() -> Result<()> {
    let (guarded, _database) = guarded().await?;
    let mut leader = guarded.call("coordinator", &["coordinator"])?.start()?;
    leads(&mut leader)?;
    let worker = guarded
        .call("worker", &["worker", "--slots", "2"])?
        .start()?;
    guarded.call("viewer", &["cluster", "status"])?.succeed()?;
    for role in ["viewer", "worker"] {
        let refused = submits(&guarded, role)?.run()?.expect_code(2)?;
        let said = &refused.stderr;
        ensure!(said.contains("is for operator"), "{said}");
    }
    let refused = guarded
        .call("operator", &["worker"])?
        .run()?
        .expect_code(3)?;
    let said = &refused.stderr;
    ensure!(said.contains("is for worker"), "{said}");
    submits(&guarded, "operator")?.succeed()?;
    // A certificate of another CA is nobody's.
    let stranger = guarded.file(("stranger", "operator", "strangers"), |text| text)?;
    let refused = Upshift::new(["--config"])
        .argument(&stranger)
        .arguments(&["cluster", "status"])
        .run()?
        .expect_code(2)?;
    let said = &refused.stderr;
    ensure!(said.contains("look at ca, certificate and key"), "{said}");
    worker.signal(Signal::SIGTERM)?;
    worker.wait()?.expect_code(0)?;
    leader.signal(Signal::SIGTERM)?;
    let said = leader.wait()?.expect_code(0)?.stderr;
    ensure!(said.contains("\"audit\":\"submit\""), "{said}");
    ensure!(said.contains("\"granted\":true"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_token_does_what_its_role_may_do() -> Result<()> {
    let (guarded, _database) = guarded().await?;
    let mut leader = guarded.call("coordinator", &["coordinator"])?.start()?;
    leads(&mut leader)?;
    let file = guarded.file(("token", "none", "certs"), |text| {
        let shown = |line: &&str| !line.contains("/none.");
        let text: Vec<&str> = text.lines().filter(shown).collect();
        text.join("\n")
            .replace("lease = ", "token_env = \"SCREEN_TOKEN\"\nlease = ")
    })?;
    let with_token = |token: &str, arguments: &[&str]| {
        Upshift::new(["--config"])
            .argument(&file)
            .arguments(arguments)
            .variable("SCREEN_TOKEN", token)
    };
    with_token(SECRET, &["cluster", "workers"]).succeed()?;
    let run = "01900000-0000-7000-8000-000000000000";
    let refused = with_token(SECRET, &["cluster", "pause", run])
        .run()?
        .expect_code(2)?;
    let said = &refused.stderr;
    ensure!(said.contains("is viewer"), "{said}");
    with_token("another", &["cluster", "workers"])
        .run()?
        .expect_code(2)?;
    leader.signal(Signal::SIGTERM)?;
    let said = leader.wait()?.expect_code(0)?;
    let said = format!("{}{}", said.stdout, said.stderr);
    ensure!(!said.contains(SECRET), "{said}");
    Ok(())
}

#[tokio::test]
async fn plain_text_off_loopback_has_to_be_said_in_words() -> Result<()> {
    let (database, _) = databases().await?;
    let cluster = Cluster::new(1, &[("erp", &database)], "")?;
    let text = fs::read_to_string(cluster.file())?;
    fs::write(cluster.file(), text.replace("127.0.0.1:0", "0.0.0.0:0"))?;
    let refused = cluster.coordinator().run()?.expect_code(2)?;
    ensure!(
        refused.stderr.contains("insecure = true"),
        "{}",
        refused.stderr
    );
    Ok(())
}
