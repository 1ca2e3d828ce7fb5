//! What failures mean: for the others of a wave, for what failed, and for whoever mends it.

use anyhow::{Context, Result, ensure};
use upshift_tests::{
    compare::Snapshot,
    fleet::{Fleet, Tiny, of_member},
};

/// Places in the order of names.
fn by_name(fleet: &Fleet) -> Vec<usize> {
    let mut places: Vec<usize> = (0..fleet.databases.len()).collect();
    places.sort_by_key(|place| fleet.member(*place));
    places
}

/// One after the other, in the order of names.
fn one_by_one(on_failure: &str) -> String {
    format!("order = \"by_name\"\ncaps = {{ max_databases = 1 }}\non_failure = {on_failure}")
}

#[tokio::test]
async fn it_stops_after_so_many_and_goes_on_when_they_are_mended() -> Result<()> {
    let tiny = Tiny::new()?;
    let expected = tiny.by_psql().await?;
    let fleet = tiny.fleet(7, &one_by_one("{ stop_after = 2 }"))?;
    let places = by_name(&fleet);
    let broken = [places[1], places[3]];
    for place in broken {
        fleet.databases[place].psql(Tiny::BREAK)?;
    }
    let start = fleet.snapshots().await?;
    let stopped = fleet.say("run").arguments(&["--workers", "1"]).run()?;
    let stopped = stopped.expect_code(1)?;
    ensure!(
        stopped.stdout.contains("stopped by the failures"),
        "{}",
        stopped.stdout
    );
    ensure!(
        stopped.stderr.contains("2 failed") && stopped.stderr.contains("fleet retry"),
        "{}",
        stopped.stderr
    );
    let status = fleet.expect_states(&[("prepared", 2), ("failed", 2), ("waiting", 3)])?;
    for place in &places[4..] {
        let member = of_member(&status, &fleet.member(*place))?;
        let reason = member["reason"].as_str().unwrap_or_default();
        ensure!(reason.contains("2 of wave all failed"), "{member}");
        let now = Snapshot::take(&fleet.databases[*place]).await?;
        start[*place].expect_same(&now, "not begun")?;
        let ledger = "SELECT to_regnamespace('upshift') IS NULL";
        ensure!(fleet.databases[*place].psql(ledger)?.trim() == "t");
    }
    for place in broken {
        let member = of_member(&status, &fleet.member(place))?;
        ensure!(member.to_string().contains("small"), "{member}");
    }
    // Going on does not make it better: it is stopped as before.
    fleet.run(1).run()?.expect_code(1)?;
    fleet.expect_states(&[("prepared", 2), ("failed", 2), ("waiting", 3)])?;

    // One is mended, both are tried: one is enough for the others to have their turn.
    fleet.databases[broken[0]].psql(Tiny::MEND)?;
    fleet.say("retry").run()?.expect_code(1)?;
    fleet.expect_states(&[("prepared", 3), ("failed", 1), ("waiting", 3)])?;
    fleet.run(1).run()?.expect_code(1)?;
    fleet.expect_states(&[("prepared", 6), ("failed", 1)])?;
    fleet.databases[broken[1]].psql(Tiny::MEND)?;
    fleet
        .say("retry")
        .argument(fleet.member(broken[1]))
        .succeed()?;
    fleet.run(1).succeed()?;
    fleet.say("commit").argument("--all").succeed()?;
    fleet.expect_each(&places, &expected).await
}

#[tokio::test]
async fn it_stops_after_a_part_and_takes_back_what_failed() -> Result<()> {
    let tiny = Tiny::new()?;
    let policy = one_by_one("{ stop_after = \"25 %\", then = \"roll_back\" }");
    let fleet = tiny.fleet(8, &policy)?;
    let places = by_name(&fleet);
    let broken = [places[0], places[2]];
    for place in broken {
        fleet.databases[place].psql(Tiny::BREAK)?;
    }
    let start = fleet.snapshots().await?;
    fleet.run(1).run()?.expect_code(1)?;
    let states = [("rolled_back", 2), ("prepared", 1), ("waiting", 5)];
    let status = fleet.expect_states(&states)?;
    ensure!(status["failed"] == 2, "{status:#}");
    let report = fleet.report()?;
    for place in broken {
        let now = Snapshot::take(&fleet.databases[place]).await?;
        start[place].expect_same(&now, "taken back")?;
        for shown in [&status, &report] {
            let member = of_member(shown, &fleet.member(place))?;
            let reason = member["reason"].as_str().context("why it failed")?;
            ensure!(
                reason.contains("small") && member["failed"] == true,
                "{member}"
            );
        }
    }
    // In spite of them: what failed stays where it is.
    fleet.say("resume").succeed()?;
    fleet.run(2).run()?;
    fleet.expect_states(&[("rolled_back", 2), ("prepared", 6)])?;
    for place in broken {
        fleet.databases[place].psql(Tiny::MEND)?;
    }
    fleet.say("retry").succeed()?;
    fleet.expect_states(&[("prepared", 8)])?;
    Ok(())
}

/// What fails before there is a ledger is remembered all the same.
#[tokio::test]
async fn what_cannot_even_begin_is_remembered_and_retried() -> Result<()> {
    let tiny = Tiny::new()?;
    let expected = tiny.by_psql().await?;
    let fleet = tiny.fleet(
        3,
        "on_failure = { stop_after = \"never\", then = \"roll_back\" }",
    )?;
    // The pack's files do not fit such a database.
    fleet.databases[0].psql("ALTER TABLE t RENAME COLUMN note TO remark")?;
    let before = Snapshot::take(&fleet.databases[0]).await?;
    for _ in 0..2 {
        fleet.run(2).run()?.expect_code(1)?;
        let status = fleet.expect_states(&[("failed", 1), ("prepared", 2)])?;
        let member = of_member(&status, &fleet.member(0))?;
        ensure!(member["reason"].to_string().contains("note"), "{member}");
        let now = Snapshot::take(&fleet.databases[0]).await?;
        before.expect_same(&now, "not begun")?;
    }
    // Nothing was done to it, so that it is as it was.
    fleet.say("rollback").argument(fleet.member(0)).succeed()?;
    fleet.databases[0].psql("ALTER TABLE t RENAME COLUMN remark TO note")?;
    fleet.say("retry").succeed()?;
    fleet.say("commit").argument("--all").succeed()?;
    fleet.expect_each(&[0, 1, 2], &expected).await
}
