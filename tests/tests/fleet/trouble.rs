//! What goes wrong with one database is its own affair: a lock, slowness, a server that is away, a database
//! that has gone, rights that are missing. And one that is at the target is left alone.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use sqlx::{Connection, Executor};
use upshift_shared::clock::Stopwatch;
use upshift_tests::{
    compare::Snapshot,
    fleet::{Fleet, Tiny, of_member},
    harness::{Running, Server},
    oracle,
};

const SOUND: [usize; 2] = [0, 1];
const LOCKED: usize = 2;
const SLOW: usize = 3;
const DROPPED: usize = 4;
const SHUT: usize = 5;
const NOT_OWNED: usize = 6;
const AT_TARGET: usize = 7;

#[tokio::test]
async fn the_trouble_of_one_is_not_that_of_others() -> Result<()> {
    let tiny = Tiny::new()?;
    let expected = tiny.by_psql().await?;
    let fleet = tiny.fleet(8, "")?;
    let database = |place: usize| &fleet.databases[place];
    database(SLOW).psql("UPDATE pace SET seconds = 2")?;
    database(NOT_OWNED)
        .psql_as_superuser("ALTER TABLE t OWNER TO postgres; GRANT ALL ON t TO PUBLIC")?;
    oracle::upgrade(database(AT_TARGET), tiny.pack()).await?;
    let shut = database(SHUT).name();
    database(SHUT).psql_as_superuser(&format!(
        "ALTER DATABASE {shut} OWNER TO postgres; REVOKE CONNECT ON DATABASE {shut} FROM PUBLIC"
    ))?;
    fleet.entry(
        "gone",
        "host = \"127.0.0.1\"\nport = 1\ndbname = \"postgres\"\nuser = \"nobody\"\nsslmode = \"disable\"",
    )?;
    let mut members: Vec<String> = (0..8).map(|place| fleet.member(place)).collect();
    members.extend(["gone/one".to_owned(), "gone/two".to_owned()]);
    let order = "patience = \"3s\"\non_failure = { stop_after = \"never\" }\n\
                 [hooks]\nbefore = { command = [\"sh\", \"-c\", \"echo $UPSHIFT_MEMBER >> before.txt\"] }";
    fleet.order("fleet", &tiny.order(order), &members)?;
    let before = Snapshot::take(database(AT_TARGET)).await?;
    let plan = fleet.say("plan").argument("--brief").succeed()?.stdout;
    ensure!(plan.contains("gone/one"), "{plan}");
    let (server, dropped) = (database(DROPPED).server(), database(DROPPED).name());
    server.psql("postgres", "postgres", &format!("DROP DATABASE {dropped}"))?;

    let mut holder = database(LOCKED).connect().await?;
    holder
        .execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        .await?;
    let watch = Stopwatch::start();
    let mut running = fleet.run(2).start()?;
    // All others come to their end while it waits.
    let status = fleet.await_status(|status| {
        let states = &status["states"];
        states["prepared"] == 3 && states["failed"] == 5 && states["current"] == 1
    })?;
    ensure!(
        watch.elapsed() < Duration::from_secs(60),
        "{:?}",
        watch.elapsed()
    );
    let waits = of_member(&status, &members[LOCKED])?;
    ensure!(
        waits["state"].to_string().contains("hook") || waits["state"] == "running",
        "{waits}"
    );
    ensure!(!running.has_ended()?);
    // That one has failed when patience is at its end: it waits for no lock for ever.
    running.wait()?.expect_code(1)?;
    let states = [("prepared", 3), ("failed", 6), ("current", 1)];
    let status = fleet.expect_states(&states)?;
    holder.close().await?;
    reported(&fleet, &status, &members)?;
    left_alone(&fleet, &before).await?;
    let again = fleet.run(2).run()?.expect_code(1)?.stdout;
    ensure!(
        again.contains("\"current\""),
        "it is looked at again, and left alone again: {again}"
    );

    fleet.say("retry").argument(&members[LOCKED]).succeed()?;
    let sound: Vec<String> = [SOUND[0], SOUND[1], LOCKED]
        .map(|place| fleet.member(place))
        .into();
    let mut commit = fleet.say("commit");
    for member in &sound {
        commit = commit.argument(member);
    }
    commit.succeed()?;
    fleet
        .expect_each(&[SOUND[0], SOUND[1], LOCKED], &expected)
        .await
}

/// Each that failed is told of with the reason.
fn reported(fleet: &Fleet, status: &Value, members: &[String]) -> Result<()> {
    for (member, why) in [
        (members[DROPPED].as_str(), "does not exist"),
        (&members[SHUT], "permission denied"),
        (&members[LOCKED], "lock timeout"),
        (&members[NOT_OWNED], "must be owner of table t"),
        ("gone/one", "connecting to"),
        ("gone/two", "connecting to"),
    ] {
        let shown = of_member(status, member)?;
        ensure!(
            shown["reason"].to_string().contains(why),
            "{why} is not in {shown}"
        );
    }
    ensure!(status["members"].as_array().map(Vec::len) == Some(fleet.databases.len() + 2));
    Ok(())
}

/// Nothing was done to what is at the target, and nobody was disturbed for it.
async fn left_alone(fleet: &Fleet, before: &Snapshot) -> Result<()> {
    let database = |place: usize| &fleet.databases[place];
    let members = |place: usize| fleet.member(place);
    let called = std::fs::read_to_string(fleet.folder().join("before.txt"))?;
    ensure!(called.contains(&members(SOUND[0])), "{called}");
    ensure!(
        !called.contains(&members(AT_TARGET)),
        "nobody disturbs what is at the target: {called}"
    );
    let now = Snapshot::take(database(AT_TARGET)).await?;
    before.expect_same(&now, "at the target")?;
    let ledger = "SELECT to_regnamespace('upshift') IS NULL";
    ensure!(
        database(AT_TARGET).psql(ledger)?.trim() == "t",
        "nothing is written to it"
    );
    Ok(())
}

/// A server that goes away and never returns: its databases have failed when patience is at its end, once for
/// all of them; those of the other one are done.
#[tokio::test]
async fn a_server_that_never_returns_holds_up_nobody() -> Result<()> {
    let (one, other) = (Tiny::new()?, Tiny::on(Server::own()?)?);
    for tiny in [&one, &other] {
        tiny.template.psql("UPDATE pace SET seconds = 1")?;
    }
    let expected = one.by_psql().await?;
    let order = "patience = \"2s\"\non_failure = { stop_after = \"never\" }\n\
                 caps = { max_databases_per_server = 2 }\ncommit = \"after_run\"";
    let templates = [&one.template, &other.template];
    let fleet = Fleet::of(&templates, 12, &one.order(order))?;
    let lost: &'static Server = other.template.server();
    let mut running = fleet.run(2).start()?;
    until_one_is_committed(&mut running)?;
    let watch = Stopwatch::start();
    lost.crash()?;
    running.wait()?.expect_code(1)?;
    ensure!(
        watch.elapsed() < Duration::from_secs(100),
        "{:?}",
        watch.elapsed()
    );
    let status = fleet.status()?;
    let mut failed = 0;
    for (place, database) in fleet.databases.iter().enumerate() {
        let name = format!("s{}/{}", place / 6, database.name());
        let shown = of_member(&status, &name)?;
        if place < 6 {
            ensure!(shown["state"] == "committed", "{shown}");
            continue;
        }
        failed += usize::from(shown["state"] == "failed");
    }
    fleet.expect_each(&[0, 1, 2, 3, 4, 5], &expected).await?;
    ensure!(failed >= 4, "{status:#}");
    // It has come back after all.
    lost.start_again()?;
    fleet.say("retry").run()?;
    fleet.run(2).succeed()?;
    for database in &fleet.databases[6..] {
        let now = Snapshot::take(database).await?;
        expected.expect_same(&now, database.name())?;
    }
    Ok(())
}

fn until_one_is_committed(running: &mut Running) -> Result<()> {
    let done =
        running.read_until(|line| line.contains("\"committed\"") && line.contains("done"))?;
    ensure!(done, "it ended");
    Ok(())
}
