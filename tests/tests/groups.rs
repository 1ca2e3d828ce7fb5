//! Groups of databases: three of them come to every checkpoint, to `prepared`, `committed` and back
//! together or not at all, wherever the process dies; and what is refused when.

use std::fs;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::Connection;
use upshift_coordinator::{
    coordination::DATABASE_LOCK,
    snapshot::marker::{Marker, State},
};
use upshift_shared::ids::RunId;
use upshift_tests::{
    compare::Snapshot,
    group::{BASE, Group, alone, by_hand},
    harness::{Database, Server, Upshift},
};
use upshift_worker::failpoint;

/// Others use prepared transactions too, and another group of ours may.
fn prepare_foreign(database: &Database) -> Result<[String; 2]> {
    database.psql("CREATE TABLE other (i integer)")?;
    let names = [
        "theirs",
        "upshift_0123456789abcdef0123456789abcdef_prepared_1_m0",
    ];
    let names = names.map(|gid| format!("{gid}_{}", database.name()));
    for gid in &names {
        database.psql(&format!(
            "BEGIN; INSERT INTO other VALUES (1); PREPARE TRANSACTION '{gid}'"
        ))?;
    }
    Ok(names)
}

#[tokio::test]
async fn a_group_goes_through_its_states_together() -> Result<()> {
    let end = alone().await?;
    let group = Group::new().await?;
    let start = group.snapshots().await?;
    let b = &group.databases[1];
    let foreign = prepare_foreign(b)?;
    let start_b = Snapshot::take(b).await?;
    let plan = group
        .say("plan")
        .argument(group.packs.of(0))
        .argument("--json")
        .succeed()?;
    let plan: Value = serde_json::from_str(&plan.stdout)?;
    ensure!(plan["c"]["modules"].to_string().contains("stock"), "{plan}");

    group.run().succeed()?;
    ensure!(group.state()? == "prepared");
    let status = group.say("status").argument("--json").succeed()?;
    let status: Value = serde_json::from_str(&status.stdout)?;
    ensure!(
        status["members"][2]["run"]["state"] == "prepared",
        "{status}"
    );
    let next = status["members"][2]["run"]["next"].to_string();
    ensure!(next.contains("upshift commit --group"), "{next}");
    group.run().run()?.expect_code(3)?;
    group.say("resume").succeed()?;

    let refused = group
        .say("rollback")
        .arguments(&["--to", "stock"])
        .run()?
        .expect_code(3)?;
    ensure!(
        refused.stderr.contains("they share base"),
        "{}",
        refused.stderr
    );
    group
        .say("rollback")
        .arguments(&["--to", "base"])
        .succeed()?;
    ensure!(group.state()? == "rolled_back");
    let checkpoints = group.ask("SELECT string_agg(name, ',') FROM upshift.checkpoint")?;
    ensure!(checkpoints.iter().all(|c| c == "base"), "{checkpoints:?}");
    let other = format!("{BASE} CREATE TABLE other (i integer)");
    let base = [by_hand(BASE).await?, by_hand(&other).await?].concat();
    for (database, expected) in group.databases.iter().zip([&base[0], &base[3], &base[2]]) {
        expected.expect_same(&Snapshot::take(database).await?, "back at base")?;
    }
    group.say("commit").run()?.expect_code(3)?;
    group.say("resume").succeed()?;
    group.say("rollback").succeed()?;
    ensure!(group.state()? == "rolled_back");
    group.say("rollback").succeed()?;
    let as_it_was = [&start[0], &start_b, &start[2]];
    for (database, expected) in group.databases.iter().zip(as_it_was) {
        expected.expect_same(&Snapshot::take(database).await?, "rolled back")?;
    }
    for gid in &foreign {
        b.psql(&format!("ROLLBACK PREPARED '{gid}'"))
            .context("it was touched")?;
    }
    b.psql("DROP TABLE other")?;

    group.run().argument("--commit").succeed()?;
    ensure!(group.state()? == "committed");
    group.say("commit").succeed()?;
    group.say("rollback").run()?.expect_code(3)?;
    group.expect_same(&end, "committed").await
}

/// A group whose process dies at this point of every kind of cut in turn.
async fn dies_at(point: usize) -> Result<()> {
    let name = failpoint::GROUP[point];
    // From the decision on, it is made.
    let made = point >= 3;
    let either = |yes: &'static str, no: &'static str| if made { yes } else { no };
    let group = Group::new().await?;
    let start = group.snapshots().await?;

    // The first cut makes all of them running, the second one is a checkpoint.
    group.run().dies_at(&format!("{name}:2"))?;
    group.recover()?;
    let shared =
        "SELECT string_agg(name, ',' ORDER BY name) FROM upshift.checkpoint WHERE name <> 'stock'";
    let checkpoints = group.ask(shared)?;
    let expected = if checkpoints[0] == "sale" {
        ["sale", "sale", ""]
    } else {
        ["base"; 3]
    };
    let expected = if made { expected } else { [""; 3] };
    ensure!(checkpoints == expected, "{name}: {checkpoints:?}");
    ensure!(group.state()? == "running");

    // Those that are there are not made again; what is left are the others, and `prepared`.
    let left = if made { 3 } else { 4 };
    group.say("resume").dies_at(&format!("{name}:{left}"))?;
    group.recover()?;
    ensure!(
        group.state()? == either("prepared", "running"),
        "{name}: prepared"
    );
    group.say("resume").succeed()?;

    // Half of them go back to the start, the other half to a checkpoint.
    let whole = point.is_multiple_of(2);
    let rollback = || match whole {
        true => group.say("rollback"),
        false => group.say("rollback").arguments(&["--to", "base"]),
    };
    rollback().dies_at(name)?;
    group.recover()?;
    ensure!(
        group.state()? == either("rolling_back", "prepared"),
        "{name}: rolling back"
    );
    rollback().dies_at(&format!("{name}:2"))?;
    group.recover()?;
    ensure!(
        group.state()? == either("rolled_back", "rolling_back"),
        "{name}: rolled back"
    );
    rollback().succeed()?;
    if whole {
        group
            .expect_same(&start, &format!("{name}: back at the start"))
            .await?;
        group.run().succeed()?;
    } else {
        let checkpoints = group.ask("SELECT string_agg(name, ',') FROM upshift.checkpoint")?;
        ensure!(checkpoints.iter().all(|c| c == "base"), "{checkpoints:?}");
        group
            .expect_same(&by_hand(BASE).await?, &format!("{name}: back at base"))
            .await?;
        group.say("resume").succeed()?;
    }
    group.say("commit").dies_at(name)?;
    group.recover()?;
    ensure!(
        group.state()? == either("committed", "prepared"),
        "{name}: committed"
    );
    group.say("commit").succeed()?;
    group
        .expect_same(&alone().await?, &format!("{name}: committed"))
        .await
}

#[tokio::test]
async fn it_dies_before_anything_is_prepared() -> Result<()> {
    dies_at(0).await
}

#[tokio::test]
async fn it_dies_between_two_prepares() -> Result<()> {
    dies_at(1).await
}

#[tokio::test]
async fn it_dies_before_the_decision() -> Result<()> {
    dies_at(2).await
}

#[tokio::test]
async fn it_dies_after_the_decision() -> Result<()> {
    dies_at(3).await
}

#[tokio::test]
async fn it_dies_between_two_commits() -> Result<()> {
    dies_at(4).await
}

#[tokio::test]
async fn it_dies_after_all_commits() -> Result<()> {
    dies_at(5).await
}

/// The cut that makes all of them running is like any other.
#[tokio::test]
async fn it_dies_at_every_point_of_its_first_cut() -> Result<()> {
    let group = Group::new().await?;
    let start = group.snapshots().await?;
    for (point, name) in failpoint::GROUP.iter().enumerate() {
        group.run().dies_at(name)?;
        group.recover()?;
        let expected = if point >= 3 { "running" } else { "planned" };
        ensure!(group.state()? == expected, "{name}: {}", group.state()?);
        if point.is_multiple_of(2) {
            group.say("resume").succeed()?;
            ensure!(group.state()? == "prepared", "{name}: {}", group.state()?);
        }
        group.say("rollback").succeed()?;
        ensure!(group.state()? == "rolled_back", "{name}");
        group.expect_same(&start, name).await?;
    }
    Ok(())
}

/// It dies while the runs are stored, or before they are running: nothing has run anywhere.
#[tokio::test]
async fn it_dies_before_it_is_running() -> Result<()> {
    let group = Group::new().await?;
    let start = group.snapshots().await?;
    group.run().dies_at(failpoint::GROUP_BEFORE_DECISION)?;
    group.recover()?;
    ensure!(group.state()? == "planned");
    // The home has its run first.
    for other in [&group.databases[0], &group.databases[2]] {
        other.psql("DELETE FROM upshift.source; DELETE FROM upshift.run")?;
    }
    let refused = group.say("resume").run()?.expect_code(3)?;
    ensure!(
        refused.stderr.contains("c was not begun"),
        "{}",
        refused.stderr
    );
    let refused = group.run().run()?.expect_code(3)?;
    ensure!(
        refused.stderr.contains("upshift rollback --group"),
        "{}",
        refused.stderr
    );
    group.say("rollback").succeed()?;
    group.say("rollback").succeed()?;
    group.expect_same(&start, "nothing had run").await?;
    group.run().dies_at(failpoint::GROUP_AFTER_DECISION)?;
    group.recover()?;
    ensure!(group.state()? == "running");
    group.say("resume").succeed()?;
    ensure!(group.state()? == "prepared");
    Ok(())
}

/// Recovery dies as well; and the decision is read from the home alone.
#[tokio::test]
async fn recovery_is_interrupted() -> Result<()> {
    for (point, state) in [
        (failpoint::GROUP_BEFORE_DECISION, "running"),
        (failpoint::GROUP_AFTER_DECISION, "prepared"),
    ] {
        let group = Group::new().await?;
        group.run().dies_at(&format!("{point}:4"))?;
        let left = group.say("status").succeed()?;
        ensure!(
            left.stdout.matches("left prepared").count() == 3,
            "{}",
            left.stdout
        );
        // One database alone does not know how it ends, whatever it is told.
        let single = Upshift::on(&group.databases[0], ["rollback", "--force-single"]);
        let refused = single.run()?.expect_code(3)?;
        ensure!(
            refused.stderr.contains("only the group knows"),
            "{}",
            refused.stderr
        );
        group
            .say("resume")
            .dies_at(failpoint::GROUP_DURING_RECOVERY)?;
        group.recover()?;
        ensure!(group.state()? == state, "{point}");
        group.say("resume").succeed()?;
        ensure!(group.state()? == "prepared", "{point}");
    }
    Ok(())
}

/// What fails in one database fails in all, and goes on in all.
#[tokio::test]
async fn one_fails_and_none_is_prepared() -> Result<()> {
    let group = Group::new().await?;
    let c = &group.databases[2];
    c.psql("UPDATE line SET quantity = -1 WHERE id = 77")?;
    let failed = group.run().run()?.expect_code(1)?;
    ensure!(failed.stderr.contains("database c: "), "{}", failed.stderr);
    ensure!(
        failed.stderr.contains("upshift resume --group"),
        "{}",
        failed.stderr
    );
    ensure!(group.state()? == "failed");
    group.say("commit").run()?.expect_code(3)?;
    ensure!(!failed.stderr.contains("id = 77"), "{}", failed.stderr);
    let shown = group.say("resume").argument("--show-values");
    let shown = shown.run()?.expect_code(1)?;
    ensure!(shown.stderr.contains("id = 77"), "{}", shown.stderr);
    let found = "SELECT count(*) FROM upshift.bad_row";
    ensure!(c.psql(found)?.trim() == "1", "it is found once");
    c.psql("UPDATE line SET quantity = 1 WHERE id = 77")?;
    group.say("resume").succeed()?;
    ensure!(c.psql(found)?.trim() == "0", "it is mended");
    ensure!(group.state()? == "prepared");
    group.say("rollback").succeed()?;
    ensure!(group.state()? == "rolled_back");
    Ok(())
}

#[tokio::test]
async fn it_goes_back_to_a_checkpoint_that_its_packs_name() -> Result<()> {
    let group = Group::new().await?;
    let (first, rest) = BASE.split_once("UPDATE part").context("two statements")?;
    let script = format!("{first}-- upshift: checkpoint = \"half\"\n UPDATE part{rest}");
    for member in [0, 2] {
        let folder = group.packs.of(member).join("base/migrations/2.0");
        fs::write(folder.join("pre-a.sql"), &script)?;
    }
    group.run().arguments(&["--passes", "in-place"]).succeed()?;
    let back = |to| group.say("rollback").arguments(&["--to", to]);
    let refused = back("sale").run()?.expect_code(3)?;
    for said in ["c has no checkpoint sale", "they share half, base"] {
        ensure!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
    }
    back("half").succeed()?;
    ensure!(group.state()? == "rolled_back");
    group
        .expect_same(&by_hand(first).await?, "back at half")
        .await?;
    group.say("resume").succeed()?;
    group.say("commit").succeed()?;
    group.expect_same(&alone().await?, "committed").await
}

/// What is asked of the group is shared out, and a pause of one is ended for all.
#[tokio::test]
async fn it_is_steered() -> Result<()> {
    let group = Group::new().await?;
    let b = &group.databases[1];
    let mut lock = b.connect().await?;
    sqlx::raw_sql("BEGIN; LOCK TABLE line IN SHARE MODE")
        .execute(&mut lock)
        .await?;
    let running = group
        .run()
        .arguments(&["--json", "--lock-timeout", "10min"])
        .arguments(&["--max-units", "7", "--wal-budget", "900MB/s"])
        .start()?;
    b.await_answer(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )?;
    let units = group.ask("SELECT max_units FROM upshift.control")?;
    let units = units.iter().map(|units| units.parse::<u32>());
    let units = units.collect::<Result<Vec<u32>, _>>()?;
    ensure!(units.iter().sum::<u32>() == 7, "{units:?}");
    let throttle = group.ask("SELECT throttle ? 'wal_budget' FROM upshift.control")?;
    ensure!(throttle.iter().all(|there| there == "t"), "{throttle:?}");

    Upshift::on(b, ["pause"]).succeed()?;
    let resumed = group.say("resume").succeed()?;
    ensure!(
        resumed.stdout.contains("no longer paused"),
        "{}",
        resumed.stdout
    );
    let paused = group.ask("SELECT paused FROM upshift.control")?;
    ensure!(paused.iter().all(|paused| paused == "f"), "{paused:?}");
    lock.close().await?;
    running.wait()?.expect_code(0)?;
    ensure!(group.state()? == "prepared");
    let taken = group.ask("SELECT count(*) FROM upshift.event WHERE kind = 'taken_over'")?;
    ensure!(taken.iter().all(|n| n == "1"), "{taken:?}");
    Ok(())
}

/// Ctrl-C stops all of them, and none is prepared.
#[tokio::test]
async fn it_is_interrupted() -> Result<()> {
    let group = Group::new().await?;
    let mut lock = group.databases[1].connect().await?;
    sqlx::raw_sql("BEGIN; LOCK TABLE line IN SHARE MODE")
        .execute(&mut lock)
        .await?;
    let command = group
        .run()
        .arguments(&["--json", "--lock-timeout", "10min"]);
    let mut running = command.start()?;
    group.databases[1].await_answer(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )?;
    ensure!(
        running.read_until(|line| line.contains("checkpoint_prepared") && line.contains("stock"))?
    );
    running.signal(Signal::SIGINT)?;
    ensure!(running.read_until(|line| line.contains("stopping") && line.contains("\"b\""))?);
    lock.close().await?;
    running.wait()?.expect_code(1)?;
    ensure!(group.state()? == "failed");
    group.say("resume").succeed()?;
    ensure!(group.state()? == "prepared");
    Ok(())
}

#[tokio::test]
async fn what_is_in_the_way_of_one_is_in_the_way_of_all() -> Result<()> {
    let group = Group::new().await?;
    let b = &group.databases[1];
    // Locked by another upshift: nothing is begun anywhere.
    let mut other = b.connect().await?;
    sqlx::query("SELECT pg_advisory_lock($1, $2)")
        .bind(DATABASE_LOCK.0)
        .bind(DATABASE_LOCK.1)
        .execute(&mut other)
        .await?;
    let refused = group.run().run()?.expect_code(3)?;
    ensure!(
        refused.stderr.contains("database b of the group"),
        "{}",
        refused.stderr
    );
    // A copy of a database that can still be restored is none to upgrade.
    let copy = Marker {
        state: State::Ready,
        run: RunId::generate(),
        database: "elsewhere".to_owned(),
        epoch: 1,
        to: None,
        comment: None,
    };
    other.close().await?;
    b.psql(&copy.statement(b.name()))?;
    let refused = group.run().run()?.expect_code(3)?;
    for said in ["database b: ", "part of a snapshot of database elsewhere"] {
        ensure!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
    }
    b.psql(&format!("COMMENT ON DATABASE {} IS NULL", b.name()))?;
    let ledgers = group.ask("SELECT to_regnamespace('upshift') IS NULL")?;
    ensure!(ledgers.iter().all(|none| none == "t"), "{ledgers:?}");
    Ok(())
}

#[tokio::test]
async fn a_member_is_refused_alone_and_can_be_forced() -> Result<()> {
    let group = Group::new().await?;
    let start = group.snapshots().await?;
    let [a, b, _] = &group.databases[..] else {
        anyhow::bail!("three");
    };
    group.run().succeed()?;
    for verb in ["commit", "rollback", "resume"] {
        let refused = Upshift::on(a, [verb]).run()?.expect_code(3)?;
        ensure!(refused.stderr.contains("--group"), "{}", refused.stderr);
    }
    let in_the_way = Upshift::on(a, ["run"])
        .argument(group.packs.of(0))
        .run()?
        .expect_code(3)?;
    ensure!(
        in_the_way.stderr.contains("upshift rollback --group"),
        "{}",
        in_the_way.stderr
    );
    Upshift::on(a, ["rollback", "--force-single"]).succeed()?;
    let torn = group.say("commit").run()?.expect_code(3)?;
    ensure!(
        torn.stderr.contains("a is rolled_back, b is prepared"),
        "{}",
        torn.stderr
    );
    for database in &group.databases[1..] {
        Upshift::on(database, ["rollback", "--force-single"]).succeed()?;
    }
    group.expect_same(&start, "each alone").await?;

    // Another file is another group.
    let text = fs::read_to_string(&group.file)?;
    for (from, to, said) in [
        ("home = \"b\"", "home = \"a\"", "write home = \"b\""),
        (
            "name = \"c\"",
            "name = \"d\"",
            "the group was begun with a, b, c",
        ),
    ] {
        fs::write(&group.file, text.replace(from, to))?;
        let refused = group.say("resume").run()?;
        ensure!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    fs::write(&group.file, text.replace(a.name(), b.name()))?;
    let same = group.say("status").run()?.expect_code(2)?;
    ensure!(
        same.stderr.contains("are the same database"),
        "{}",
        same.stderr
    );
    Ok(())
}

#[tokio::test]
async fn a_server_that_allows_no_prepared_transactions_is_named() -> Result<()> {
    let server = Server::own_with(&[("max_prepared_transactions", "0")])?;
    let group = Group::on_server(server)?;
    let refused = group.run().run()?.expect_code(3)?;
    for said in [
        "database a",
        "max_prepared_transactions = 10",
        "restart",
        "doctor",
    ] {
        ensure!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
    }
    let ledgers = group.ask("SELECT to_regnamespace('upshift') IS NULL")?;
    ensure!(ledgers.iter().all(|none| none == "t"), "{ledgers:?}");
    let doctor = Upshift::on(&group.databases[0], ["doctor"]).run()?;
    ensure!(
        doctor.stdout.contains("max_prepared_transactions is 0"),
        "{}",
        doctor.stdout
    );
    Ok(())
}

/// The server crashes while transactions are prepared: once with the process, once under it.
#[tokio::test]
async fn the_server_crashes_between_the_phases() -> Result<()> {
    let server = Server::own()?;
    let group = Group::on_server(server)?;
    for (point, state) in [
        (failpoint::GROUP_BEFORE_DECISION, "running"),
        (failpoint::GROUP_AFTER_DECISION, "prepared"),
    ] {
        group.run().dies_at(&format!("{point}:4"))?;
        server.crash()?;
        server.start_again()?;
        let left = group
            .ask("SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()")?;
        ensure!(left.iter().all(|n| n == "1"), "{point}: {left:?}");
        group.recover()?;
        ensure!(group.state()? == state, "{point}");
        group.say("rollback").succeed()?;
    }

    // Two are prepared, the third one waits for a lock: the process sees its sessions end.
    let c = &group.databases[2];
    let mut lock = c.connect().await?;
    sqlx::raw_sql("BEGIN; LOCK TABLE upshift.checkpoint IN SHARE MODE")
        .execute(&mut lock)
        .await?;
    let running = group.run().arguments(&["--json"]).start()?;
    c.await_answer(
        "SELECT 1 FROM pg_prepared_xacts WHERE gid LIKE '%_checkpoint_%' HAVING count(*) = 2",
    )?;
    server.crash()?;
    drop(lock);
    server.start_again()?;
    running.wait()?.expect_code(0)?;
    ensure!(group.state()? == "prepared");
    let left = group.ask("SELECT count(*) FROM pg_prepared_xacts")?;
    ensure!(left.iter().all(|n| n == "0"), "{left:?}");
    Ok(())
}
