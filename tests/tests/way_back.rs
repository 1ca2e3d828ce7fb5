//! The way back of rows that were inserted, where an application has pointed foreign keys at them since.

use anyhow::{Result, ensure};
use upshift_tests::{
    compare::{self, Snapshot},
    harness::{Database, Upshift, one_module, pack},
    oracle,
};

const TABLES: &str = "
    CREATE TABLE t (id serial PRIMARY KEY, part_id integer REFERENCES t ON DELETE CASCADE, a integer);
    INSERT INTO t (a) SELECT i FROM generate_series(1, 20) i;
    CREATE TABLE c (t_id integer REFERENCES t ON DELETE CASCADE, n_id integer REFERENCES t ON DELETE SET NULL);
    INSERT INTO c VALUES (1, 2);";

const INSERTS: &str = "
    INSERT INTO t (id, a) SELECT id + 100, a FROM t WHERE id <= 10;
    INSERT INTO t (id, part_id, a) SELECT id + 200, id + 100, a FROM t WHERE id <= 5;";

#[tokio::test]
async fn rows_that_others_have_been_pointed_at_do_not_take_them_along() -> Result<()> {
    let folder = one_module(&[("pre-a.sql", INSERTS)])?;
    let start = Database::create()?;
    start.psql(TABLES)?;
    let before = Snapshot::take(&start).await?;
    for (write, told) in [
        ("", ""),
        (
            "INSERT INTO c VALUES (104, NULL)",
            "public.c by ON DELETE CASCADE of c_t_id_fkey",
        ),
        (
            "UPDATE c SET n_id = 205",
            "public.c by ON DELETE SET NULL of c_n_id_fkey",
        ),
        (
            "INSERT INTO t (id, part_id) VALUES (999, 103)",
            "public.t by ON DELETE CASCADE of t_part_id_fkey",
        ),
    ] {
        let database = start.copy()?;
        Upshift::on(&database, ["run", "--unit-rows", "3", "--workers", "3"])
            .argument(folder.path())
            .succeed()?;
        if write.is_empty() {
            Upshift::on(&database, ["rollback"]).succeed()?;
            before.expect_same(&Snapshot::take(&database).await?, "rolled back")?;
            continue;
        }
        database.psql(write)?;
        let written = "SELECT (SELECT count(t_id) + count(n_id) FROM c) + (SELECT count(*) FROM t WHERE id = 999)";
        let rows = database.psql(written)?;
        let refused = Upshift::on(&database, ["rollback"]).run()?;
        ensure!(
            refused.code != Some(0) && refused.stderr.contains(told),
            "{write}: {refused:?}"
        );
        ensure!(database.psql(written)? == rows, "{write}: rows have gone");
        Upshift::on(&database, ["rollback", "--force"]).succeed()?;
        ensure!(database.psql(written)? != rows, "{write}: forced, and yet");
    }
    Ok(())
}

/// A list of words is kept as one thing and would be parsed as another: whatever is made anew from its
/// definition has to come out as it was.
#[tokio::test]
async fn lists_of_words_come_back_as_they_were() -> Result<()> {
    const TABLES: &str = "
        CREATE TABLE t (id integer PRIMARY KEY, a integer, state varchar(9) CHECK (state IN ('draft', 'it''s')));
        INSERT INTO t SELECT i, i, 'draft' FROM generate_series(1, 50) i;
        CREATE VIEW seen AS SELECT id FROM t WHERE state NOT IN ('draft', 'done');
        CREATE INDEX open ON t (a) WHERE state IN ('draft', 'open');
        CREATE TABLE u (id integer PRIMARY KEY, state varchar(9), kind varchar);
        ALTER TABLE u ADD CONSTRAINT late CHECK (state IN ('draft', 'done')) NOT VALID,
            ADD CONSTRAINT off CHECK (kind NOT IN ('x', 'y'));
        CREATE VIEW gone AS SELECT id FROM u WHERE kind IN ('x', 'z');
        CREATE INDEX less ON u (id) WHERE kind IN ('x', 'z');";
    const SCRIPT: &str = "
        UPDATE t SET a = a + 1; UPDATE t SET a = a * 2 WHERE id > 7;
        ALTER TABLE u VALIDATE CONSTRAINT late;
        ALTER TABLE u DROP CONSTRAINT off; DROP VIEW gone; DROP INDEX less;";
    let folder = one_module(&[("pre-a.sql", SCRIPT)])?;
    let start = Database::create()?;
    start.psql(TABLES)?;
    let (database, naive) = (start.copy()?, start.copy()?);
    Upshift::on(&database, ["run", "--passes", "shadow"])
        .argument(folder.path())
        .succeed()?;
    oracle::upgrade(&naive, folder.path()).await?;
    compare::expect_same(&database, &naive, "prepared is not psql").await?;
    Upshift::on(&database, ["rollback"]).succeed()?;
    compare::expect_same(&database, &start, "rolled back is not the start").await
}

/// An `end` script of an early module goes back with the later one that it depends on. The early module's
/// checkpoint, at which it is not in effect anyway, can be gone to all the same.
#[tokio::test]
async fn checkpoints_are_come_back_to_one_after_another() -> Result<()> {
    let module = |depends: &str| format!("version = \"2.0\"\ndepends = [{depends}]\n");
    let (a, b, c) = (module(""), module("\"a\""), module("\"b\""));
    let folder = pack(&[
        (
            "pack.toml",
            "name = \"back\"\n[installed]\nquery = \"SELECT unnest(ARRAY['a', 'b', 'c']), '1.0'\"\n",
        ),
        ("a/module.toml", &a),
        ("b/module.toml", &b),
        ("c/module.toml", &c),
        ("a/migrations/2.0/pre-a.sql", "UPDATE t SET a = 1;"),
        (
            "a/migrations/2.0/end-a.sql",
            "UPDATE t SET e = a + b + coalesce(c, 100);",
        ),
        ("b/migrations/2.0/pre-a.sql", "UPDATE t SET b = 1;"),
        ("c/migrations/2.0/pre-a.sql", "UPDATE t SET c = 1;"),
    ])?;
    let database = Database::create()?;
    database.psql(
        "CREATE TABLE t (id integer PRIMARY KEY, a integer, b integer, c integer, e integer);
         INSERT INTO t VALUES (1)",
    )?;
    let before = Snapshot::take(&database).await?;
    let row = || database.psql("SELECT concat_ws(' ', a, b, c, '/', e) FROM t");
    Upshift::on(&database, ["run", "--passes", "in-place"])
        .argument(folder.path())
        .succeed()?;
    for (to, expected) in [("b", "1 1 /"), ("a", "1 /")] {
        Upshift::on(&database, ["rollback", "--to", to]).succeed()?;
        ensure!(row()?.trim() == expected, "at {to}: {}", row()?);
    }
    let later = Upshift::on(&database, ["rollback", "--to", "b"]).run()?;
    later.expect_code(3)?;
    Upshift::on(&database, ["resume"]).succeed()?;
    ensure!(row()?.trim() == "1 1 1 / 3", "forward again: {}", row()?);
    for to in ["c", "b", "a"] {
        Upshift::on(&database, ["rollback", "--to", to]).succeed()?;
    }
    Upshift::on(&database, ["rollback"]).succeed()?;
    before.expect_same(&Snapshot::take(&database).await?, "rolled back")
}

/// Going back to a checkpoint behind a pass writes the table that the pass built. Going further back must
/// not take that for an application's work (seed 10037 of the random runs).
#[tokio::test]
async fn what_the_way_back_wrote_is_no_applications() -> Result<()> {
    let folder = pack(&[
        (
            "pack.toml",
            "name = \"back\"\n[installed]\nquery = \"SELECT unnest(ARRAY['a', 'b']), '1.0'\"\n",
        ),
        ("a/module.toml", "version = \"2.0\"\n"),
        ("b/module.toml", "version = \"2.0\"\ndepends = [\"a\"]\n"),
        (
            "a/migrations/2.0/pre-a.sql",
            "-- upshift: strategy = shadow\nUPDATE t SET a = id;",
        ),
        (
            "b/migrations/2.0/pre-a.sql",
            "-- upshift: strategy = in_place\nUPDATE t SET b = a WHERE id % 2 = 0;",
        ),
    ])?;
    let database = Database::create()?;
    database.psql(
        "CREATE TABLE t (id integer PRIMARY KEY, a integer, b integer);
         INSERT INTO t SELECT generate_series(1, 500)",
    )?;
    let before = Snapshot::take(&database).await?;
    Upshift::on(&database, ["run"])
        .argument(folder.path())
        .succeed()?;
    Upshift::on(&database, ["rollback", "--to", "a"]).succeed()?;
    Upshift::on(&database, ["resume"]).succeed()?;
    Upshift::on(&database, ["rollback", "--to", "a"]).succeed()?;
    let changed = database.copy()?;
    Upshift::on(&database, ["rollback"]).succeed()?;
    before.expect_same(&Snapshot::take(&database).await?, "rolled back")?;

    changed.psql("UPDATE t SET b = 0 WHERE id = 7")?;
    let refused = Upshift::on(&changed, ["rollback"]).run()?.expect_code(3)?;
    ensure!(
        refused.stderr.contains("an application has written since"),
        "{}",
        refused.stderr
    );
    Ok(())
}

/// A swap is recorded after it has been done: killed in between, what is written since counts as well.
#[tokio::test]
async fn what_an_application_wrote_counts_before_the_swap_is_recorded() -> Result<()> {
    let script = "-- upshift: strategy = shadow\nUPDATE t SET a = id;";
    let folder = one_module(&[("pre-a.sql", script)])?;
    let database = Database::filled(
        "CREATE TABLE t (id integer PRIMARY KEY, a integer);
         INSERT INTO t SELECT generate_series(1, 500);",
    )?;
    let before = Snapshot::take(&database).await?;
    Upshift::on(&database, ["run"])
        .argument(folder.path())
        .dies_at("before_record@shadow swap")?;
    database.psql("UPDATE t SET a = 0 WHERE id = 7")?;
    let refused = Upshift::on(&database, ["rollback"]).run()?.expect_code(3)?;
    ensure!(
        refused.stderr.contains("an application has written since"),
        "{}",
        refused.stderr
    );
    Upshift::on(&database, ["rollback", "--force"]).succeed()?;
    before.expect_same(&Snapshot::take(&database).await?, "rolled back")
}
