//! A run from plan to commit or back, through the command: states, exit codes, the shapes of `--json`,
//! checkpoints, and what is refused when.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use upshift_tests::{
    compare::{self, Snapshot},
    harness::{Database, Upshift, one_module},
    oracle, small_erp,
};

fn on(database: &Database, arguments: &[&str]) -> Upshift {
    Upshift::on(database, arguments)
}

fn run(database: &Database) -> Upshift {
    on(database, &["run", "--workers", "2", "--unit-rows", "100"]).argument(small_erp::pack())
}

fn status(database: &Database) -> Result<Value> {
    let outcome = on(database, &["status", "--json"]).succeed()?;
    serde_json::from_str(&outcome.stdout).context("status --json is JSON")
}

fn expect_state(database: &Database, state: &str) -> Result<Value> {
    let status = status(database)?;
    ensure!(status["state"] == state, "not {state}: {status}");
    Ok(status)
}

#[tokio::test]
async fn a_run_goes_through_its_states() -> Result<()> {
    let database = small_erp::database().await?;
    let naive = database.copy()?;
    let before = Snapshot::take(&database).await?;
    ensure!(
        status(&database)?["run"].is_null(),
        "there is a run already"
    );
    on(&database, &["commit"]).run()?.expect_code(3)?;
    on(&database, &["resume"]).run()?.expect_code(3)?;
    on(&database, &["rollback"]).run()?.expect_code(3)?;

    run(&database).succeed()?;
    let prepared = expect_state(&database, "prepared")?;
    ensure!(prepared["tasks"] == prepared["tasks_done"], "{prepared}");
    ensure!(prepared["driven_by"].is_null(), "{prepared}");
    ensure!(
        prepared["checkpoints"]
            .as_array()
            .is_some_and(|c| c.len() == 4),
        "{prepared}"
    );
    run(&database).run()?.expect_code(3)?;
    on(&database, &["resume"]).succeed()?;
    expect_state(&database, "prepared")?;

    on(&database, &["rollback"]).succeed()?;
    expect_state(&database, "rolled_back")?;
    before.expect_same(&Snapshot::take(&database).await?, "rolled back")?;
    let kept = database
        .psql("SELECT count(*) FROM pg_class WHERE relnamespace = 'upshift_kept'::regnamespace")?;
    ensure!(kept.trim() == "0", "{kept} things are still kept");
    on(&database, &["rollback"]).succeed()?;
    for order in [&["commit"][..], &["resume"], &["rollback", "--to", "base"]] {
        on(&database, order).run()?.expect_code(3)?;
    }

    run(&database).argument("--commit").succeed()?;
    let committed = expect_state(&database, "committed")?;
    ensure!(committed["commit_pending"] == false, "{committed}");
    ensure!(
        committed["earlier"]
            .as_array()
            .is_some_and(|e| e.len() == 1),
        "{committed}"
    );
    on(&database, &["commit"]).succeed()?;
    for verb in ["rollback", "resume"] {
        on(&database, &[verb]).run()?.expect_code(3)?;
    }
    let again = run(&database).succeed()?;
    ensure!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    oracle::upgrade(&naive, &small_erp::pack()).await?;
    compare::expect_same(&naive, &database, "committed").await
}

#[tokio::test]
async fn a_rollback_to_a_checkpoint_can_go_on_either_way() -> Result<()> {
    let database = small_erp::database().await?;
    let naive = database.copy()?;
    let before = Snapshot::take(&database).await?;
    run(&database).succeed()?;
    let refused = on(&database, &["rollback", "--to", "acount"])
        .run()?
        .expect_code(3)?;
    ensure!(
        refused.stderr.contains("did you mean \"account\""),
        "{}",
        refused.stderr
    );
    expect_state(&database, "prepared")?;
    on(&database, &["rollback", "--to", "account"]).succeed()?;
    let back = expect_state(&database, "rolled_back")?;
    ensure!(back["rollback_to"] == "account", "{back}");
    let modules = back["checkpoints"].to_string();
    ensure!(
        modules.contains("account") && !modules.contains("sale"),
        "{modules}"
    );
    on(&database, &["commit"]).run()?.expect_code(3)?;
    run(&database).run()?.expect_code(3)?;

    on(&database, &["resume"]).succeed()?;
    expect_state(&database, "prepared")?;
    on(&database, &["rollback", "--to", "base"]).succeed()?;
    on(&database, &["rollback"]).succeed()?;
    expect_state(&database, "rolled_back")?;
    before.expect_same(&Snapshot::take(&database).await?, "back in two steps")?;

    run(&database).succeed()?;
    on(&database, &["rollback", "--to", "account"]).succeed()?;
    on(&database, &["resume"]).succeed()?;
    on(&database, &["commit"]).succeed()?;
    oracle::upgrade(&naive, &small_erp::pack()).await?;
    compare::expect_same(&naive, &database, "there and back and there again").await
}

/// A task that fails leaves a run that can be mended and resumed.
#[tokio::test]
async fn a_failed_run_says_why_and_goes_on_when_that_is_mended() -> Result<()> {
    let database = small_erp::database().await?;
    database.psql(
        "UPDATE line SET price = -73.91 WHERE id = (SELECT max(l.id) FROM line l JOIN move m ON m.id = l.move_id WHERE m.state = 'posted' AND l.quantity > 0)",
    )?;
    let naive = database.copy()?;
    naive.psql("UPDATE line SET price = 1 WHERE price = -73.91")?;
    let failed = run(&database).run()?.expect_code(1)?;
    ensure!(
        failed.stderr.contains("upshift resume"),
        "{}",
        failed.stderr
    );
    let status = expect_state(&database, "failed")?;
    let error = &status["error"];
    ensure!(error["sqlstate"] == "23514", "{error}");
    ensure!(
        error["source"]
            .as_str()
            .is_some_and(|s| s.contains("pre-line.sql:20")),
        "{error}"
    );
    ensure!(
        !error["message"].to_string().contains("73.91"),
        "a value of a row: {error}"
    );
    on(&database, &["rollback"]).succeed()?;
    database.psql("UPDATE line SET price = 1 WHERE price = -73.91")?;
    run(&database).succeed()?;
    on(&database, &["commit"]).succeed()?;
    oracle::upgrade(&naive, &small_erp::pack()).await?;
    compare::expect_same(&naive, &database, "mended").await
}

#[tokio::test]
async fn programs_read_json() -> Result<()> {
    let database = small_erp::database().await?;
    let json = |outcome: &str| -> Result<Value> { Ok(serde_json::from_str(outcome)?) };
    let plan = on(&database, &["plan", "--json"])
        .argument(small_erp::pack())
        .succeed()?;
    ensure!(
        json(&plan.stdout)?["tasks"]
            .as_array()
            .is_some_and(|t| !t.is_empty())
    );
    for stage in ["resolve", "analyse", "order", "physical"] {
        let outcome = on(&database, &["plan", "--json", "--stage", stage])
            .argument(small_erp::pack())
            .succeed()?;
        json(&outcome.stdout).with_context(|| stage.to_owned())?;
    }
    let dot = on(&database, &["plan", "--dot"])
        .argument(small_erp::pack())
        .succeed()?;
    ensure!(dot.stdout.starts_with("digraph"), "{}", dot.stdout);
    let doctor = on(&database, &["doctor", "--json"]).succeed()?;
    let doctor = json(&doctor.stdout)?;
    ensure!(doctor.as_array().is_some_and(|d| d.len() >= 10), "{doctor}");

    let events = run(&database).argument("--json").succeed()?;
    let events: Vec<Value> = events.stdout.lines().map(json).collect::<Result<_>>()?;
    ensure!(events[0]["event"] == "run_started", "{}", events[0]);
    let last = events.last().context("there are events")?;
    ensure!(
        last["event"] == "run_ended" && last["ending"] == "prepared",
        "{last}"
    );
    let refused = run(&database).argument("--json").run()?.expect_code(3)?;
    let refused = json(refused.stdout.lines().last().context("it says why")?)?;
    ensure!(
        refused["code"] == 3 && refused["error"].is_string(),
        "{refused}"
    );
    Ok(())
}

#[tokio::test]
async fn usage_errors_touch_nothing() -> Result<()> {
    let database = small_erp::database().await?;
    for arguments in [
        &["run"][..],
        &["run", "/nowhere", "--workers", "0"],
        &["status", "--no-such-option"],
        &["plan", "/nowhere"],
        &["run", "/nowhere"],
    ] {
        on(&database, arguments).run()?.expect_code(2)?;
    }
    let ledger = database.psql("SELECT to_regnamespace('upshift') IS NULL")?;
    ensure!(ledger.trim() == "t", "there is a ledger");
    Ok(())
}

/// What another thing that goes depends on is destroyed after that; where an application's does, the rest goes
/// all the same.
#[tokio::test]
async fn what_is_depended_on_is_destroyed_once_that_is_gone() -> Result<()> {
    let folder = one_module(&[("pre-a.sql", "DROP TABLE first; DROP TABLE second;")])?;
    let start = Database::filled(
        "CREATE TABLE first (id integer); CREATE TABLE second (id integer);
         CREATE TABLE stays (id integer);",
    )?;
    // What was dropped, out of sight.
    let kept = |database: &Database| {
        database.psql(
            "SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname ~ '^upshift_kept' AND c.relkind = 'r' ORDER BY c.oid",
        )
    };
    for application in [false, true] {
        let database = start.copy()?;
        Upshift::on(&database, ["run"])
            .argument(folder.path())
            .succeed()?;
        let tables = kept(&database)?;
        let (first, second) = tables.trim().split_once('\n').context("two are kept")?;
        database.psql(&match application {
            true => format!("CREATE VIEW of_application AS SELECT id FROM {first}"),
            false => format!("ALTER TABLE {second} ADD COLUMN row {first}"),
        })?;
        let commit = || on(&database, &["commit", "--workers", "1"]);
        if application {
            let failed = commit().run()?.expect_code(1)?;
            ensure!(failed.stderr.contains("2BP01"), "{}", failed.stderr);
            ensure!(kept(&database)?.trim() == first, "{}", kept(&database)?);
            database.psql("DROP VIEW of_application")?;
        }
        commit().succeed()?;
        ensure!(kept(&database)?.trim().is_empty(), "{}", kept(&database)?);
    }
    Ok(())
}
