//! The whole way of a fleet. A share of the hunt that the header of `three_hundred` describes runs always:
//! `UPSHIFT_FLEET=300` makes it whole.

use std::fs;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use upshift_tests::{
    compare::Snapshot,
    fleet::{Fleet, until_prepared},
    harness::{Database, Server, one_module},
    oracle, small_erp,
};

/// What one database is after `psql` has run the same files.
async fn by_psql(template: &Database) -> Result<Snapshot> {
    let copy = template.copy()?;
    oracle::upgrade(&copy, &small_erp::pack()).await?;
    Snapshot::take(&copy).await
}

#[tokio::test]
async fn a_fleet_survives_its_process_and_comes_back() -> Result<()> {
    let template = small_erp::database().await?;
    let order =
        "on_failure = { stop_after = \"never\" }\n[[waves]]\ntake = 2\n[[waves]]\ntake = \"rest\"";
    let fleet = Fleet::of(&[&template], 12, order)?;
    let broken = fleet.break_three()?;
    let start = fleet.snapshots().await?;

    let mut first = fleet.run(2).start()?;
    until_prepared(&mut first, 3)?;
    fleet.run(2).run()?.expect_code(3)?;
    first.kill()?;
    let status = fleet.status()?;
    ensure!(status["conducted"] == false, "{status}");
    let mut second = fleet.run(2).start()?;
    until_prepared(&mut second, 2)?;
    second.signal(Signal::SIGTERM)?;
    second.wait()?.expect_code(1)?;
    fleet.run(2).run()?.expect_code(1)?;
    let status = fleet.status()?;
    ensure!(status["states"]["prepared"] == 9, "{}", status["states"]);
    fleet.expect_reported(broken)?;
    for form in ["--csv", "--html"] {
        let report = fleet.say("report").argument(form).succeed()?.stdout;
        ensure!(report.contains("line_amount_check"), "{report}");
    }

    fleet.say("rollback").argument("--all").succeed()?;
    fleet.expect_same(&start, "rolled back").await?;
    // The same order twice: the second one finds it done.
    fleet.say("rollback").argument("--all").succeed()?;
    Ok(())
}

#[tokio::test]
async fn a_committed_fleet_is_what_psql_makes() -> Result<()> {
    let template = small_erp::database().await?;
    let expected = by_psql(&template).await?;
    let order = "commit = \"after_run\"\n[[waves]]\nname = \"canary\"\ntake = 1\napproval = true\n\
                 [[waves]]\nname = \"rest\"\ntake = \"rest\"\n\
                 [hooks]\nbefore = { command = [\"sh\", \"-c\", \"echo stop $0 >> hooks.txt; echo told\", \"{member}\"] }\n\
                 after = { command = [\"sh\", \"-c\", \"echo start $0 $1 >> hooks.txt\", \"{member}\", \"{outcome}\"] }";
    let fleet = Fleet::of(&[&template], 4, order)?;
    let mut running = fleet.run(2).start()?;
    ensure!(running.read_until(|line| line.contains("awaits_approval"))?);
    let status = fleet.await_status(|status| status["states"]["committed"] == 1)?;
    let waits = status["members"][3]["reason"].as_str().unwrap_or_default();
    ensure!(waits.contains("canary"), "{waits}");
    ensure!(
        status["standing"].to_string().contains("approved"),
        "{status}"
    );
    fleet
        .say("approve")
        .argument("nowhere")
        .run()?
        .expect_code(2)?;
    fleet.say("pause").succeed()?;
    fleet.say("approve").argument("canary").succeed()?;
    let status = fleet.status()?;
    ensure!(status["standing"] == "paused", "{status}");
    fleet.say("resume").succeed()?;
    running.wait()?.expect_code(0)?;
    for database in &fleet.databases {
        let now = Snapshot::take(database).await?;
        expected.expect_same(&now, "committed")?;
    }
    let hooks = fs::read_to_string(fleet.file("fleet").with_file_name("hooks.txt"))?;
    for database in &fleet.databases {
        let stop = format!("stop s0/{}", database.name());
        let start = format!("start s0/{}", database.name());
        let stopped = hooks.find(&stop).context("it was stopped")?;
        let started = hooks.find(&start).context("it was started")?;
        ensure!(stopped < started, "{hooks}");
    }
    let report = fleet.say("report").argument("--json").succeed()?.stdout;
    ensure!(report.contains("told"), "{report}");
    // Everything is done: nothing is done again.
    fleet.run(2).run()?.expect_code(0)?;
    fleet.say("rollback").argument("--all").run()?;
    let state = fleet.databases[0].psql("SELECT state FROM upshift.run")?;
    ensure!(state.trim() == "committed", "{state}");
    Ok(())
}

#[tokio::test]
async fn what_fails_on_a_canary_touches_nothing_else() -> Result<()> {
    let template = Database::filled(
        "CREATE TABLE t (id integer PRIMARY KEY, v integer);
         INSERT INTO t SELECT i, i FROM generate_series(1, 100) i",
    )?;
    let pack = one_module(&[
        ("pre-a.sql", "UPDATE t SET v = v + 1;"),
        (
            "post-check.toml",
            "[[check]]\nquery = \"SELECT id FROM t WHERE v > 100\"\nmessage = \"too large\"\n",
        ),
    ])?;
    let order = format!(
        "pack = \"{}\"\non_failure = {{ stop_after = 1, then = \"roll_back\" }}\n\
         [[waves]]\nname = \"canary\"\ntake = 1\n[[waves]]\nname = \"rest\"\ntake = \"rest\"",
        pack.path().display()
    );
    let fleet = Fleet::of(&[&template], 6, &order)?;
    let start = fleet.snapshots().await?;
    let ended = fleet.say("run").run()?.expect_code(1)?;
    ensure!(
        ended.stdout.contains("stopped by the failures"),
        "{}",
        ended.stdout
    );
    fleet.expect_same(&start, "stopped by its canary").await?;
    let touched = fleet
        .databases
        .iter()
        .map(|database| database.psql("SELECT to_regnamespace('upshift') IS NOT NULL"));
    let touched: Vec<String> = touched.collect::<Result<_>>()?;
    let touched = touched.iter().filter(|answer| answer.trim() == "t").count();
    ensure!(touched == 1, "{touched} databases were touched");
    let status = fleet.status()?;
    ensure!(status["states"]["waiting"] == 5, "{}", status["states"]);
    Ok(())
}

/// So many databases in CI; `UPSHIFT_FLEET` says another number.
const SHARE: usize = 40;

/// Small real databases on two servers, with 8 workers: three broken in different ways, one server crashed
/// in the middle, the process killed twice. All others are upgraded, three are reported with the reason, and
/// all come back identical; then they are upgraded for good, and equal what `psql` makes of them.
#[tokio::test]
async fn three_hundred() -> Result<()> {
    let count = std::env::var("UPSHIFT_FLEET").ok();
    let count: usize = count.map_or(Ok(SHARE), |count| count.parse())?;
    let servers = [Server::own()?, Server::own()?];
    let templates = [
        small_erp::database_on(servers[0])?,
        small_erp::database_on(servers[1])?,
    ];
    let expected = by_psql(&templates[0]).await?;
    let never = "on_failure = { stop_after = \"never\" }";
    let waves = "[[waves]]\ntake = 3\n[[waves]]\ntake = \"25 %\"\n[[waves]]\ntake = \"rest\"";
    let both = [&templates[0], &templates[1]];
    let fleet = Fleet::of(&both, count, &format!("{never}\n{waves}"))?;
    let broken = fleet.break_three()?;
    let start = fleet.snapshots().await?;
    for _ in 0..2 {
        let mut running = fleet.run(8).start()?;
        until_prepared(&mut running, count / 6)?;
        running.kill()?;
    }
    let mut running = fleet.run(8).start()?;
    until_prepared(&mut running, count / 6)?;
    servers[1].crash()?;
    servers[1].start_again()?;
    running.wait()?.expect_code(1)?;
    let states = fleet.status()?["states"].clone();
    ensure!(states["prepared"] == count - 3, "{states}");
    fleet.expect_reported(broken)?;
    fleet
        .say("rollback")
        .arguments(&["--all", "--workers", "8", "--json"])
        .succeed()?;
    for (place, before) in start.iter().enumerate() {
        let database = &fleet.databases[place];
        before.forgive_sequences(database).await?;
        let now = Snapshot::take(database).await?;
        before.expect_same(&now, database.name())?;
    }

    let members: Vec<String> = fleet
        .databases
        .iter()
        .enumerate()
        .filter(|(place, _)| !broken.contains(place))
        .map(|(place, database)| format!("s{}/{}", place * 2 / count, database.name()))
        .collect();
    fleet.order("again", "commit = \"after_wave\"", &members)?;
    fleet
        .say_of("again", "run")
        .arguments(&["--json", "--workers", "8"])
        .succeed()?;
    for (place, database) in fleet.databases.iter().enumerate() {
        if !broken.contains(&place) {
            expected.forgive_sequences(database).await?;
            let now = Snapshot::take(database).await?;
            expected.expect_same(&now, database.name())?;
        }
    }
    Ok(())
}
