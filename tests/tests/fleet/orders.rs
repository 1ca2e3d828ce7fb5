//! What operators order of a fleet: to pause, to abort, to commit and to take back some of it, a wave, or all.

use anyhow::{Result, ensure};
use serde_json::Value;
use upshift_tests::{
    compare::Snapshot,
    fleet::{Fleet, Tiny, of_member, until_prepared},
};

const TWO_WAVES: &str =
    "[[waves]]\nname = \"first\"\ntake = 2\n[[waves]]\nname = \"rest\"\ntake = \"rest\"";

/// Places of members that are in a wave.
fn in_wave(fleet: &Fleet, status: &Value, wave: &str) -> Result<Vec<usize>> {
    let mut places = Vec::new();
    for place in 0..fleet.databases.len() {
        if of_member(status, &fleet.member(place))?["wave"] == wave {
            places.push(place);
        }
    }
    Ok(places)
}

#[tokio::test]
async fn some_a_wave_and_all_are_committed_and_have_no_way_back() -> Result<()> {
    let tiny = Tiny::new()?;
    let expected = tiny.by_psql().await?;
    let fleet = tiny.fleet(6, TWO_WAVES)?;
    let start = Snapshot::take(&fleet.databases[0]).await?;
    fleet.run(2).succeed()?;
    let status = fleet.expect_states(&[("prepared", 6)])?;
    ensure!(status["standing"] == "done", "{status:#}");
    let (first, rest) = (
        in_wave(&fleet, &status, "first")?,
        in_wave(&fleet, &status, "rest")?,
    );
    let (one, other) = (fleet.member(rest[0]), fleet.member(rest[1]));

    fleet.say("commit").argument(&one).succeed()?;
    fleet.expect_states(&[("committed", 1), ("prepared", 5)])?;
    // One that has no way back keeps the others that are named with it where they are.
    let refused = fleet.say("rollback").arguments(&[&one, &other]).run()?;
    let refused = refused.expect_code(3)?.stderr;
    ensure!(
        refused.contains(&format!("{one} is committed")),
        "{refused}"
    );
    fleet
        .say("commit")
        .arguments(&["--wave", "first"])
        .succeed()?;
    fleet.expect_states(&[("committed", 3), ("prepared", 3)])?;
    let refused = fleet.say("rollback").arguments(&["--wave", "first"]);
    let refused = refused.run()?.expect_code(3)?.stderr;
    ensure!(
        refused.contains("2 of these databases are committed"),
        "{refused}"
    );

    // All that can come back does, and it is said that others cannot.
    let back = fleet.say("rollback").argument("--all").run()?;
    let back = back.expect_code(1)?.stderr;
    ensure!(
        back.contains("3 are not taken back: 3 are committed"),
        "{back}"
    );
    fleet.expect_states(&[("committed", 3), ("rolled_back", 3)])?;
    fleet.expect_each(&rest[1..], &start).await?;
    fleet.expect_each(&first, &expected).await?;
    fleet.expect_each(&rest[..1], &expected).await?;
    // Nothing is prepared: there is nothing to commit, and that is no failure.
    fleet.say("commit").argument("--all").succeed()?;
    let refused = fleet.say("commit").argument(&other).run()?;
    let refused = refused.expect_code(3)?.stderr;
    ensure!(refused.contains("is not prepared"), "{refused}");

    // Who has taken all of it back says so before it is done once more.
    let done = fleet.run(2).succeed()?.stderr;
    ensure!(
        done.contains("3 are rolled back") && done.contains("--anew"),
        "{done}"
    );
    fleet.run(2).argument("--anew").succeed()?;
    fleet.expect_states(&[("committed", 3), ("prepared", 3)])?;
    fleet.say("commit").argument("--all").succeed()?;
    fleet.expect_each(&[0, 1, 2, 3, 4, 5], &expected).await?;
    let refused = fleet.say("rollback").argument("--all").run()?;
    refused.expect_code(3)?;
    Ok(())
}

#[tokio::test]
async fn some_and_a_wave_are_taken_back() -> Result<()> {
    let tiny = Tiny::new()?;
    let fleet = tiny.fleet(6, TWO_WAVES)?;
    let start = Snapshot::take(&fleet.databases[0]).await?;
    // One failed before: that is not what an order about others is about.
    let broken = 5;
    fleet.databases[broken].psql(Tiny::BREAK)?;
    let before = Snapshot::take(&fleet.databases[broken]).await?;
    let policy = format!("on_failure = {{ stop_after = \"never\" }}\n{TWO_WAVES}");
    fleet.order("fleet", &tiny.order(&policy), &members(&fleet))?;
    fleet.run(2).run()?.expect_code(1)?;
    let status = fleet.expect_states(&[("failed", 1), ("prepared", 5)])?;
    let first = in_wave(&fleet, &status, "first")?;
    let rest = in_wave(&fleet, &status, "rest")?;
    let one = *rest.iter().find(|place| **place != broken).unwrap_or(&0);

    fleet
        .say("rollback")
        .argument(fleet.member(one))
        .succeed()?;
    fleet.expect_each(&[one], &start).await?;
    // Who goes on leaves it where it is.
    fleet.run(2).run()?.expect_code(1)?;
    fleet.expect_each(&[one], &start).await?;
    fleet
        .say("rollback")
        .arguments(&["--wave", "first"])
        .succeed()?;
    let sound: Vec<usize> = first.into_iter().filter(|place| *place != broken).collect();
    fleet.expect_each(&sound, &start).await?;
    fleet.say("rollback").argument("--all").succeed()?;
    let sound: Vec<usize> = (0..broken).collect();
    fleet.expect_each(&sound, &start).await?;
    fleet.expect_each(&[broken], &before).await
}

fn members(fleet: &Fleet) -> Vec<String> {
    (0..fleet.databases.len())
        .map(|place| fleet.member(place))
        .collect()
}

#[tokio::test]
async fn a_fleet_is_paused_goes_on_is_aborted_and_begins_anew() -> Result<()> {
    let tiny = Tiny::new()?;
    tiny.template.psql("UPDATE pace SET seconds = 0.4")?;
    let expected = tiny.by_psql().await?;
    // More than are through by the time at which the orders come.
    let fleet = tiny.fleet(16, "caps = { max_databases = 2 }")?;
    let start = Snapshot::take(&fleet.databases[0]).await?;
    // Paused before it has begun, it waits, and says so.
    let written = fleet.say("pause").succeed()?.stdout;
    ensure!(
        written.contains("no process conducts the fleet"),
        "{written}"
    );
    let mut running = fleet.run(2).start()?;
    ensure!(running.read_until(|line| line.contains("\"waits\"") && line.contains("paused"))?);
    fleet.say("resume").succeed()?;
    until_prepared(&mut running, 1)?;
    fleet.say("pause").succeed()?;
    let paused = fleet.await_status(|status| status["states"]["running"].is_null())?;
    ensure!(paused["standing"] == "paused" && paused["conducted"] == true);
    let waits = paused["members"].as_array().into_iter().flatten();
    let waits = waits.filter(|member| member["state"] == "waiting");
    let reasons: Vec<&str> = waits
        .filter_map(|member| member["reason"].as_str())
        .collect();
    let why = |reason: &&str| reason.contains("paused: `upshift fleet resume`");
    ensure!(
        !reasons.is_empty() && reasons.iter().all(why),
        "{reasons:?}"
    );
    ensure!(!running.has_ended()?, "it waits to be resumed");
    fleet.say("resume").succeed()?;
    until_prepared(&mut running, 1)?;

    fleet.say("abort").succeed()?;
    let aborted = running.wait()?.expect_code(1)?.stderr;
    ensure!(aborted.contains("failed"), "{aborted}");
    let status = fleet.status()?;
    ensure!(status["standing"] == "aborted", "{status:#}");
    let count = |state: &str| status["states"][state].as_u64().unwrap_or_default();
    ensure!(
        count("prepared") >= 2 && count("waiting") >= 1,
        "{status:#}"
    );
    for place in 0..16 {
        let member = of_member(&status, &fleet.member(place))?;
        match member["state"].as_str() {
            Some("waiting") => fleet.expect_each(&[place], &start).await?,
            Some("failed") => ensure!(member["reason"] == "the fleet was aborted", "{member}"),
            state => ensure!(state == Some("prepared"), "{member}"),
        }
    }
    for verb in ["retry", "resume"] {
        let refused = fleet.say(verb).run()?.expect_code(3)?.stderr;
        ensure!(refused.contains("run --anew"), "{refused}");
    }
    let still = fleet.run(2).run()?.expect_code(1)?.stderr;
    ensure!(
        still.contains("failed") || still.contains("--anew"),
        "{still}"
    );
    // Killed while it begins anew, it is not aborted again for whoever goes on.
    let mut anew = fleet.run(2).argument("--anew").start()?;
    until_prepared(&mut anew, 1)?;
    anew.kill()?;
    fleet.run(2).succeed()?;
    fleet.expect_states(&[("prepared", 16)])?;
    fleet.say("commit").argument("--all").succeed()?;
    let all: Vec<usize> = (0..16).collect();
    fleet.expect_each(&all, &expected).await
}

/// What an application has written after `prepared` is not lost unless somebody says so.
#[tokio::test]
async fn who_wrote_to_a_prepared_database_is_not_overrun() -> Result<()> {
    let tiny = Tiny::new()?;
    let fleet = tiny.fleet(3, "")?;
    let start = Snapshot::take(&fleet.databases[0]).await?;
    fleet
        .run(2)
        .arguments(&["--", "--passes", "shadow"])
        .succeed()?;
    fleet.databases[1].psql("INSERT INTO t VALUES (1000, 1, 'written since')")?;
    let back = fleet.say("rollback").argument("--all").run()?;
    let back = back.expect_code(1)?;
    ensure!(
        back.stderr.contains("1 are not taken back"),
        "{}",
        back.stderr
    );
    let said = format!("{}{}", back.stdout, back.stderr);
    ensure!(said.contains("--force"), "{said}");
    fleet.expect_each(&[0, 2], &start).await?;
    let written = "SELECT note FROM t WHERE id = 1000";
    ensure!(fleet.databases[1].psql(written)?.trim() == "written since");
    let status = fleet.expect_states(&[("rolled_back", 2), ("prepared", 1)])?;
    let waits = of_member(&status, &fleet.member(1))?;
    ensure!(waits["state"] == "prepared", "{waits}");

    let forced = ["--force", &fleet.member(1)];
    fleet.say("rollback").arguments(&forced).succeed()?;
    fleet.expect_each(&[0, 1, 2], &start).await
}

/// Options of runs belong to the order: whoever goes on keeps to them.
#[tokio::test]
async fn options_are_those_that_it_was_begun_with() -> Result<()> {
    let tiny = Tiny::new()?;
    let fleet = tiny.fleet(4, &format!("approval = true\n{TWO_WAVES}"))?;
    let mut running = fleet
        .run(2)
        .arguments(&["--", "--verify", "full", "--passes", "shadow"])
        .start()?;
    ensure!(running.read_until(|line| line.contains("awaits_approval"))?);
    running.kill()?;
    fleet.say("approve").argument("first").succeed()?;
    fleet.run(2).succeed()?;
    for database in &fleet.databases {
        let verify = database.psql("SELECT options ->> 'verify' FROM upshift.run")?;
        ensure!(verify.trim() == "full", "{verify}");
        let passes = "SELECT count(*) > 0 FROM upshift.run WHERE plan::text LIKE '%shadow%'";
        ensure!(database.psql(passes)?.trim() == "t", "passes as ordered");
    }
    // Begun anew it is an order of its own.
    fleet.say("rollback").argument("--all").succeed()?;
    fleet.run(2).arguments(&["--anew", "--yes"]).succeed()?;
    let newest = "SELECT options ->> 'verify' FROM upshift.run ORDER BY created_at DESC LIMIT 1";
    ensure!(fleet.databases[0].psql(newest)?.trim() == "counts");
    // What is no option is said before anything is kept.
    let wrong = fleet.run(2).arguments(&["--", "--passes", "sideways"]);
    wrong.run()?.expect_code(2)?;
    fleet.run(2).succeed()?;
    Ok(())
}
