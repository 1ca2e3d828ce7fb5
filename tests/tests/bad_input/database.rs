//! Databases that cannot be upgraded, or not now.

use anyhow::Result;
use upshift_tests::harness::{Database, Upshift};

use super::{World, expect_said, pack_with, run};

#[tokio::test]
async fn databases_that_cannot_be_reached() -> Result<()> {
    let world = World::new("").await?;
    let pack = pack_with(&[])?;
    let url = world.database.url();
    let nowhere = url.replace(world.database.name(), "nowhere_at_all");
    let nobody = url.replace(world.database.owner(), "nobody_at_all");
    let loopback = world.database.loopback_url();
    for (name, url, said) in [
        ("no such database", nowhere.as_str(), "nowhere_at_all"),
        ("no such role", nobody.as_str(), "nobody_at_all"),
        (
            "nobody listens",
            "postgresql://127.0.0.1:1/d",
            "connecting to",
        ),
        ("no password", loopback.as_str(), "password"),
    ] {
        let call = Upshift::new(["run", "--database", url]).argument(pack.path());
        world.expect(name, call.run()?, 1, &[said]).await?;
    }
    let call = Upshift::new(["run", "--database", &loopback])
        .argument(pack.path())
        .variable("PGPASSWORD", "guess");
    world
        .expect("a wrong password", call.run()?, 1, &["password"])
        .await
}

/// A role that owns nothing is told so before anything is done.
#[tokio::test]
async fn a_role_without_the_rights() -> Result<()> {
    let world = World::new("GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC").await?;
    let pack = pack_with(&[])?;
    world.database.psql_as_superuser(
        "DO $$ BEGIN CREATE ROLE upshift_stranger LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
    )?;
    let url = world
        .database
        .url()
        .replace(world.database.owner(), "upshift_stranger");
    let outcome = Upshift::new(["run", "--database", &url])
        .argument(pack.path())
        .run()?;
    let code = outcome.code.unwrap_or(-1);
    assert!(code == 1 || code == 3, "{outcome:?}");
    world
        .expect("a stranger", outcome, code, &["permission denied"])
        .await
}

/// What fails in the data fails with its place in the pack, and comes back whole.
#[tokio::test]
async fn data_that_a_migration_cannot_take() -> Result<()> {
    for (name, sql, said) in [
        (
            "NOT NULL over NULLs",
            "UPDATE partner SET code = 'x';\nALTER TABLE partner ALTER COLUMN note SET NOT NULL;\n",
            ["pre-x.sql:2", "note"],
        ),
        (
            "a cast that the data refuses",
            "UPDATE orders SET total = 0;\nALTER TABLE partner ALTER COLUMN code TYPE integer USING code::integer;\n",
            ["pre-x.sql:2", "SQLSTATE 22P02"],
        ),
        (
            "a duplicate key",
            "UPDATE orders SET total = 0;\nCREATE UNIQUE INDEX partner_code_uniq ON partner (code);\n",
            ["pre-x.sql:2", "partner_code_uniq"],
        ),
        (
            "a foreign key without its target",
            "UPDATE orders SET total = 0;\nDELETE FROM partner WHERE id = 7;\n",
            ["pre-x.sql:2", "SQLSTATE 23503"],
        ),
        (
            "a value out of range",
            "UPDATE orders SET total = total / (id - 50);\n",
            ["pre-x.sql:1", "SQLSTATE 22012"],
        ),
    ] {
        let world = World::new("").await?;
        let pack = pack_with(&[])?;
        super::write(
            &pack.path().join("sale/migrations/2.0/pre-x.sql"),
            sql.as_bytes(),
        )?;
        let outcome = run(&world.database, pack.path())?;
        expect_said(name, &outcome, 1, &said)?;
        assert!(
            outcome.stderr.contains("upshift r"),
            "says what to do next: {}",
            outcome.stderr
        );
        let back = Upshift::on(&world.database, ["rollback"]).succeed()?;
        world.expect(name, back, 0, &[]).await?;
    }
    Ok(())
}

/// A check that does not hold stops the run with the author's message.
#[tokio::test]
async fn a_check_that_does_not_hold() -> Result<()> {
    let world = World::new("").await?;
    let pack = pack_with(&[(
        "sale/migrations/2.0/post-x.toml",
        b"[[check]]\nquery = \"SELECT id FROM orders WHERE total > 100\"\nmessage = \"an order that is too large\"\n",
    )])?;
    let outcome = run(&world.database, pack.path())?;
    expect_said(
        "a check",
        &outcome,
        1,
        &["an order that is too large", "post-x.toml:1"],
    )?;
    let back = Upshift::on(&world.database, ["rollback"]).succeed()?;
    world.expect("a check", back, 0, &[]).await
}

#[tokio::test]
async fn orders_without_a_run() -> Result<()> {
    let world = World::new("").await?;
    let unknown = Upshift::on(&world.database, ["status", "seven"]).run()?;
    world
        .expect("status of a run", unknown, 3, &["never run"])
        .await?;
    for verb in ["resume", "rollback", "commit"] {
        let outcome = Upshift::on(&world.database, [verb]).run()?;
        world.expect(verb, outcome, 3, &["run"]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn orders_that_the_state_of_a_run_does_not_allow() -> Result<()> {
    let world = World::new("").await?;
    let pack = pack_with(&[])?;
    let pack = pack.path().to_string_lossy().into_owned();
    Upshift::on(&world.database, ["run", &pack]).succeed()?;
    let again = Upshift::on(&world.database, ["run", &pack]).run()?;
    expect_said(
        "a prepared run is in the way",
        &again,
        3,
        &["commit", "rollback"],
    )?;
    let unknown = Upshift::on(&world.database, ["status", "seven"]).run()?;
    expect_said(
        "an unknown run",
        &unknown,
        2,
        &["there is no run \"seven\""],
    )?;
    let unknown = Upshift::on(&world.database, ["rollback", "--to", "web"]).run()?;
    let code = unknown.code.unwrap_or(-1);
    assert!(code == 2 || code == 3, "{unknown:?}");
    expect_said("an unknown checkpoint", &unknown, code, &["web"])?;
    Upshift::on(&world.database, ["rollback"]).succeed()?;
    let twice = Upshift::on(&world.database, ["rollback"]).run()?;
    expect_said("a second rollback", &twice, 0, &["rolled back"])?;
    Upshift::on(&world.database, ["run", &pack, "--commit"]).succeed()?;
    let late = Upshift::on(&world.database, ["rollback"]).run()?;
    expect_said("rollback after commit", &late, 3, &["commit"])?;
    // Everything is there already: nothing to do is no failure.
    Upshift::on(&world.database, ["run", &pack]).succeed()?;
    Ok(())
}

/// The ledger of a newer Upshift is left alone.
#[tokio::test]
async fn a_ledger_of_a_newer_version() -> Result<()> {
    let world = World::new(
        "CREATE SCHEMA upshift; CREATE TABLE upshift.meta (format integer NOT NULL); INSERT INTO upshift.meta VALUES (99)",
    )
    .await?;
    let pack = pack_with(&[])?;
    let outcome = run(&world.database, pack.path())?;
    world
        .expect("a newer ledger", outcome, 3, &["99", "newer"])
        .await
}

/// A database in which something else calls itself `upshift`.
#[tokio::test]
async fn a_schema_of_somebody_else_by_that_name() -> Result<()> {
    let world = World::new("CREATE SCHEMA upshift; CREATE TABLE upshift.run (mine text)").await?;
    let pack = pack_with(&[])?;
    let outcome = run(&world.database, pack.path())?;
    let code = outcome.code.unwrap_or(-1);
    assert_ne!(code, 0, "{outcome:?}");
    world
        .expect("a foreign schema", outcome, code, &["upshift"])
        .await?;
    let _: &Database = &world.database;
    Ok(())
}
