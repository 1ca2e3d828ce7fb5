//! Snapshots for what cannot be undone: taken on the way, restored by rollback, dropped by commit, killed at
//! every point; and the database's own properties with them.

use anyhow::{Result, ensure};
use tempfile::TempDir;
use upshift_coordinator::snapshot::{
    COPIED, DISCARDED, FAILPOINTS_OF_RESTORING, FAILPOINTS_OF_TAKING, MADE, RECORDED,
    RESTORE_BEGUN, RESTORE_SWAPPED, STARTED,
};
use upshift_tests::{
    compare::{self, Snapshot},
    harness::{
        Database, Server, Upshift,
        snapshots::{
            AFTER_A, AFTER_B, AFTER_C, TABLES, about, database, expect, expect_untouched, folder,
            others, server, upshift,
        },
    },
};

fn run(database: &Database, folder: &TempDir, kind: &str) -> Upshift {
    upshift(database, &["run", "--workers", "2", "--snapshot", kind]).argument(folder.path())
}

#[tokio::test]
async fn a_copy_brings_back_what_cannot_be_undone() -> Result<()> {
    let server = server()?;
    let folder = folder()?;
    let shop = database(server)?;
    let before = (Snapshot::take(&shop).await?, about(&shop)?);
    let plan = upshift(&shop, &["plan", "--snapshot", "template"])
        .argument(folder.path())
        .succeed()?;
    for said in [
        "a snapshot for",
        "can be taken back until commit",
        "nobody else connected",
    ] {
        ensure!(plan.stdout.contains(said), "{said}: {}", plan.stdout);
    }
    run(&shop, &folder, "template").succeed()?;
    ensure!(others(&shop)?.len() == 2, "{:?}", others(&shop)?);
    expect(&shop, AFTER_C)?;
    // No snapshot is needed for what came after all of it.
    upshift(&shop, &["rollback", "--to", "c"]).succeed()?;
    expect(&shop, AFTER_C)?;
    ensure!(others(&shop)?.len() == 2, "{:?}", others(&shop)?);
    upshift(&shop, &["resume"]).succeed()?;
    upshift(&shop, &["rollback", "--to", "b"]).succeed()?;
    expect(&shop, AFTER_B)?;
    ensure!(others(&shop)?.len() == 1, "{:?}", others(&shop)?);
    ensure!(about(&shop)? == before.1, "{}", about(&shop)?);
    upshift(&shop, &["resume"]).succeed()?;
    expect(&shop, AFTER_C)?;
    upshift(&shop, &["rollback", "--to", "a"]).succeed()?;
    expect(&shop, AFTER_A)?;
    upshift(&shop, &["resume"]).succeed()?;
    upshift(&shop, &["rollback"]).succeed()?;
    expect_untouched(&shop, &before, "rolled back").await?;

    run(&shop, &folder, "template").succeed()?;
    let copies = others(&shop)?;
    let drop = format!("DROP DATABASE \"{}\"", copies[0]);
    server.psql("postgres", "postgres", &drop)?;
    let refused = upshift(&shop, &["rollback"]).run()?.expect_code(3)?;
    ensure!(
        refused.stderr.contains("the snapshot is gone"),
        "{}",
        refused.stderr
    );
    upshift(&shop, &["status"]).succeed()?;
    upshift(&shop, &["commit"]).succeed()?;
    ensure!(others(&shop)?.is_empty(), "{:?}", others(&shop)?);
    let shop = database(server)?;
    let before = (Snapshot::take(&shop).await?, about(&shop)?);

    let other = shop.copy()?;
    run(&other, &folder, "none").succeed()?;
    upshift(&other, &["commit"]).succeed()?;
    run(&shop, &folder, "template").succeed()?;
    upshift(&shop, &["commit"]).dies_at(DISCARDED)?;
    upshift(&shop, &["commit"]).succeed()?;
    ensure!(others(&shop)?.is_empty(), "{:?}", others(&shop)?);
    ensure!(about(&shop)? == before.1, "{}", about(&shop)?);
    compare::expect_same(&other, &shop, "with and without snapshots").await
}

#[tokio::test]
async fn killed_while_a_copy_is_made_or_restored() -> Result<()> {
    let server = server()?;
    let folder = folder()?;
    let shop = database(server)?;
    let before = (Snapshot::take(&shop).await?, about(&shop)?);
    for (nth, restoring) in FAILPOINTS_OF_RESTORING.into_iter().enumerate() {
        match FAILPOINTS_OF_TAKING.get(nth) {
            // The last one is not killed on its way there.
            None => drop(run(&shop, &folder, "template").succeed()?),
            Some(taking) => {
                run(&shop, &folder, "template").dies_at(&format!("{taking}:{}", nth % 2 + 1))?;
                if *taking == COPIED {
                    // Straight back: the second copy, which is half made, goes too.
                    upshift(&shop, &["rollback"]).succeed()?;
                    expect_untouched(&shop, &before, taking).await?;
                    run(&shop, &folder, "template").succeed()?;
                } else {
                    upshift(&shop, &["resume"]).succeed()?;
                }
            }
        }
        expect(&shop, AFTER_C)?;
        upshift(&shop, &["rollback"]).dies_at(restoring)?;
        // Either command goes on.
        let verb = if nth % 2 == 0 { "rollback" } else { "resume" };
        if nth == 0 {
            upshift(&shop, &[verb]).dies_at(DISCARDED)?;
        }
        upshift(&shop, &[verb]).succeed()?;
        expect_untouched(&shop, &before, restoring).await?;
    }
    Ok(())
}

#[tokio::test]
async fn others_who_are_connected_are_named_and_left_alone() -> Result<()> {
    let server = server()?;
    let folder = folder()?;
    let shop = database(server)?;
    let before = (Snapshot::take(&shop).await?, about(&shop)?);
    let config = folder.path().join("upshift.toml");
    std::fs::write(&config, "[snapshot]\nkind = \"template\"\nwait = \"1s\"\n")?;
    let config = config.display().to_string();
    let mut application = shop.connect().await?;
    let named = "SELECT set_config('application_name', 'till', false)";
    sqlx::query(named).execute(&mut application).await?;
    let refused = upshift(&shop, &["run", "--config", &config])
        .argument(folder.path())
        .run()?;
    let refused = refused.expect_code(1)?;
    for said in [
        "(till, as upshift_test_owner)",
        "upshift resume",
        "--end-sessions",
    ] {
        ensure!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
    }
    expect(&shop, AFTER_A)?;
    sqlx::query("SELECT 1").execute(&mut application).await?;
    upshift(&shop, &["resume", "--end-sessions", "--config", &config]).succeed()?;
    ensure!(
        sqlx::query("SELECT 1")
            .execute(&mut application)
            .await
            .is_err(),
        "it was not ended"
    );
    expect(&shop, AFTER_C)?;

    let mut application = shop.connect().await?;
    let refused = upshift(&shop, &["rollback", "--config", &config])
        .run()?
        .expect_code(1)?;
    ensure!(
        refused.stderr.contains("upshift rollback"),
        "{}",
        refused.stderr
    );
    expect(&shop, AFTER_C)?;
    sqlx::query("SELECT 1").execute(&mut application).await?;
    // Elsewhere instead, where no copy is needed.
    upshift(&shop, &["rollback", "--to", "c", "--config", &config]).succeed()?;
    ensure!(about(&shop)? == before.1, "{}", about(&shop)?);
    sqlx::Connection::close(application).await?;
    upshift(&shop, &["rollback", "--config", &config]).succeed()?;
    expect_untouched(&shop, &before, "rolled back").await
}

/// A configuration with commands that copy databases, in the pack's folder. What is there is not made again.
fn by_commands(folder: &TempDir) -> Result<String> {
    let config = folder.path().join("upshift.toml");
    std::fs::write(
        &config,
        "[snapshot]
         create = [\"createdb\", \"-T\", \"{database}\", \"{database}_c{task}\"]
         restore = [\"sh\", \"-c\", \"dropdb \\\"$1\\\" && createdb -T \\\"$1_c$2\\\" \\\"$1\\\"\", \"sh\", \"{database}\", \"{task}\"]
         drop = [\"dropdb\", \"--if-exists\", \"{database}_c{task}\"]
         timeout = \"1min\"\n",
    )?;
    Ok(config.display().to_string())
}

#[tokio::test]
async fn killed_while_a_command_takes_or_restores_a_snapshot() -> Result<()> {
    let server = server()?;
    let folder = folder()?;
    let shop = database(server)?;
    let before = Snapshot::take(&shop).await?;
    let config = by_commands(&folder)?;
    let say = |verb: &str| upshift(&shop, &[verb, "--config", &config]);
    let taking = [(STARTED, 1), (MADE, 2), (RECORDED, 1)];
    // Killed between the command and what its ledger learns, nobody knows of the later snapshot.
    let restoring = [(RESTORE_BEGUN, 0), (RESTORE_SWAPPED, 1), (DISCARDED, 0)];
    for ((taking, nth), (restoring, left)) in taking.into_iter().zip(restoring) {
        run(&shop, &folder, "command")
            .arguments(&["--config", &config])
            .dies_at(&format!("{taking}:{nth}"))?;
        say("resume").succeed()?;
        expect(&shop, AFTER_C)?;
        ensure!(others(&shop)?.len() == 2, "{taking}: {:?}", others(&shop)?);
        say("rollback").dies_at(restoring)?;
        say("rollback").succeed()?;
        before.expect_same(&Snapshot::take(&shop).await?, restoring)?;
        let others = others(&shop)?;
        ensure!(others.len() == left, "{restoring}: {others:?}");
        for other in others {
            let drop = format!("DROP DATABASE \"{other}\"");
            server.psql("postgres", "postgres", &drop)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn commands_of_the_configuration_take_and_restore_snapshots() -> Result<()> {
    let server = server()?;
    let folder = folder()?;
    let shop = database(server)?;
    let before = Snapshot::take(&shop).await?;
    let config = by_commands(&folder)?;
    run(&shop, &folder, "command")
        .arguments(&["--config", &config])
        .succeed()?;
    ensure!(others(&shop)?.len() == 2, "{:?}", others(&shop)?);
    upshift(&shop, &["rollback", "--to", "b", "--config", &config]).succeed()?;
    expect(&shop, AFTER_B)?;
    upshift(&shop, &["resume", "--config", &config]).succeed()?;
    expect(&shop, AFTER_C)?;
    upshift(&shop, &["rollback", "--config", &config]).succeed()?;
    before.expect_same(&Snapshot::take(&shop).await?, "rolled back")?;
    ensure!(others(&shop)?.is_empty(), "{:?}", others(&shop)?);

    std::fs::write(
        &config,
        "[snapshot]\ncreate = [\"false\"]\nrestore = [\"true\"]\n",
    )?;
    let failed = run(&shop, &folder, "command")
        .arguments(&["--config", &config])
        .run()?;
    let failed = failed.expect_code(1)?;
    ensure!(
        failed.stderr.contains("[snapshot] create: false failed"),
        "{}",
        failed.stderr
    );
    expect(&shop, AFTER_A)?;
    upshift(&shop, &["rollback", "--config", &config]).succeed()?;
    before.expect_same(&Snapshot::take(&shop).await?, "rolled back")
}

/// What somebody wants while a snapshot is taken holds when the run goes on: the command has said before what
/// it wants itself.
#[tokio::test]
async fn a_pause_outlives_a_snapshot() -> Result<()> {
    let folder = folder()?;
    let shop = database(server()?)?;
    let config = folder.path().join("upshift.toml");
    let create = "createdb -T \\\"$1\\\" \\\"$1_c$2\\\" && psql -qX -d \\\"$1\\\" -c \\\"UPDATE upshift.control \
        SET paused = true, reason = 'month end', version = version + 1\\\"";
    std::fs::write(
        &config,
        format!(
            "[snapshot]
             create = [\"sh\", \"-c\", \"{create}\", \"sh\", \"{{database}}\", \"{{task}}\"]
             restore = [\"false\"]
             drop = [\"dropdb\", \"--if-exists\", \"{{database}}_c{{task}}\"]\n"
        ),
    )?;
    let config = config.display().to_string();
    let mut running = run(&shop, &folder, "command")
        .arguments(&["--config", &config, "--json"])
        .start()?;
    let mut paused = 0;
    while running.read_until(|line| line.contains("\"paused\""))? {
        paused += 1;
        let status = upshift(&shop, &["status", "--config", &config]).succeed()?;
        ensure!(status.stdout.contains("month end"), "{}", status.stdout);
        upshift(&shop, &["resume", "--config", &config]).succeed()?;
    }
    running.wait()?.expect_code(0)?;
    ensure!(
        paused == others(&shop)?.len() && paused > 0,
        "{paused} pauses"
    );
    upshift(&shop, &["commit", "--config", &config]).succeed()?;
    expect(&shop, AFTER_C)
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_before_anything_is_touched() -> Result<()> {
    let folder = folder()?;
    let shop = Database::create_on(Server::own()?)?;
    shop.psql(TABLES)?;
    for (kind, said) in [
        (
            "template",
            "may not create databases: ALTER ROLE upshift_test_owner CREATEDB",
        ),
        (
            "command",
            "[snapshot] of upshift.toml has no \"create\" command",
        ),
    ] {
        let refused = run(&shop, &folder, kind).run()?.expect_code(3)?;
        ensure!(refused.stderr.contains(said), "{}", refused.stderr);
        let plan = upshift(&shop, &["plan", "--snapshot", kind])
            .argument(folder.path())
            .succeed()?;
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(words(&plan.stdout).contains(said), "{}", plan.stdout);
    }
    shop.psql_as_superuser(&format!(
        "ALTER ROLE {} CREATEDB; ALTER DATABASE {} SET upshift_test.rare TO 'x'",
        shop.owner(),
        shop.name()
    ))?;
    let refused = run(&shop, &folder, "template").run()?.expect_code(3)?;
    ensure!(
        refused.stderr.contains("(upshift_test.rare)"),
        "{}",
        refused.stderr
    );
    shop.psql_as_superuser(&format!("ALTER ROLE {} NOCREATEDB", shop.owner()))?;
    let ledger = shop.psql("SELECT to_regnamespace('upshift') IS NULL")?;
    ensure!(ledger.trim() == "t", "the ledger was made");
    let doctor = upshift(&shop, &["doctor"]).run()?;
    ensure!(
        doctor.stdout.contains(
            "snapshots by template: not possible: upshift_test_owner may not create databases"
        ),
        "{}",
        doctor.stdout
    );
    Ok(())
}

#[tokio::test]
async fn one_statement_after_another_goes_back_to_the_start() -> Result<()> {
    let folder = folder()?;
    let shop = database(server()?)?;
    let before = (Snapshot::take(&shop).await?, about(&shop)?);
    run(&shop, &folder, "template")
        .arguments(&["--strategy", "sequential"])
        .succeed()?;
    expect(&shop, AFTER_C)?;
    ensure!(others(&shop)?.len() == 1, "{:?}", others(&shop)?);
    let refused = upshift(&shop, &["rollback", "--to", "b"])
        .run()?
        .expect_code(3)?;
    ensure!(
        refused.stderr.contains("or to the start"),
        "{}",
        refused.stderr
    );
    upshift(&shop, &["rollback"]).succeed()?;
    expect_untouched(&shop, &before, "rolled back").await
}
