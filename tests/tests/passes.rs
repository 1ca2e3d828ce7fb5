//! Passes as an operator meets them: a table that is being built cannot be written, writes of an
//! application after `prepared` stop the way back, modules that share a pass have one checkpoint, a
//! fresh column with one value writes no row.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use upshift_tests::{
    compare::Snapshot,
    harness::{Database, Outcome, Upshift, pack},
    oracle,
};

const TABLES: &str = "
    CREATE TABLE installed (name text PRIMARY KEY, version text);
    INSERT INTO installed VALUES ('base', '1.0'), ('more', '1.0');
    CREATE TABLE parent (id integer PRIMARY KEY);
    INSERT INTO parent SELECT generate_series(1, 10);
    CREATE TABLE line (id serial PRIMARY KEY, parent_id integer REFERENCES parent, note text);
    INSERT INTO line (parent_id, note) SELECT 1 + i % 10, 'n' || i FROM generate_series(1, 500) i;
    ANALYZE;";

/// A pack of two modules, the second of which depends on the first.
fn of_scripts(base: &str, more: &str) -> Result<TempDir> {
    pack(&[
        (
            "pack.toml",
            "name = \"passes\"\ntarget_version = \"2.0\"\n[installed]\ntable = \"installed\"\n",
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

fn two_updates() -> Result<TempDir> {
    of_scripts(
        "UPDATE line SET note = upper(note) WHERE parent_id > 3;\n",
        "UPDATE line SET note = note || '!' WHERE id > 100;\n",
    )
}

fn run(database: &Database, pack: &Path) -> Upshift {
    Upshift::on(database, ["run", "--workers", "2", "--passes", "shadow"]).argument(pack)
}

fn back(database: &Database, more: &[&str]) -> Result<Outcome> {
    Upshift::on(database, ["rollback"]).arguments(more).run()
}

#[tokio::test]
async fn what_an_application_wrote_stops_the_way_back() -> Result<()> {
    let folder = two_updates()?;
    let start = Database::create()?;
    start.psql(TABLES)?;
    let before = Snapshot::take(&start).await?;
    let writes = [
        ("INSERT INTO line (parent_id) VALUES (1)", "1 row added"),
        ("DELETE FROM line WHERE id = 7", "1 row deleted"),
        (
            "UPDATE line SET parent_id = 2 WHERE id = 9",
            "1 row added or changed, 1 changed or deleted",
        ),
    ];
    for (write, told) in writes {
        let database = start.copy()?;
        run(&database, folder.path()).succeed()?;
        database.psql(write)?;
        let written = database.psql("SELECT count(*), max(id) FROM line")?;
        let refused = back(&database, &[])?.expect_code(3)?;
        ensure!(
            refused.stderr.contains(&format!("line: {told}")),
            "{write}: {}",
            refused.stderr
        );
        let now = database.psql("SELECT count(*), max(id) FROM line")?;
        ensure!(now == written, "refused, and yet {written} became {now}");
        back(&database, &["--force"])?.expect_code(0)?;
        // The application has drawn from the sequence, which is the one thing that stays.
        if !write.starts_with("INSERT") {
            before.expect_same(&Snapshot::take(&database).await?, write)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn whoever_only_reads_does_not_stop_the_way_back() -> Result<()> {
    let folder = two_updates()?;
    let database = Database::create()?;
    database.psql(TABLES)?;
    let before = Snapshot::take(&database).await?;
    run(&database, folder.path()).succeed()?;
    // Somebody else is connected, so the counters alone do not tell.
    let reader = database.connect().await?;
    database.psql("SELECT count(*) FROM line")?;
    back(&database, &[])?.expect_code(0)?;
    drop(reader);
    before.expect_same(&Snapshot::take(&database).await?, "rolled back")
}

#[tokio::test]
async fn a_table_that_is_being_built_cannot_be_written() -> Result<()> {
    let folder = two_updates()?;
    let database = Database::create()?;
    database.psql(TABLES)?;
    let before = Snapshot::take(&database).await?;
    let whole = database.copy()?;
    run(&whole, folder.path()).succeed()?;
    let expected = Snapshot::take(&whole).await?;
    // It dies when the new table is there and not yet filled.
    run(&database, folder.path()).dies_at("before_commit:2")?;
    let refused = database.psql("UPDATE line SET note = 'lost' WHERE id = 1");
    let refused = refused.err().context("the write went through")?.to_string();
    ensure!(refused.contains("is being built anew"), "{refused}");
    ensure!(database.psql("SELECT count(*) FROM line")?.trim() == "500");
    let resumed = database.copy()?;
    Upshift::on(&resumed, ["resume"]).succeed()?;
    expected.expect_same(&Snapshot::take(&resumed).await?, "resumed")?;
    back(&database, &[])?.expect_code(0)?;
    before.expect_same(&Snapshot::take(&database).await?, "rolled back")
}

#[tokio::test]
async fn a_partition_that_is_being_built_cannot_be_written_through_its_parent() -> Result<()> {
    let folder = two_updates()?;
    let database = Database::create()?;
    database.psql(TABLES)?;
    database.psql(
        "CREATE TABLE lines (id integer NOT NULL, parent_id integer, note text) PARTITION BY RANGE (id);
         CREATE TABLE later PARTITION OF lines FOR VALUES FROM (1000) TO (2000);
         INSERT INTO lines SELECT 1000 + i, 1, 'later' FROM generate_series(1, 9) i;
         ALTER TABLE lines ATTACH PARTITION line FOR VALUES FROM (0) TO (1000)",
    )?;
    let writes = [
        "INSERT INTO lines VALUES (700, 1, 'lost')",
        "UPDATE lines SET note = 'lost' WHERE id = 1",
        "UPDATE lines SET id = 701 WHERE id = 1001",
        "DELETE FROM lines",
        "TRUNCATE lines",
    ];
    let others = "UPDATE lines SET note = 'later' WHERE id > 1000";
    refused_through_its_parent(&database, folder.path(), (&writes, others)).await
}

#[tokio::test]
async fn a_table_that_inherits_cannot_be_written_through_its_parents_meanwhile() -> Result<()> {
    let folder = two_updates()?;
    let database = Database::create()?;
    database.psql(TABLES)?;
    database.psql(
        "CREATE TABLE notes (note text); INSERT INTO notes VALUES ('later');
         CREATE TABLE lines (parent_id integer) INHERITS (notes);
         INSERT INTO lines VALUES ('later', 0);
         ALTER TABLE line INHERIT lines",
    )?;
    let writes = [
        "UPDATE lines SET note = 'lost' WHERE parent_id = 1",
        "UPDATE notes SET note = 'lost'",
        "DELETE FROM notes",
        "TRUNCATE lines",
    ];
    let others = "UPDATE notes SET note = 'later' WHERE note = 'later'; \
                  INSERT INTO lines VALUES ('more'); DELETE FROM ONLY lines WHERE note = 'more'";
    refused_through_its_parent(&database, folder.path(), (&writes, others)).await
}

/// While `line` is being built; what writes others only may.
async fn refused_through_its_parent(
    database: &Database,
    pack: &Path,
    (writes, others): (&[&str], &str),
) -> Result<()> {
    let before = Snapshot::take(database).await?;
    run(database, pack).dies_at("before_commit:2")?;
    for write in writes {
        let refused = database.psql(write);
        let refused = refused.err().context((*write).to_owned())?.to_string();
        ensure!(
            refused.contains("is being built anew"),
            "{write}: {refused}"
        );
    }
    database.psql(others)?;
    back(database, &[])?.expect_code(0)?;
    before.expect_same(&Snapshot::take(database).await?, "rolled back")
}

#[tokio::test]
async fn modules_that_share_a_pass_have_one_checkpoint() -> Result<()> {
    let folder = two_updates()?;
    let database = Database::create()?;
    database.psql(TABLES)?;
    let before = Snapshot::take(&database).await?;
    run(&database, folder.path()).succeed()?;
    let status = Upshift::on(&database, ["status", "--json"]).succeed()?;
    let status: Value = serde_json::from_str(&status.stdout)?;
    ensure!(
        status["checkpoints"] == serde_json::json!(["more"]),
        "{status}"
    );
    let refused = back(&database, &["--to", "base"])?.expect_code(3)?;
    ensure!(
        refused.stderr.contains("no checkpoint of its own"),
        "{}",
        refused.stderr
    );
    back(&database, &["--to", "more"])?.expect_code(0)?;
    back(&database, &[])?.expect_code(0)?;
    before.expect_same(&Snapshot::take(&database).await?, "rolled back")
}

/// Each of `a`, `b` and `c` is built anew, and `d` and twenty small ones are not; foreign keys go round in a circle, to themselves and
/// across, one is not valid, one has a column that is renamed and one a name that is.
const LINKED: &str = "
    CREATE TABLE installed (name text PRIMARY KEY, version text);
    INSERT INTO installed VALUES ('base', '1.0'), ('more', '1.0');
    CREATE TABLE a (id serial PRIMARY KEY, self_id integer REFERENCES a, b_id integer, note text);
    CREATE TABLE b (id serial PRIMARY KEY, self_id integer REFERENCES b, a_id integer REFERENCES a, note text);
    CREATE TABLE c (id serial PRIMARY KEY, a_id integer, b_id integer REFERENCES b, note text);
    CREATE TABLE d (id serial PRIMARY KEY, a_id integer REFERENCES a, b_id integer REFERENCES b,
                    c_id integer REFERENCES c ON DELETE CASCADE, note text);
    INSERT INTO a (note) SELECT 'a' || i FROM generate_series(1, 700) i;
    INSERT INTO b (self_id, a_id, note) SELECT i, 1 + i % 700, 'b' || i FROM generate_series(1, 600) i;
    UPDATE a SET self_id = 1 + id * 7 % 700, b_id = 1 + id % 600;
    INSERT INTO c (a_id, b_id, note) SELECT 1 + i % 800, 1 + i % 600, 'c' || i FROM generate_series(1, 500) i;
    INSERT INTO d (a_id, b_id, c_id) SELECT 1 + i % 700, 1 + i % 600, 1 + i % 500 FROM generate_series(1, 900) i;
    ALTER TABLE a ADD CONSTRAINT a_b FOREIGN KEY (b_id) REFERENCES b;
    ALTER TABLE c ADD CONSTRAINT c_a FOREIGN KEY (a_id) REFERENCES a NOT VALID;
    COMMENT ON CONSTRAINT a_b ON a IS 'round';
    DO $$ BEGIN
        FOR i IN 1..20 LOOP
            EXECUTE format('CREATE TABLE e%s (id serial PRIMARY KEY, a_id integer REFERENCES a, b_id integer)', i);
            EXECUTE format('ALTER TABLE e%s ADD CONSTRAINT e%1$s_b FOREIGN KEY (b_id) REFERENCES b', i);
            EXECUTE format('INSERT INTO e%s (a_id, b_id) SELECT n, n FROM generate_series(1, 50) AS n', i);
        END LOOP;
    END $$;
    ANALYZE;";

#[tokio::test]
async fn passes_over_tables_that_point_at_each_other() -> Result<()> {
    let folder = of_scripts(
        "UPDATE a SET note = upper(note) WHERE id % 3 > 0;\n\
         UPDATE b SET note = note || '!' WHERE id > 100;\n\
         ALTER TABLE b RENAME COLUMN a_id TO alpha_id;\n\
         ALTER TABLE d RENAME CONSTRAINT d_b_id_fkey TO d_beta;\n",
        "UPDATE c SET note = reverse(c.note) || b.note FROM b WHERE b.id = c.b_id;\n\
         UPDATE d SET note = a.note FROM a WHERE a.id = d.a_id;\n\
         ALTER TABLE b RENAME CONSTRAINT b_a_id_fkey TO b_alpha;\n\
         ALTER TABLE a RENAME TO alpha;\n",
    )?;
    let start = Database::create()?;
    start.psql(LINKED)?;
    let before = Snapshot::take(&start).await?;
    let naive = start.copy()?;
    oracle::upgrade(&naive, folder.path()).await?;
    let after = Snapshot::take(&naive).await?;
    for workers in ["1", "4"] {
        let database = start.copy()?;
        let arguments = ["run", "--workers", workers, "--passes", "shadow"];
        let said = Upshift::on(&database, arguments)
            .argument(folder.path())
            .succeed()?;
        let said = format!("{}{}", said.stdout, said.stderr);
        ensure!(said.matches("swap").count() >= 3, "{said}");
        // Twenty-two of them point at `a`, no more than sixteen go together.
        ensure!(said.contains("of 16 small tables"), "{said}");
        after.expect_same(&Snapshot::take(&database).await?, "psql and the run")?;
        back(&database, &[])?.expect_code(0)?;
        before.expect_same(&Snapshot::take(&database).await?, "rolled back")?;
    }
    Ok(())
}

#[tokio::test]
async fn a_fresh_column_with_one_value_writes_no_row() -> Result<()> {
    let folder = of_scripts(
        "ALTER TABLE line ADD COLUMN kind varchar(8);\n",
        "UPDATE line SET kind = 'plain';\nINSERT INTO line (parent_id) VALUES (1);\n",
    )?;
    let database = Database::create()?;
    database.psql(TABLES)?;
    // Large enough for the compiler to think about it.
    database.psql(
        "INSERT INTO line (parent_id, note) SELECT 1, 'x' FROM generate_series(1, 30000); ANALYZE",
    )?;
    let before = Snapshot::take(&database).await?;
    let naive = database.copy()?;
    for script in [
        "base/migrations/2.0/pre-a.sql",
        "more/migrations/2.0/pre-a.sql",
    ] {
        naive.psql_file(&folder.path().join(script))?;
    }
    let place = "SELECT pg_relation_filenode('line'), pg_relation_size('line')";
    let size = database.psql(place)?;
    Upshift::on(&database, ["run"])
        .argument(folder.path())
        .succeed()?;
    Snapshot::take(&naive)
        .await?
        .expect_same(&Snapshot::take(&database).await?, "psql and the run")?;
    let now = database.psql(place)?;
    ensure!(now == size, "rows were written: {size} became {now}");
    back(&database, &[])?.expect_code(0)?;
    before.expect_same(&Snapshot::take(&database).await?, "rolled back")
}

#[tokio::test]
async fn an_older_ledger_gets_what_passes_need() -> Result<()> {
    let folder = two_updates()?;
    let database = Database::create()?;
    database.psql(TABLES)?;
    let before = Snapshot::take(&database).await?;
    upshift_shared::ledger::create(&mut database.connect().await?).await?;
    // As format 1 was.
    database.psql(
        "DROP TABLE upshift.shadow; DROP FUNCTION upshift.refuse_write();
         UPDATE upshift.meta SET format = 1",
    )?;
    run(&database, folder.path()).succeed()?;
    let formats = database.psql("SELECT string_agg(format::text, ' ') FROM upshift.meta")?;
    let format = upshift_shared::ledger::FORMAT;
    ensure!(formats.trim() == format.to_string(), "formats {formats}");
    back(&database, &[])?.expect_code(0)?;
    before.expect_same(&Snapshot::take(&database).await?, "rolled back")
}

/// What a pass asks of the catalog is large and touches few rows: to compile it would take seconds, under
/// the lock of the swap.
#[tokio::test]
async fn no_question_of_a_pass_is_compiled() -> Result<()> {
    let folder = two_updates()?;
    let database = Database::create()?;
    database.psql(TABLES)?;
    database.psql(
        "CREATE TABLE seen (command text, object text, jit text);
         CREATE FUNCTION note_jit() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO public.seen SELECT command_tag, object_identity, current_setting('jit')
             FROM pg_event_trigger_ddl_commands() WHERE starts_with(schema_name, 'upshift_kept_');
         END $$;",
    )?;
    database.psql_as_superuser(
        "CREATE EVENT TRIGGER note_jit ON ddl_command_end EXECUTE FUNCTION note_jit();
         DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET jit = on', current_database()); END $$",
    )?;
    run(&database, folder.path()).succeed()?;
    let seen = |jit: &str| {
        database.psql(&format!(
            "SELECT DISTINCT command FROM seen WHERE jit = '{jit}' AND command LIKE '%TABLE' ORDER BY 1"
        ))
    };
    let off = seen("off")?;
    ensure!(
        off.contains("CREATE TABLE") && off.contains("ALTER TABLE"),
        "seen with jit off: {off}"
    );
    let on = seen("on")?;
    ensure!(on.trim().is_empty(), "compiled would be: {on}");
    Ok(())
}
