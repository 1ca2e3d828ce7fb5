//! Checkpoints: those at the end of modules and those that a pack names, gone back to; what `upshift
//! checkpoints` says of them; `commit` on several workers, killed in the middle.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use upshift_tests::{
    compare::{self, Snapshot},
    harness::{Database, Upshift, pack},
    oracle,
};

const TABLES: &str = "
    CREATE TABLE installed (name text PRIMARY KEY, version text);
    INSERT INTO installed VALUES ('base', '1.0'), ('more', '1.0');
    CREATE TABLE parent (id integer PRIMARY KEY, name text);
    INSERT INTO parent SELECT i, 'p' || i FROM generate_series(1, 10) i;
    CREATE TABLE line (id serial PRIMARY KEY, parent_id integer REFERENCES parent, note text);
    INSERT INTO line (parent_id, note) SELECT 1 + i % 10, 'n' || i FROM generate_series(1, 3000) i;
    ANALYZE;";

/// Statements of the pack, and the checkpoint behind each.
const STATEMENTS: [(&str, &str); 6] = [
    (
        "UPDATE line SET note = upper(note) WHERE parent_id > 3;",
        "half",
    ),
    ("ALTER TABLE parent ADD COLUMN code text;", "coded"),
    ("UPDATE parent SET code = 'c' || id;", "base"),
    (
        "INSERT INTO line (parent_id, note) SELECT id, code FROM parent;",
        "lines in",
    ),
    ("DELETE FROM line WHERE id % 7 = 0;", "more's own"),
    (
        "ALTER TABLE line ADD COLUMN total numeric; UPDATE line SET total = id * 2;",
        "more",
    ),
];

/// A pack of two modules of three statements each, with a checkpoint behind every statement.
fn folder() -> Result<TempDir> {
    let script = |range: std::ops::Range<usize>| -> String {
        let statements = range.clone().map(|i| match i == range.start {
            true => format!("{}\n", STATEMENTS[i].0),
            false => {
                let (statement, name) = (STATEMENTS[i].0, STATEMENTS[i - 1].1);
                format!("-- upshift: checkpoint = \"{name}\"\n{statement}\n")
            }
        });
        statements.collect()
    };
    of_scripts(&script(0..3), &script(3..6))
}

fn of_scripts(base: &str, more: &str) -> Result<TempDir> {
    pack(&[
        (
            "pack.toml",
            "name = \"points\"\ntarget_version = \"2.0\"\n[installed]\ntable = \"installed\"\n",
        ),
        ("base/module.toml", "version = \"2.0\"\n"),
        (
            "more/module.toml",
            "version = \"2.0\"\ndepends = [\"base\"]\n",
        ),
        ("base/migrations/2.0/pre-a.sql", base),
        ("more/migrations/2.0/pre-a.sql", more),
    ])
}

/// What `checkpoints --json` lists, the start first.
fn listed(database: &Database) -> Result<Vec<Value>> {
    let outcome = Upshift::on(database, ["checkpoints", "--json"]).succeed()?;
    let listing: Value = serde_json::from_str(&outcome.stdout)?;
    let points = listing["checkpoints"].as_array();
    points.cloned().context("it lists checkpoints")
}

fn named<'v>(points: &'v [Value], name: &str) -> Result<&'v Value> {
    let mut of_name = points.iter().filter(|point| point["name"] == name);
    of_name
        .next()
        .with_context(|| format!("no checkpoint {name}"))
}

fn number(point: &Value, what: &str) -> Result<u64> {
    point["back"][what]
        .as_u64()
        .with_context(|| format!("no {what} in {point}"))
}

#[tokio::test]
async fn going_back_to_any_checkpoint_leaves_what_the_statements_before_it_do() -> Result<()> {
    let folder = folder()?;
    let database = Database::filled(TABLES)?;
    let by_hand = database.copy()?;
    let mut states = vec![Snapshot::take(&by_hand).await?];
    for (statement, _) in STATEMENTS {
        by_hand.psql(statement)?;
        states.push(Snapshot::take(&by_hand).await?);
    }
    Upshift::run_pack(&database, folder.path(), "in-place").succeed()?;
    let prepared = Snapshot::take(&database).await?;
    // From the last to the first, and forward again from each.
    for (place, (_, name)) in STATEMENTS.iter().enumerate().rev() {
        Upshift::on(&database, ["rollback", "--to", name, "--workers", "2"]).succeed()?;
        let now = Snapshot::take(&database).await?;
        states[place + 1].expect_same(&now, &format!("back at {name}"))?;
        let points = listed(&database)?;
        ensure!(
            number(named(&points, name)?, "tasks")? == 0,
            "something after {name}: {points:?}"
        );
        if place.is_multiple_of(2) {
            Upshift::on(&database, ["resume"]).succeed()?;
            prepared.expect_same(&Snapshot::take(&database).await?, "forward again")?;
        }
    }
    Upshift::on(&database, ["rollback"]).succeed()?;
    states[0].expect_same(&Snapshot::take(&database).await?, "back at the start")?;
    Upshift::run_pack(&database, folder.path(), "in-place")
        .argument("--commit")
        .succeed()?;
    compare::expect_same(&by_hand, &database, "committed").await
}

#[tokio::test]
async fn checkpoints_are_listed_with_what_they_cost() -> Result<()> {
    let folder = folder()?;
    let database = Database::filled(TABLES)?;
    Upshift::run_pack(&database, folder.path(), "in-place").succeed()?;
    let points = listed(&database)?;
    let names: Vec<&str> = points.iter().filter_map(|p| p["name"].as_str()).collect();
    ensure!(names == STATEMENTS.map(|(_, name)| name), "{names:?}");
    for what in ["tasks", "units", "rows", "kept_bytes"] {
        let figures = points.iter().map(|point| number(point, what));
        let figures = figures.collect::<Result<Vec<u64>>>()?;
        ensure!(figures.is_sorted_by(|a, b| a >= b), "{what}: {figures:?}");
        ensure!(figures[0] > 0, "{what} of all is nothing");
        ensure!(
            figures.last() == Some(&0),
            "{what} after the end: {figures:?}"
        );
    }
    let half = named(&points, "half")?;
    // 10 codes, 10 lines, a seventh of 3,010 lines deleted, the rest of them with a total.
    ensure!(number(half, "rows")? == 10 + 10 + 430 + 2_580, "{half}");
    ensure!(
        number(&points[0], "rows")? == 3_030 + 2_100,
        "{}",
        points[0]
    );
    ensure!(
        half["source"] == "base/migrations/2.0/pre-a.sql:3:1",
        "{half}"
    );
    ensure!(
        half["prepared_at"].is_string() && half["reachable"] == true,
        "{half}"
    );
    let command = named(&points, "more's own")?["command"].clone();
    ensure!(
        command
            .as_str()
            .is_some_and(|c| c.contains("--to 'more'\\''s own'")),
        "{command}"
    );
    let text = Upshift::on(&database, ["checkpoints"]).succeed()?.stdout;
    ensure!(
        text.contains("checkpoint half (base/migrations/2.0/pre-a.sql:3:1), prepared 2"),
        "{text}"
    );
    Upshift::on(&database, ["commit"]).succeed()?;
    let points = listed(&database)?;
    ensure!(
        points.iter().all(|point| point["reachable"] == false),
        "{points:?}"
    );
    Ok(())
}

#[tokio::test]
async fn where_one_cannot_go_back_to_is_said() -> Result<()> {
    let folder = of_scripts(
        "UPDATE line SET note = upper(note);\n-- upshift: checkpoint = \"inside\"\n\
         UPDATE line SET parent_id = 1;\n",
        "UPDATE parent SET name = 'x';\n-- upshift: irreversible\nDO $$ BEGIN PERFORM 1; END $$;\n\
         -- upshift: checkpoint = \"later\"\nUPDATE parent SET name = 'y' WHERE id = 1 / 0;\n",
    )?;
    let database = Database::filled(TABLES)?;
    let failed = Upshift::run_pack(&database, folder.path(), "shadow")
        .run()?
        .expect_code(1)?;
    for told in ["upshift resume", "--pack", "upshift rollback"] {
        ensure!(failed.stderr.contains(told), "{told}: {}", failed.stderr);
    }
    let points = listed(&database)?;
    let why = |name: &str| -> Result<String> {
        let point = named(&points, name)?;
        ensure!(point["command"].is_null(), "{point}");
        Ok(point["unreachable"].as_str().unwrap_or_default().to_owned())
    };
    ensure!(why("inside")?.contains("it is one with base"), "{points:?}");
    ensure!(why("base")?.contains("irreversible"), "{points:?}");
    let named_task = named(&points, "base")?["back"]["irreversible"][0].to_string();
    ensure!(
        named_task.contains("more/migrations/2.0/pre-a.sql:3"),
        "{named_task}"
    );
    ensure!(why("more")?.contains("not prepared"), "{points:?}");
    ensure!(named(&points, "later")?["reachable"] == true, "{points:?}");
    for wrong in ["inside", "base", "more"] {
        Upshift::on(&database, ["rollback", "--to", wrong])
            .run()?
            .expect_code(3)?;
    }
    Ok(())
}

/// Something to destroy in many tasks: hidden columns and tables, before-images, old tables.
fn destructive() -> Result<TempDir> {
    let base = "UPDATE line SET note = upper(note) WHERE id > 10;\n\
                ALTER TABLE line DROP COLUMN note;\n\
                DROP TABLE gone_1;\nDROP TABLE gone_2;\n\
                ALTER TABLE parent DROP COLUMN mood;\nDROP TYPE mood;\n";
    let more = "DELETE FROM parent WHERE id > 100;\nUPDATE parent SET name = lower(name);\n\
                DROP TABLE gone_3;\n";
    of_scripts(base, more)
}

#[tokio::test]
async fn a_commit_that_is_killed_twice_goes_on() -> Result<()> {
    let folder = destructive()?;
    let database = Database::filled(TABLES)?;
    database.psql(
        "CREATE TYPE mood AS ENUM ('good', 'bad');
         ALTER TABLE parent ADD COLUMN mood mood DEFAULT 'good';
         CREATE TABLE gone_1 (id integer PRIMARY KEY);
         CREATE TABLE gone_2 (id serial PRIMARY KEY, one_id integer REFERENCES gone_1);
         ALTER TABLE gone_2 DROP CONSTRAINT gone_2_one_id_fkey;
         CREATE TABLE gone_3 (id integer REFERENCES parent);",
    )?;
    let naive = database.copy()?;
    Upshift::run_pack(&database, folder.path(), "by-cost").succeed()?;
    for nth in 1..=4 {
        let database = database.copy()?;
        let commit = || Upshift::on(&database, ["commit", "--workers", "3"]);
        commit().dies_at(&format!("during_destruction:{nth}"))?;
        let status = Upshift::on(&database, ["status", "--json"]).succeed()?;
        let status: Value = serde_json::from_str(&status.stdout)?;
        ensure!(status["state"] == "committed", "{status}");
        Upshift::on(&database, ["rollback"]).run()?.expect_code(3)?;
        commit().dies_at(&format!("during_destruction:{nth}"))?;
        commit().succeed()?;
        commit().succeed()?;
        let left = database.psql(
            "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = 'upshift_kept'::regnamespace)
                  + (SELECT count(*) FROM upshift.deferred)
                  + (SELECT count(*) FROM pg_namespace WHERE nspname ~ '^upshift_kept_')",
        )?;
        ensure!(left.trim() == "0", "{left} things are left after {nth}");
        let naive = naive.copy()?;
        oracle::upgrade(&naive, folder.path()).await?;
        compare::expect_same(&naive, &database, &format!("killed at {nth}")).await?;
    }
    Ok(())
}
