//! A server that cannot be asked for its databases: those that are known to be there are not forgotten.

use std::fs;

use anyhow::{Context, Result, ensure};
use upshift_tests::{
    fleet::{Fleet, Tiny, of_member},
    harness::Server,
};

/// It has failed in the first wave and its server is away when the fleet is gone on with: it counts still, nobody
/// takes its place, and whoever wants all back is told that it is not.
#[tokio::test]
async fn what_failed_on_a_server_that_is_away_is_not_forgotten() -> Result<()> {
    let (one, other) = (Tiny::new()?, Tiny::on(Server::own()?)?);
    other.template.psql(Tiny::BREAK)?;
    let fleet = Fleet::of(&[&one.template, &other.template], 4, &one.order(""))?;
    let names = fleet.databases.iter().map(|database| database.name());
    let names: Vec<String> = names.map(|name| format!("\"{name}\"")).collect();
    let order = "patience = \"2s\"\n[[waves]]\nname = \"canary\"\ntake = 3\n\
                 on_failure = { stop_after = \"never\" }\napproval = true\n\
                 [[waves]]\nname = \"rest\"\ntake = \"rest\"";
    let like = names.join(", ");
    let order = format!("{order}\n[[members]]\nservers = [\"s0\", \"s1\"]\nlike = [{like}]\n");
    fs::write(fleet.file("fleet"), one.order(&order))?;
    let mut running = fleet.run(2).start()?;
    ensure!(running.read_until(|line| line.contains("awaits_approval"))?);
    running.kill()?;
    let before = fleet.status()?;
    let failed = before["states"]["failed"].as_u64().unwrap_or_default();
    ensure!((1..=2).contains(&failed), "{before:#}");

    other.template.server().crash()?;
    let refused = fleet.run(2).argument("--yes").run()?.expect_code(1)?.stderr;
    ensure!(refused.contains("nothing else is begun"), "{refused}");
    let status = fleet.status()?;
    ensure!(status["states"]["failed"] == failed, "{status:#}");
    ensure!(
        status["standing"].to_string().contains("held until"),
        "{status:#}"
    );
    let members = before["members"].as_array().into_iter().flatten();
    for member in members.filter(|member| member["state"] == "failed") {
        let name = member["name"].as_str().unwrap_or_default();
        let shown = of_member(&status, name)?;
        let reason = shown["reason"].as_str().unwrap_or_default();
        ensure!(reason.contains(Tiny::WHY), "{shown}");
    }
    for (place, database) in fleet.databases.iter().enumerate().take(2) {
        let begun = database.psql("SELECT to_regnamespace('upshift') IS NOT NULL")?;
        let then = of_member(&before, &format!("s0/{}", database.name()))?;
        let was = then["state"] == "prepared";
        ensure!((begun.trim() == "t") == was, "{place}: {then}");
    }
    let back = fleet.say("rollback").argument("--all").run()?;
    back.expect_code(1)?;

    // It is back: those too are taken back.
    other.template.server().start_again()?;
    fleet.say("rollback").argument("--all").succeed()?;
    let status = fleet.status()?;
    ensure!(status["states"]["prepared"].is_null(), "{status:#}");
    ensure!(status["states"]["failed"].is_null(), "{status:#}");
    Ok(())
}

/// One database by two names of its server is one member; the other is left alone, and it is said why.
#[tokio::test]
async fn one_database_by_two_names_of_its_server_is_upgraded_once() -> Result<()> {
    let tiny = Tiny::new()?;
    let hook =
        "[hooks]\nbefore = { command = [\"sh\", \"-c\", \"echo $UPSHIFT_MEMBER >> before.txt\"] }";
    let fleet = tiny.fleet(2, "")?;
    let url = tiny.template.url();
    // The server, and none of its databases.
    let (_, rest) = url.split_once("host=").context("it has a host")?;
    let (socket, rest) = rest.split_once('&').context("and a port")?;
    let other = fleet.folder().join("socket");
    std::os::unix::fs::symlink(socket, &other)?;
    let url = format!("postgresql:///?host={}&{rest}", other.display());
    fleet.entry("again", &format!("url = \"{url}\""))?;
    let twice = format!("again/{}", fleet.databases[0].name());
    let members = [fleet.member(0), fleet.member(1), twice.clone()];
    fleet.order("fleet", &tiny.order(hook), &["again".to_owned()])?;
    let refused = fleet.say("plan").run()?.expect_code(2)?.stderr;
    ensure!(refused.contains("names no database"), "{refused}");
    fleet.order("fleet", &tiny.order(hook), &members)?;
    let why = |name: &str| format!("it is the database of member {name} by another name");
    let plan = fleet.say("plan").run()?.stdout;
    ensure!(plan.contains(&why(&twice)), "{plan}");
    fleet.run(2).run()?;
    let status = fleet.expect_states(&[("prepared", 2), ("refused", 1)])?;
    let left = of_member(&status, &fleet.member(0))?["reason"].to_string();
    ensure!(left.contains(&why(&twice)), "{left}");
    let hooks = fs::read_to_string(fleet.folder().join("before.txt"))?;
    ensure!(hooks.lines().count() == 2, "{hooks}");
    Ok(())
}
