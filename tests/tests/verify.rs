//! Verification: what a unit did to what the pack does not mention fails it; what a run leaves is
//! recorded, the same after a kill, and gone with a rollback; `upshift verify` names what is another.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use upshift_tests::{
    compare::Snapshot,
    harness::{Database, Upshift, one_module, pack},
    oracle,
};

const TABLES: &str = r#"
CREATE TABLE parent (id integer PRIMARY KEY, name text);
INSERT INTO parent SELECT i, 'p' || i FROM generate_series(1, 50) i;
CREATE TABLE "li ne" (id integer PRIMARY KEY, parent_id integer REFERENCES parent, note text,
    "odd ""c" text, amount numeric(12, 2), ratio double precision, doc json, at timestamptz, spot point,
    twice numeric GENERATED ALWAYS AS (amount * 2) STORED);
INSERT INTO "li ne"
    SELECT i, 1 + i % 50, 'n' || i, CASE WHEN i % 3 = 0 THEN NULL ELSE 'o' || i END, i / 7.0, i / 3.0,
           json_build_object('a', i), 'epoch'::timestamptz + i * interval '1 day', point(i, -i)
    FROM generate_series(1, 20000) i;
CREATE TABLE part (id integer PRIMARY KEY, kind text, v text) PARTITION BY RANGE (id);
CREATE TABLE "part 1" PARTITION OF part FOR VALUES FROM (0) TO (300);
CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (300) TO (1000);
INSERT INTO part SELECT i, 'k' || i % 3, 'v' || i FROM generate_series(1, 600) i;
CREATE TABLE copied (id integer PRIMARY KEY, note text, made date DEFAULT '2020-02-02');
CREATE TABLE aside (id integer PRIMARY KEY, note text);
INSERT INTO aside VALUES (1, 'not the run''s business');
CREATE FUNCTION same(integer) RETURNS integer LANGUAGE sql AS 'SELECT $1';
CREATE TYPE mood AS ENUM ('sad');
CREATE DOMAIN few AS integer CHECK (value < 9);
CREATE TABLE ruled (id integer);
CREATE POLICY mine ON ruled USING (true);
CREATE RULE quiet AS ON DELETE TO ruled DO INSTEAD NOTHING;
ANALYZE;"#;

const SCRIPT: &str = r#"
ALTER TABLE "li ne" RENAME "odd ""c" TO "odder ""c";
UPDATE "li ne" SET note = upper(note) WHERE id % 2 = 0;
DELETE FROM "li ne" WHERE id % 10 = 7;
UPDATE "li ne" SET amount = amount + 1 WHERE parent_id > 20;
ALTER TABLE "li ne" ADD COLUMN fresh integer DEFAULT 3;
UPDATE part SET v = v || '!' WHERE kind = 'k1';
DELETE FROM part WHERE kind = 'k2';
INSERT INTO copied (id, note) SELECT id, note FROM "li ne" WHERE id <= 15000;
ALTER TABLE parent DROP COLUMN name;
ALTER TABLE copied RENAME TO copied_2;
"#;

fn of_script(script: &str) -> Result<TempDir> {
    one_module(&[("pre-a.sql", script)])
}

fn run(database: &Database, pack: &Path, more: &[&str]) -> Upshift {
    Upshift::on(database, ["run", "--workers", "2", "--unit-rows", "4000"])
        .arguments(more)
        .argument(pack)
}

/// What `upshift verify` says: its exit code has to fit.
fn verify(database: &Database, more: &[&str]) -> Result<Value> {
    let outcome = Upshift::on(database, ["verify", "--json", "--workers", "3"])
        .arguments(more)
        .run()?;
    let verdict: Value = serde_json::from_str(&outcome.stdout)
        .with_context(|| format!("{}\n{}", outcome.stdout, outcome.stderr))?;
    let same = verdict["same"] == json!(true);
    let expected = if same { 0 } else { 3 };
    ensure!(
        outcome.code == Some(expected),
        "{:?}: {verdict}",
        outcome.code
    );
    Ok(verdict)
}

fn expect_same(database: &Database, when: &str) -> Result<()> {
    for more in [&["--full"][..], &[]] {
        let verdict = verify(database, more)?;
        ensure!(verdict["same"] == json!(true), "{when}: {verdict:#}");
    }
    Ok(())
}

/// Tables that are not as they were left, with what is said of each.
fn differing(verdict: &Value) -> Vec<(String, String)> {
    let tables = verdict["tables"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    tables
        .map(|table| (text(&table["table"]), text(&table["state"])))
        .filter(|(_, state)| state != "same" && state != "same_rows")
        .collect()
}

fn objects(verdict: &Value) -> Vec<String> {
    let objects = verdict["objects"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    objects
        .map(|o| {
            format!(
                "{} {} {}",
                text(&o["kind"]),
                text(&o["name"]),
                text(&o["change"])
            )
        })
        .collect()
}

/// All that is recorded, without what differs from run to run.
fn recorded(database: &Database) -> Result<String> {
    database.psql(
        "SELECT task, sum(rows_before), sum(rows_after), sum(digest_before), sum(digest_after)
         FROM upshift.verification GROUP BY task ORDER BY task;
         SELECT verify FROM upshift.left_state;
         SELECT name, rows, content FROM upshift.left_table ORDER BY name;
         SELECT count(*), sum(definition) FROM upshift.left_object",
    )
}

const TRIGGER: &str = "
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.ratio := NEW.ratio + 1; RETURN NEW; END $$;
CREATE TRIGGER meddle BEFORE UPDATE ON \"li ne\" FOR EACH ROW EXECUTE FUNCTION meddle()";

#[tokio::test]
async fn a_trigger_that_changes_what_the_pack_does_not_mention_fails_the_unit() -> Result<()> {
    let script = "SELECT 1;\nUPDATE \"li ne\" SET note = 'x' || note;\n";
    let (folder, start) = (of_script(script)?, Database::create()?);
    start.psql(TABLES)?;
    for (level, fails) in [("full", true), ("counts", false)] {
        let database = start.copy()?;
        let more = ["--passes", "in-place", "--verify", level];
        run(&database, folder.path(), &more).dies_at("before_lock")?;
        // The plan does not know of it.
        database.psql(TRIGGER)?;
        let resumed = Upshift::on(&database, ["resume"]).run()?;
        if !fails {
            resumed.expect_code(0)?;
            continue;
        }
        let told = resumed.expect_code(1)?.stderr;
        for part in [
            "columns of \"public\".\"li ne\" that the pack does not mention",
            "UPDATE li ne SET note",
            "pre-a.sql:2",
        ] {
            ensure!(told.contains(part), "{part} is not in: {told}");
        }
        let changed = "SELECT count(*) FROM \"li ne\" WHERE note LIKE 'x%'";
        ensure!(
            database.psql(changed)?.trim() == "0",
            "the unit has left something"
        );
        database.psql("DROP TRIGGER meddle ON \"li ne\"")?;
        Upshift::on(&database, ["resume"]).succeed()?;
        expect_same(&database, "resumed")?;
    }
    Ok(())
}

#[tokio::test]
async fn a_run_leaves_what_verify_finds_again() -> Result<()> {
    let (folder, start) = (of_script(SCRIPT)?, Database::create()?);
    start.psql(TABLES)?;
    let naive = start.copy()?;
    oracle::upgrade(&naive, folder.path()).await?;
    let expected = Snapshot::take(&naive).await?;
    for passes in ["shadow", "in-place"] {
        let database = start.copy()?;
        let more = ["--passes", passes, "--verify", "full"];
        let told = run(&database, folder.path(), &more).succeed()?.stderr;
        ensure!(
            told.contains("verification: full; on one worker, counts are "),
            "{told}"
        );
        expect_same(&database, &format!("{passes}, prepared"))?;
        let verdict = verify(&database, &["--full"])?;
        let tables = verdict["tables"].as_array().context("tables")?.len();
        // "li ne", two partitions, copied_2, parent.
        ensure!(tables == 5, "{verdict:#}");
        for task in verdict["tasks"].as_array().context("tasks")? {
            ensure!(task["digested"] == json!(true), "{passes}: {task}");
        }
        Upshift::on(&database, ["commit"]).succeed()?;
        expect_same(&database, &format!("{passes}, committed"))?;
        expected.expect_same(&Snapshot::take(&database).await?, passes)?;
        if passes == "shadow" {
            changes_are_named(&database)?;
        }
    }
    Ok(())
}

fn changes_are_named(database: &Database) -> Result<()> {
    database.psql("UPDATE aside SET note = 'other'; UPDATE part SET v = 'other' WHERE id = 1")?;
    ensure!(
        verify(database, &[])?["same"] == json!(true),
        "only rows are counted"
    );
    let verdict = verify(database, &["--full"])?;
    let part = (
        "\"public\".\"part 1\"".to_owned(),
        "content_differs".to_owned(),
    );
    ensure!(differing(&verdict) == [part.clone()], "{verdict:#}");
    ensure!(objects(&verdict).is_empty(), "{verdict:#}");
    database.psql(
        "DELETE FROM \"li ne\" WHERE id = 1; CREATE INDEX \"ne w\" ON copied_2 (note);
         ALTER TABLE part DROP COLUMN kind; ALTER TABLE \"li ne\" ALTER note SET NOT NULL;
         CREATE OR REPLACE FUNCTION same(integer) RETURNS integer LANGUAGE sql AS 'SELECT $1 + 1';
         ALTER TYPE mood ADD VALUE 'ok'; ALTER DOMAIN few SET NOT NULL;
         ALTER POLICY mine ON ruled USING (false); DROP RULE quiet ON ruled",
    )?;
    let verdict = verify(database, &[])?;
    let line = ("\"public\".\"li ne\"".to_owned(), "rows_differ".to_owned());
    ensure!(differing(&verdict) == [line], "{verdict:#}");
    let columns = ["part", "\"part 1\"", "part_2"];
    for wanted in columns
        .map(|table| format!("column public.{table}.kind removed"))
        .into_iter()
        .chain(["index public.\"ne w\" added".to_owned()])
        .chain(
            [
                "column public.\"li ne\".note changed",
                "function public.same(integer) changed",
                "type public.mood changed",
                "type public.few changed",
                "policy public.ruled.mine changed",
                "rule public.ruled.quiet removed",
            ]
            .map(str::to_owned),
        )
    {
        ensure!(objects(&verdict).contains(&wanted), "{wanted}: {verdict:#}");
    }
    // From PostgreSQL 18 on NOT NULL is a constraint with a name.
    let version = database.psql("SHOW server_version_num")?;
    let named = usize::from(version.trim().parse::<u32>()? >= 180_000);
    ensure!(objects(&verdict).len() == 10 + named, "{verdict:#}");
    let text = Upshift::on(database, ["verify"])
        .run()?
        .expect_code(3)?
        .stdout;
    ensure!(
        text.contains("table \"public\".\"li ne\": 1 row less"),
        "{text}"
    );
    ensure!(
        text.contains("the database is not what the run left"),
        "{text}"
    );
    database.psql("ALTER TABLE copied_2 RENAME TO gone")?;
    let gone = ("\"public\".\"copied_2\"".to_owned(), "gone".to_owned());
    ensure!(differing(&verify(database, &[])?).contains(&gone));
    Ok(())
}

#[tokio::test]
async fn a_run_that_was_killed_records_the_same_and_a_rollback_forgets_it() -> Result<()> {
    let (folder, start) = (of_script(SCRIPT)?, Database::create()?);
    start.psql(TABLES)?;
    for (passes, points) in [
        ("shadow", &["before_commit:3", "after_commit:4"][..]),
        ("in-place", &["after_work:5"]),
    ] {
        let more = ["--passes", passes, "--verify", "full"];
        let whole = start.copy()?;
        run(&whole, folder.path(), &more).succeed()?;
        let expected = recorded(&whole)?;
        for point in points {
            let database = start.copy()?;
            run(&database, folder.path(), &more).dies_at(point)?;
            Upshift::on(&database, ["resume"]).succeed()?;
            let now = recorded(&database)?;
            ensure!(
                now == expected,
                "{passes}, {point}:\n{expected}\nbecame\n{now}"
            );
            expect_same(&database, point)?;
            if *point == points[0] {
                Upshift::on(&database, ["rollback"]).succeed()?;
                let rows = database.psql(
                    "SELECT (SELECT count(*) FROM upshift.verification)
                          + (SELECT count(*) FROM upshift.left_state)
                          + (SELECT count(*) FROM upshift.left_table)
                          + (SELECT count(*) FROM upshift.left_object)",
                )?;
                ensure!(rows.trim() == "0", "{passes}: {rows} rows are left of it");
                let refused = Upshift::on(&database, ["verify"]).run()?.expect_code(3)?;
                ensure!(refused.stderr.contains("rolled_back"), "{}", refused.stderr);
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_new_table_that_something_else_changes_is_not_swapped_in() -> Result<()> {
    let folder = of_script("UPDATE \"li ne\" SET note = upper(note);\n")?;
    let start = Database::create()?;
    start.psql(TABLES)?;
    let before = Snapshot::take(&start).await?;
    for (damage, told) in [
        (
            "UPDATE %s SET ratio = 0 WHERE id = 77",
            "something else has changed it",
        ),
        (
            "DELETE FROM %s WHERE id = 77",
            "rows of the new table: 19999",
        ),
    ] {
        let database = start.copy()?;
        let arguments = [
            "run",
            "--workers",
            "1",
            "--passes",
            "shadow",
            "--verify",
            "full",
        ];
        // Build, fill; it dies in the index.
        Upshift::on(&database, arguments)
            .argument(folder.path())
            .dies_at("before_commit:3")?;
        let new = "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c
             JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname ~ '^upshift_kept_.*_new$' AND c.relname = 'li ne' AND c.relkind = 'r'";
        let new = database.psql(new)?;
        ensure!(
            database
                .psql(&format!("SELECT count(*) FROM {}", new.trim()))?
                .trim()
                == "20000"
        );
        database.psql(&damage.replace("%s", new.trim()))?;
        let refused = Upshift::on(&database, ["resume"]).run()?.expect_code(1)?;
        ensure!(refused.stderr.contains(told), "{}", refused.stderr);
        Upshift::on(&database, ["rollback"]).succeed()?;
        before.expect_same(&Snapshot::take(&database).await?, damage)?;
    }
    Ok(())
}

#[tokio::test]
async fn nothing_recorded_is_said_and_counts_suffice_for_rows() -> Result<()> {
    let (folder, start) = (of_script(SCRIPT)?, Database::create()?);
    start.psql(TABLES)?;
    let off = start.copy()?;
    run(&off, folder.path(), &["--verify", "off"]).succeed()?;
    let rows = off.psql("SELECT count(*) FROM upshift.verification")?;
    ensure!(rows.trim() == "0", "{rows}");
    let told = Upshift::on(&off, ["verify"]).run()?.expect_code(3)?.stdout;
    ensure!(
        told.contains("nothing was recorded of what the run left"),
        "{told}"
    );
    // As an older ledger.
    off.psql("DROP TABLE upshift.verification, upshift.left_state")?;
    ensure!(verify(&off, &[])?["recorded"] == Value::Null);

    let counts = start.copy()?;
    run(&counts, folder.path(), &["--passes", "shadow"]).succeed()?;
    let verdict = verify(&counts, &["--full"])?;
    ensure!(verdict["same"] == json!(true), "{verdict:#}");
    ensure!(
        verdict["recorded"]["verify"] == json!("counts"),
        "{verdict:#}"
    );
    let notes = verdict["notes"].to_string();
    ensure!(notes.contains("no digests were recorded"), "{notes}");
    let fill =
        "SELECT sum(rows_before), sum(rows_after), count(digest_before) FROM upshift.verification
                WHERE rows_before > 1000";
    ensure!(
        counts.psql(fill)?.trim() == "20000|18000|0",
        "{}",
        counts.psql(fill)?
    );
    counts.psql("INSERT INTO part_2 (id) VALUES (999)")?;
    let verdict = verify(&counts, &[])?;
    let part = ("\"public\".\"part_2\"".to_owned(), "rows_differ".to_owned());
    ensure!(differing(&verdict) == [part], "{verdict:#}");
    Ok(())
}

#[tokio::test]
async fn the_configuration_says_how_much_is_verified() -> Result<()> {
    let (folder, database) = (of_script(SCRIPT)?, Database::create()?);
    database.psql(TABLES)?;
    let place = TempDir::new()?;
    let file = place.path().join("upshift.toml");
    std::fs::write(&file, "[run]\nverify = \"some\"\n")?;
    let with = |more: &[&str]| {
        run(&database, folder.path(), more)
            .argument("--config")
            .argument(&file)
    };
    let refused = with(&[]).run()?.expect_code(2)?.stderr;
    ensure!(
        refused.contains("expected one of off, counts, full"),
        "{refused}"
    );
    std::fs::write(&file, "[run]\nverify = \"full\"\n")?;
    with(&[]).succeed()?;
    let level = database.psql("SELECT verify FROM upshift.left_state")?;
    ensure!(level.trim() == "full", "{level}");
    Ok(())
}

fn with_checks(last: &str) -> Result<TempDir> {
    pack(&[
        ("pack.toml", "name = \"checks\"\n[installed]\nquery = \"SELECT m, '1.0' FROM unnest('{a,b}'::text[]) m\"\n"),
        ("a/module.toml", "version = \"2.0\"\n"),
        ("b/module.toml", "version = \"2.0\"\ndepends = [\"a\"]\n"),
        ("a/migrations/2.0/pre-a.sql", "UPDATE aside SET note = 'a';\n"),
        (
            "a/migrations/2.0/post-b.toml",
            "[[check]]\nquery = \"SELECT FROM aside WHERE note <> 'a'\"\nmessage = \"a note is not a\"\n
             [[check]]\nquery = \"SELECT FROM aside WHERE id <= 0\"\nmessage = \"an id is not positive\"\nlasting = true\n",
        ),
        ("b/migrations/2.0/post-c.sql", last),
    ])
}

#[tokio::test]
async fn a_checkpoint_waits_for_its_checks_and_lasting_ones_hold_after_the_run() -> Result<()> {
    let start = Database::create()?;
    start.psql(TABLES)?;
    let stood = with_checks("UPDATE aside SET note = 'b';\n")?;

    // A check that does not hold where it stands: no checkpoint.
    let database = start.copy()?;
    database.psql("INSERT INTO aside VALUES (-1, 'negative')")?;
    let refused = run(&database, stood.path(), &[])
        .run()?
        .expect_code(1)?
        .stderr;
    ensure!(
        refused.contains("an id is not positive (1 row)"),
        "{refused}"
    );
    let status = Upshift::on(&database, ["status", "--json"]).succeed()?;
    let status: Value = serde_json::from_str(&status.stdout)?;
    ensure!(status["checkpoints"] == json!([]), "{status}");
    database.psql("DELETE FROM aside WHERE id = -1")?;
    Upshift::on(&database, ["resume"]).succeed()?;
    // The one that is not lasting does not hold any more, and is not asked.
    let verdict = verify(&database, &[])?;
    ensure!(verdict["same"] == json!(true), "{verdict:#}");
    ensure!(verdict["checks_asked"] == json!(1), "{verdict:#}");
    database.psql("UPDATE aside SET id = -id")?;
    let told = Upshift::on(&database, ["verify"])
        .run()?
        .expect_code(3)?
        .stdout;
    ensure!(
        told.contains("check failed: an id is not positive (1 row)"),
        "{told}"
    );
    ensure!(told.contains("post-b.toml:"), "{told}");

    // One that a later step breaks: the run is not prepared.
    let broken = with_checks("UPDATE aside SET id = -id;\n")?;
    let database = start.copy()?;
    let refused = run(&database, broken.path(), &[])
        .run()?
        .expect_code(1)?
        .stderr;
    ensure!(
        refused.contains("check failed after the whole run: an id is not positive"),
        "{refused}"
    );
    ensure!(refused.contains("post-b.toml:"), "{refused}");
    let state = database.psql("SELECT state FROM upshift.run")?;
    ensure!(state.trim() == "failed", "{state}");
    let refused = Upshift::on(&database, ["commit"])
        .run()?
        .expect_code(3)?
        .stderr;
    ensure!(refused.contains("only a prepared run"), "{refused}");
    database.psql("UPDATE aside SET id = 1")?;
    Upshift::on(&database, ["resume"]).succeed()?;
    expect_same(&database, "mended")
}
