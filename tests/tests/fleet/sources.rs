//! A server that cannot be asked for its databases: those that are known to be there are not forgotten.

use std::fs;

use anyhow::{Result, ensure};
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
