//! Waves: who is in them, who comes after whom, who says so, and how it is shown; and that the place in them
//! is kept, or asked for again where it is lost.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use upshift_tests::fleet::{Tiny, of_member, until_prepared};

/// By label, by size, by part, and the rest; committed wave by wave.
#[tokio::test]
async fn waves_by_label_size_and_part_come_one_after_the_other() -> Result<()> {
    let tiny = Tiny::new()?;
    let expected = tiny.by_psql().await?;
    let waves = "commit = \"after_wave\"\n\
                 [[waves]]\nname = \"gold\"\ntake = \"rest\"\nlabels = { tier = \"gold\" }\n\
                 [[waves]]\nname = \"part\"\ntake = \"5 %\"\nsmaller_than = \"12MB\"\n\
                 [[waves]]\nname = \"large\"\ntake = \"rest\"\nlarger_than = \"12MB\"\n\
                 [[waves]]\nname = \"others\"\ntake = \"rest\"\nmax_databases = 1\n";
    let mut fleet = tiny.fleet(9, waves)?;
    for place in [3, 4] {
        let fill = "CREATE TABLE filling AS SELECT repeat('x', 500) FROM generate_series(1, 12000)";
        fleet.databases[place].psql(fill)?;
    }
    // Database 2 is large and gold.
    fleet.databases.swap(2, 3);
    let gold = [1, 2].map(|place| format!("\"{}\"", fleet.member(place)));
    let labels = format!(
        "[[labels]]\nmatch = [{}]\nset = {{ tier = \"gold\" }}\n",
        gold.join(", ")
    );
    let members: Vec<String> = (0..9).map(|place| fleet.member(place)).collect();
    fleet.order("fleet", &tiny.order(&format!("{waves}{labels}")), &members)?;
    let said = fleet.run(2).succeed()?.stdout;

    let status = fleet.expect_states(&[("committed", 9)])?;
    let mut waves = BTreeMap::<String, Vec<String>>::new();
    for member in &members {
        let wave = of_member(&status, member)?["wave"]
            .as_str()
            .context("wave")?;
        waves
            .entry(wave.to_owned())
            .or_default()
            .push(member.clone());
    }
    let of = |wave: &str| waves.get(wave).cloned().unwrap_or_default();
    ensure!(
        of("gold") == [members[1].clone(), members[2].clone()],
        "{waves:?}"
    );
    // 5 % of nine, rounded up.
    ensure!(of("part").len() == 1, "{waves:?}");
    ensure!(of("large") == [members[4].clone()], "{waves:?}");
    ensure!(of("others").len() == 5, "{waves:?}");
    // What was done comes in the order of waves: a wave is committed before the next one begins.
    let mut last = 0;
    for line in said.lines() {
        let event: Value = serde_json::from_str(line)?;
        let Some(member) = event["done"]["member"].as_str() else {
            continue;
        };
        let names = ["gold", "part", "large", "others"];
        let wave = names
            .iter()
            .position(|wave| of(wave).contains(&member.to_owned()));
        let step = 2 * wave.context("a wave")? + usize::from(event["done"]["what"] == "commit");
        ensure!(step >= last, "{member} comes late: {said}");
        last = step;
    }
    ensure!(last == 7, "{said}");
    let plain: Vec<usize> = (0..9).filter(|place| ![2, 4].contains(place)).collect();
    fleet.expect_each(&plain, &expected).await
}

/// Whoever waits for approval says so; who approves with nobody there is heeded by the next one; `--yes` asks
/// nobody; and a lost place costs no more than being asked again.
#[tokio::test]
async fn approval_is_asked_for_given_kept_and_lost() -> Result<()> {
    let tiny = Tiny::new()?;
    let order = "approval = true\n[[waves]]\nname = \"canary\"\ntake = 1\n\
                 [[waves]]\nname = \"more\"\ntake = 2\n[[waves]]\nname = \"rest\"\ntake = \"rest\"";
    let fleet = tiny.fleet(5, order)?;
    let start = fleet.snapshots().await?;
    let waiting = fleet.say("run").arguments(&["--workers", "2"]).start()?;
    fleet.await_status(|status| status["standing"].to_string().contains("approved"))?;
    let again = fleet.run(2).run()?.expect_code(3)?.stderr;
    ensure!(
        again.contains("another process conducts this fleet"),
        "{again}"
    );
    waiting.signal(Signal::SIGTERM)?;
    let said = waiting.wait()?.expect_code(1)?.stderr;
    for words in [
        "wave canary has ended",
        "upshift fleet approve",
        "canary",
        "go on with",
    ] {
        ensure!(said.contains(words), "{words} is not in {said}");
    }
    let status = fleet.expect_states(&[("prepared", 1), ("waiting", 4)])?;
    ensure!(status["standing"] == "wave canary has ended and waits to be approved");
    ensure!(status["conducted"] == false);
    let approved = fleet.say("approve").argument("canary").succeed()?.stdout;
    ensure!(
        approved.contains("no process conducts the fleet"),
        "{approved}"
    );

    let mut running = fleet.run(2).start()?;
    ensure!(running.read_until(|line| line.contains("awaits_approval") && line.contains("more"))?);
    running.kill()?;
    let status = fleet.expect_states(&[("prepared", 3), ("waiting", 2)])?;
    ensure!(status["standing"] == "wave more has ended and waits to be approved");
    // Without its place the ledgers say how all stand, and approvals are asked for again.
    fs::remove_file(fleet.state().join("place.json"))?;
    let status = fleet.expect_states(&[("prepared", 3), ("waiting", 2)])?;
    ensure!(status["standing"] == "wave canary has ended and waits to be approved");
    fleet.run(2).argument("--yes").succeed()?;
    fleet.expect_states(&[("prepared", 5)])?;
    // A place that cannot be read is not guessed at.
    fs::write(fleet.state().join("place.json"), "{\"version\": 1, ")?;
    let unreadable = fleet.run(2).run()?.expect_code(3)?.stderr;
    ensure!(
        unreadable.contains("place.json cannot be read"),
        "{unreadable}"
    );
    fs::remove_file(fleet.state().join("place.json"))?;
    fleet.say("rollback").argument("--all").succeed()?;
    fleet.expect_same(&start, "taken back").await
}

/// Waves that have begun stay what they were; a wave that nobody fits is told of, and asks for its approval
/// all the same.
#[tokio::test]
async fn waves_are_not_changed_under_way_and_empty_ones_are_told() -> Result<()> {
    let tiny = Tiny::new()?;
    let waves = |first: &str| {
        format!(
            "approval = true\n[[waves]]\nname = \"{first}\"\ntake = 1\nlabels = {{ tier = \"test\" }}\n\
             [[waves]]\nname = \"rest\"\ntake = \"rest\"\n"
        )
    };
    let fleet = tiny.fleet(2, &waves("canary"))?;
    let members: Vec<String> = (0..2).map(|place| fleet.member(place)).collect();
    let waiting = fleet.say("run").arguments(&["--workers", "2"]).start()?;
    // Before, ledgers say the same.
    fleet.await_status(|_| fleet.state().join("status.json").exists())?;
    let status =
        fleet.await_status(|status| status["standing"].to_string().contains("approved"))?;
    ensure!(status["states"]["waiting"] == 2, "{status:#}");
    waiting.signal(Signal::SIGTERM)?;
    let said = waiting.wait()?.expect_code(1)?.stderr;
    ensure!(
        said.contains("wave canary is to take 1, and finds 0 that fit"),
        "{said}"
    );
    fleet.order("fleet", &tiny.order(&waves("other")), &members)?;
    let refused = fleet.run(2).run()?.expect_code(3)?.stderr;
    ensure!(
        refused.contains("no longer those that were opened (canary)") && refused.contains("--anew"),
        "{refused}"
    );
    fleet.run(2).arguments(&["--anew", "--yes"]).succeed()?;
    fleet.expect_states(&[("prepared", 2)])?;
    Ok(())
}

/// The same file with the pack of the next version is another order: nothing of the last one is taken for its
/// own, committed or taken back by it.
#[tokio::test]
async fn another_pack_is_another_order() -> Result<()> {
    let tiny = Tiny::new()?;
    let fleet = tiny.fleet(2, "commit = \"by_hand\"")?;
    fleet.run(2).succeed()?;
    let committed = fleet.member(0);
    fleet.say("commit").argument(&committed).succeed()?;

    let next = "m/migrations/3.0/pre-a.sql";
    let files = [
        (
            "pack.toml",
            "name = \"tiny-3\"\n[installed]\nquery = \"SELECT name, version FROM module\"\n",
        ),
        ("m/module.toml", "name = \"m\"\nversion = \"3.0\"\n"),
        (
            next,
            "ALTER TABLE t ADD COLUMN x text; UPDATE module SET version = '3.0';\n",
        ),
    ];
    fs::create_dir_all(tiny.pack().join(next).parent().context("it has a folder")?)?;
    for (name, text) in files {
        fs::write(tiny.pack().join(name), text)?;
    }
    for verb in ["run", "rollback"] {
        let all = (verb == "rollback").then_some("--all");
        let said = fleet.say(verb).arguments(all.as_slice()).run()?;
        let refused = said.expect_code(3)?.stderr;
        ensure!(
            refused.contains("begun with pack tiny, and this is tiny-3")
                && refused.contains("--anew"),
            "{refused}"
        );
    }
    // One that is not committed is in the way, as somebody else's would be.
    fleet.run(2).argument("--anew").run()?;
    fleet.expect_states(&[("prepared", 1), ("refused", 1)])?;
    let version = "SELECT version FROM module";
    let versions = [0, 1].map(|place: usize| fleet.databases[place].psql(version));
    ensure!(
        versions[0]
            .as_ref()
            .is_ok_and(|version| version.trim() == "3.0"),
        "{versions:?}"
    );
    ensure!(
        versions[1]
            .as_ref()
            .is_ok_and(|version| version.trim() == "2.0"),
        "{versions:?}"
    );
    Ok(())
}

/// A table, JSON, and live; and what is told while nobody conducts the fleet.
#[tokio::test]
async fn status_is_a_table_json_and_live() -> Result<()> {
    let tiny = Tiny::new()?;
    tiny.template.psql("UPDATE pace SET seconds = 0.5")?;
    let fleet = tiny.fleet(6, "caps = { max_databases = 2 }")?;
    fleet.databases[0].psql(Tiny::BREAK)?;
    let never = "on_failure = { stop_after = \"never\" }\ncaps = { max_databases = 2 }";
    let members: Vec<String> = (0..6).map(|place| fleet.member(place)).collect();
    fleet.order("fleet", &tiny.order(never), &members)?;
    let text = fleet.say("status").succeed()?.stdout;
    ensure!(
        text.contains("6 databases, not done; no process conducts it"),
        "{text}"
    );
    ensure!(
        text.contains("6 waiting") && !text.contains(&members[0]),
        "{text}"
    );
    let all = fleet.say("status").argument("--all").succeed()?.stdout;
    ensure!(members.iter().all(|member| all.contains(member)), "{all}");

    let mut running = fleet.run(2).start()?;
    fleet.await_status(|status| status["conducted"] == true)?;
    let mut watching = fleet
        .say("status")
        .arguments(&["--watch", "--json"])
        .start()?;
    let first = watching.read_until(|line| line.contains("\"running\":"))?;
    ensure!(first, "it is shown while it goes");
    let text = fleet.say("status").succeed()?.stdout;
    ensure!(text.contains("under way\n"), "{text}");
    until_prepared(&mut running, 1)?;
    running.kill()?;
    // Who watches is told that nobody conducts it any more.
    let ended = watching.wait()?.expect_code(0)?.stdout;
    let whole = ended.rfind("\n{\n").context("the last one is whole")?;
    let last: Value = serde_json::from_str(&ended[whole..])?;
    ensure!(last["conducted"] == false, "{last:#}");

    let status = fleet.status()?;
    let count = |state: &str| status["states"][state].as_u64().unwrap_or_default();
    ensure!(
        count("prepared") >= 1 && count("waiting") >= 1,
        "{status:#}"
    );
    ensure!(count("running") == 0, "nobody works on any: {status:#}");
    let live = fleet.run(2).start()?;
    fleet.await_status(|status| status["conducted"] == true)?;
    let mut watching = fleet.say("status").argument("--watch").start()?;
    ensure!(watching.read_until(|line| line.starts_with("under way: "))?);
    live.wait()?.expect_code(1)?;
    let ended = watching.wait()?.expect_code(0)?.stdout;
    ensure!(
        ended.contains("6 databases, done; no process conducts it"),
        "{ended}"
    );
    let row = ended.lines().find(|line| line.contains(&members[0]));
    ensure!(
        row.is_some_and(|row| row.contains("failed") && row.contains(Tiny::WHY)),
        "{ended}"
    );
    Ok(())
}

/// Whose run was begun in a wave is in it again, whoever would be by now: its ledger says so.
#[tokio::test]
async fn who_was_begun_in_a_wave_stays_in_it() -> Result<()> {
    let tiny = Tiny::new()?;
    let waves = "[[waves]]\nname = \"canary\"\ntake = 1\n\
                 [[waves]]\nname = \"others\"\ntake = \"rest\"\n";
    let fleet = tiny.fleet(7, waves)?;
    // One after the other joins: by their names alone, most of them would be the canary in turn.
    for count in 1..=7 {
        let members: Vec<String> = (0..count).map(|place| fleet.member(place)).collect();
        fleet.order("fleet", &tiny.order(waves), &members)?;
        if count == 1 {
            fleet.run(2).succeed()?;
        }
        let status = fleet.say("status").arguments(&["--json"]).succeed()?.stdout;
        let status: Value = serde_json::from_str(&status)?;
        let first = of_member(&status, &members[0])?;
        ensure!(
            first["wave"] == "canary" && first["state"] == "prepared",
            "with {count}: {first}"
        );
    }
    Ok(())
}
