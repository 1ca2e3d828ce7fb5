//! The time window: what goes on stops at its end, and goes on in the next one.

use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use upshift_shared::clock::since_epoch;
use upshift_tests::{
    compare::Snapshot,
    fleet::{Tiny, of_member},
};

/// A window from and to so many seconds from now.
fn window(from: i64, to: i64, at_end: &str) -> String {
    let at = |seconds: i64| {
        let time = since_epoch().as_secs().saturating_add_signed(seconds) % 86_400;
        format!("{:02}:{:02}:{:02}", time / 3_600, time / 60 % 60, time % 60)
    };
    format!(
        "caps = {{ max_databases = 2 }}\n\
         window = {{ from = \"{}\", to = \"{}\", at_end = \"{at_end}\" }}",
        at(from),
        at(to)
    )
}

#[tokio::test]
async fn it_stops_at_the_end_and_goes_on_in_the_next_one() -> Result<()> {
    let tiny = Tiny::new()?;
    tiny.template.psql("UPDATE pace SET seconds = 2")?;
    let expected = tiny.by_psql().await?;
    let fleet = tiny.fleet(6, &window(-60, 8, "stop"))?;
    let members: Vec<String> = (0..6).map(|place| fleet.member(place)).collect();
    let start = Snapshot::take(&fleet.databases[0]).await?;
    let mut running = fleet.run(2).start()?;
    ensure!(running.read_until(|line| line.contains("\"waits\"") && line.contains("window"))?);
    // What goes on ends with the unit that it is at.
    let status = fleet.await_status(|status| status["states"]["running"].is_null())?;
    let standing = status["standing"].to_string();
    ensure!(
        standing.contains("the window is closed, and opens in"),
        "{standing}"
    );
    let mut begun = 0;
    for (place, name) in members.iter().enumerate() {
        let member = of_member(&status, name)?;
        if member["state"] == "waiting" {
            ensure!(member["reason"] == "the window is closed", "{member}");
        }
        let ledger = "SELECT to_regnamespace('upshift') IS NOT NULL";
        match fleet.databases[place].psql(ledger)?.trim() {
            "t" => begun += 1,
            _ => fleet.expect_each(&[place], &start).await?,
        }
    }
    ensure!((1..6).contains(&begun), "{begun} were begun");
    ensure!(!running.has_ended()?, "it waits for the next one");
    running.signal(Signal::SIGTERM)?;
    running.wait()?.expect_code(1)?;

    // The next one opens in a moment; an order that comes while it is closed is heeded.
    fleet.order("fleet", &tiny.order(&window(10, 600, "finish")), &members)?;
    let mut running = fleet.run(2).start()?;
    ensure!(running.read_until(|line| line.contains("opens in"))?);
    running.wait()?.expect_code(0)?;
    fleet.expect_states(&[("prepared", 6)])?;
    // Commits and ways back are not upgrades: they may come at any time.
    fleet.order(
        "fleet",
        &tiny.order(&window(3_600, 7_200, "stop")),
        &members,
    )?;
    fleet.say("commit").argument("--all").succeed()?;
    fleet.expect_each(&[0, 1, 2, 3, 4, 5], &expected).await
}

/// With `finish` what has begun is brought to its end, and nothing else begins.
#[tokio::test]
async fn what_has_begun_is_finished() -> Result<()> {
    let tiny = Tiny::new()?;
    // Twice as long as the window is open: only those are begun in it that there is room for at once.
    tiny.template.psql("UPDATE pace SET seconds = 5")?;
    let fleet = tiny.fleet(4, &window(-60, 8, "finish"))?;
    let mut running = fleet.run(2).start()?;
    ensure!(running.read_until(|line| line.contains("\"waits\"") && line.contains("window"))?);
    let status = fleet.status()?;
    let count = |state: &str| status["states"][state].as_u64().unwrap_or_default();
    ensure!(
        count("prepared") >= 1 && count("waiting") >= 1,
        "{status:#}"
    );
    ensure!(count("prepared") + count("waiting") == 4, "{status:#}");
    let begun = fleet.databases.iter().map(|database| {
        let begun = database.psql("SELECT to_regnamespace('upshift') IS NOT NULL")?;
        anyhow::Ok(u64::from(begun.trim() == "t"))
    });
    ensure!(
        begun.sum::<Result<u64>>()? == count("prepared"),
        "{status:#}"
    );
    running.kill()?;
    // One that the window keeps waiting is told by whoever looks at it, too.
    let status = fleet.status()?;
    let closed = status["standing"].to_string();
    ensure!(closed.contains("the window is closed"), "{closed}");
    ensure!(Duration::from_secs(status["at"].as_u64().unwrap_or(0)) <= since_epoch());
    Ok(())
}

/// With `finish` none is begun that would not be through by the end, by its plan and its rows.
#[tokio::test]
async fn one_that_would_not_be_through_is_not_begun() -> Result<()> {
    let tiny = Tiny::new()?;
    let fleet = tiny.fleet(3, &window(-7_200, 90, "finish"))?;
    let rows = |place: usize, rows: &str| {
        let sql = format!("UPDATE pg_class SET reltuples = {rows} WHERE oid = 't'::regclass");
        fleet.databases[place].psql_as_superuser(&sql)
    };
    rows(1, "2e7")?;
    rows(2, "2e9")?;
    let running = fleet.run(2).start()?;
    let status = fleet.await_status(|status| {
        let count = |state: &str| status["states"][state].as_u64().unwrap_or_default();
        (count("prepared"), count("waiting"), count("refused")) == (1, 1, 1)
    })?;
    let reason = |place: usize| {
        let member = of_member(&status, &fleet.member(place))?;
        anyhow::Ok(member["reason"].as_str().unwrap_or_default().to_owned())
    };
    let waits = "it would not be through by the end of the window, and waits for the next";
    ensure!(reason(1)? == waits, "{status:#}");
    ensure!(
        reason(2)?.contains("longer than the window is open"),
        "{status:#}"
    );
    for place in [1, 2] {
        let ledger = "SELECT to_regnamespace('upshift') IS NOT NULL";
        ensure!(fleet.databases[place].psql(ledger)?.trim() == "f");
    }
    running.signal(Signal::SIGTERM)?;
    running.wait()?.expect_code(1)?;
    Ok(())
}
