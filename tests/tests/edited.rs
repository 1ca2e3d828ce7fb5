//! A run that failed goes on by an edited pack: what has not run is done as the pack now has it, what was
//! begun is taken back first, what has run is refused, and being killed on the way changes nothing.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use upshift_tests::{
    compare::{self, Snapshot},
    harness::{Database, Outcome, Upshift, one_module, pack, repository},
    odoo, oracle,
};
use upshift_worker::failpoint;

const TABLES: &str = "
    CREATE TABLE installed (name text PRIMARY KEY, version text);
    INSERT INTO installed VALUES ('base', '1.0'), ('more', '1.0');
    CREATE TABLE parent (id integer PRIMARY KEY, name text);
    INSERT INTO parent SELECT i, 'p' || i FROM generate_series(1, 10) i;
    CREATE TABLE line (id serial PRIMARY KEY, parent_id integer REFERENCES parent, raw text);
    INSERT INTO line (parent_id, raw)
    SELECT 1 + i % 10, CASE i WHEN 2500 THEN 'x' ELSE i::text END FROM generate_series(1, 9000) i;
    ANALYZE;";

const BASE: &str = "UPDATE parent SET name = upper(name);\n\
    ALTER TABLE line ADD COLUMN amount integer;\n";
/// Fails for one row.
const BAD: &str = "UPDATE parent SET name = name || '.' WHERE id > 5;\n\
    -- upshift: chunk = by(id)\n\
    UPDATE line SET amount = raw::integer + 1 WHERE id > 5\n\
    AND EXISTS (SELECT FROM parent p WHERE p.id = line.parent_id AND p.name <> '');\n\
    UPDATE line SET raw = NULL WHERE amount % 2 = 0;\n";
const LATER: &str = "UPDATE line SET parent_id = 1 WHERE amount > 2990;\n";

/// A pack whose first script runs, whose second fails, and whose third never begins.
fn folder() -> Result<TempDir> {
    pack(&[
        (
            "pack.toml",
            "name = \"edited\"\ntarget_version = \"2.0\"\n[installed]\ntable = \"installed\"\n",
        ),
        ("base/module.toml", "version = \"2.0\"\n"),
        (
            "more/module.toml",
            "version = \"2.0\"\ndepends = [\"base\"]\n",
        ),
        ("base/migrations/2.0/pre-a.sql", BASE),
        ("more/migrations/2.0/pre-a.sql", BAD),
        ("more/migrations/2.0/pre-z.sql", LATER),
    ])
}

fn write(folder: &Path, file: &str, text: &str) -> Result<()> {
    Ok(fs::write(folder.join(file), text)?)
}

/// Mends the statement that fails; and adds a file, and removes one.
fn mend(folder: &Path) -> Result<()> {
    let mended = BAD.replace(
        "raw::integer + 1",
        "CASE WHEN raw ~ '^[0-9]+$' THEN raw::integer + 1 END",
    );
    write(folder, "more/migrations/2.0/pre-a.sql", &mended)?;
    write(
        folder,
        "more/migrations/2.0/post-b.sql",
        "INSERT INTO parent SELECT 100 + id, raw FROM line WHERE id < 9;\n\
         ALTER TABLE line DROP COLUMN raw;\n",
    )?;
    Ok(fs::remove_file(
        folder.join("more/migrations/2.0/pre-z.sql"),
    )?)
}

fn resume(database: &Database, pack: &Path) -> Upshift {
    let resume = Upshift::on(database, ["resume", "--workers", "2", "--yes"]);
    resume.argument("--pack").argument(pack)
}

fn status(database: &Database) -> Result<Value> {
    let outcome = Upshift::on(database, ["status", "--json"]).succeed()?;
    Ok(serde_json::from_str(&outcome.stdout)?)
}

fn told(outcome: &Outcome, wanted: &[&str]) -> Result<()> {
    for text in wanted {
        ensure!(
            outcome.stderr.contains(text),
            "not told {text}: {}",
            outcome.stderr
        );
    }
    Ok(())
}

/// What `psql` makes of the pack as it is now, from the tables.
async fn by_psql(pack: &Path) -> Result<Database> {
    let database = Database::filled(TABLES)?;
    oracle::upgrade(&database, pack).await?;
    Ok(database)
}

#[tokio::test]
async fn a_mended_script_is_taken_up() -> Result<()> {
    for passes in ["in-place", "shadow"] {
        let folder = folder()?;
        let database = Database::filled(TABLES)?;
        let before = Snapshot::take(&database).await?;
        let failed = Upshift::run_pack(&database, folder.path(), passes)
            .run()?
            .expect_code(1)?;
        told(&failed, &["pre-a.sql:", "resume", "--pack DIR", "rollback"])?;
        mend(folder.path())?;
        let done = resume(&database, folder.path()).succeed()?;
        told(
            &done,
            &[
                "changed more/migrations/2.0/pre-a.sql:3:1",
                "removed more/migrations/2.0/pre-z.sql:1:1",
                "added more/migrations/2.0/post-b.sql:1:1",
            ],
        )?;
        let prepared = status(&database)?;
        ensure!(prepared["state"] == "prepared", "{prepared}");
        ensure!(prepared["tasks"] == prepared["tasks_done"], "{prepared}");
        let plans = database.psql("SELECT count(*) FROM upshift.plan_history")?;
        ensure!(plans.trim() == "1", "{plans} plans were replaced");
        resume(&database, folder.path()).run()?.expect_code(3)?;

        // Back to a checkpoint and forward, then all the way.
        if passes == "in-place" {
            Upshift::on(&database, ["rollback", "--to", "base"]).succeed()?;
            Upshift::on(&database, ["resume"]).succeed()?;
        }
        let back = database.copy()?;
        Upshift::on(&back, ["rollback"]).succeed()?;
        before.expect_same(&Snapshot::take(&back).await?, &format!("{passes}: back"))?;
        Upshift::on(&database, ["commit"]).succeed()?;
        let naive = by_psql(folder.path()).await?;
        compare::expect_same(&naive, &database, &format!("{passes}: mended")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_edit_of_what_has_run_is_refused() -> Result<()> {
    let folder = folder()?;
    let database = Database::filled(TABLES)?;
    Upshift::run_pack(&database, folder.path(), "in-place")
        .run()?
        .expect_code(1)?;
    let failed = Snapshot::take(&database).await?;
    let ledger = "SELECT md5(plan::text), (SELECT count(*) FROM upshift.task) FROM upshift.run";
    let planned = database.psql(ledger)?;

    // Lines that move and names that change are no edits.
    let moved = format!("\n\n-- upshift: label = \"names\"\n{BASE}");
    write(folder.path(), "base/migrations/2.0/pre-a.sql", &moved)?;
    mend(folder.path())?;
    let edited = moved.replace("upper", "lower");
    let refused = |text: &str, wanted: &[&str]| -> Result<()> {
        write(folder.path(), "base/migrations/2.0/pre-a.sql", text)?;
        let outcome = resume(&database, folder.path()).run()?.expect_code(3)?;
        told(&outcome, wanted)
    };
    refused(
        &edited,
        &[
            "base/migrations/2.0/pre-a.sql:1:1 has run and was edited (now base/migrations/2.0/pre-a.sql:4:1)",
            "upshift rollback ",
        ],
    )?;
    refused(
        "UPDATE parent SET name = upper(name);\n",
        &["base/migrations/2.0/pre-a.sql:2:1 has run and is no longer in the pack"],
    )?;
    refused(
        &format!("UPDATE parent SET name = 'n' || id;\n{BASE}"),
        &[
            "base/migrations/2.0/pre-a.sql:1:1 (UPDATE parent SET name) would have to come before \
             base/migrations/2.0/pre-a.sql:2:1, which has run",
        ],
    )?;
    failed.expect_same(&Snapshot::take(&database).await?, "refused")?;
    ensure!(
        planned == database.psql(ledger)?,
        "refused, and yet it is another plan"
    );

    // The way that was named: back to the start, there being no checkpoint before it, or …
    write(folder.path(), "base/migrations/2.0/pre-a.sql", &moved)?;
    resume(&database, folder.path()).succeed()?;
    // … to a checkpoint, where what is edited comes after that.
    let late = BAD.replace("name || '.'", "name || '!'");
    let late = late.replace("raw::integer + 1", "length(raw)");
    write(folder.path(), "more/migrations/2.0/pre-a.sql", &late)?;
    let prepared = resume(&database, folder.path()).run()?.expect_code(3)?;
    told(&prepared, &["is prepared", "--to CHECKPOINT"])?;
    Upshift::on(&database, ["rollback", "--to", "base"]).succeed()?;
    resume(&database, folder.path()).succeed()?;
    Upshift::on(&database, ["commit"]).succeed()?;
    compare::expect_same(
        &by_psql(folder.path()).await?,
        &database,
        "gone back and edited",
    )
    .await
}

#[tokio::test]
async fn what_has_run_after_a_checkpoint_names_it() -> Result<()> {
    let folder = folder()?;
    let database = Database::filled(TABLES)?;
    // The first statement of the second module is done when the second one fails.
    Upshift::run_pack(&database, folder.path(), "in-place")
        .run()?
        .expect_code(1)?;
    mend(folder.path())?;
    let file = "more/migrations/2.0/pre-a.sql";
    let text = fs::read_to_string(folder.path().join(file))?;
    write(
        folder.path(),
        file,
        &text.replace("name || '.'", "name || '?'"),
    )?;
    let outcome = resume(&database, folder.path()).run()?.expect_code(3)?;
    told(
        &outcome,
        &[
            "more/migrations/2.0/pre-a.sql:1:1 has run and was edited",
            " --to base",
        ],
    )?;
    Upshift::on(&database, ["rollback", "--to", "base"]).succeed()?;
    resume(&database, folder.path()).succeed()?;
    Upshift::on(&database, ["commit"]).succeed()?;
    compare::expect_same(&by_psql(folder.path()).await?, &database, "as it was told").await
}

/// Killed while what was begun is taken back, and while the rest runs.
#[tokio::test]
async fn being_killed_on_the_way_changes_nothing() -> Result<()> {
    let folder = folder()?;
    let failed = Database::filled(TABLES)?;
    Upshift::run_pack(&failed, folder.path(), "in-place")
        .run()?
        .expect_code(1)?;
    let standing = status(&failed)?;
    let begun = &standing["open"][0]["units_done"];
    ensure!(
        begun.as_u64().is_some_and(|units| units > 0),
        "nothing was begun: {standing}"
    );
    let unedited = self::folder()?;
    mend(folder.path())?;
    let naive = by_psql(folder.path()).await?;
    let points = [
        "during_undo:1",
        "after_work:2",
        "before_commit:4",
        "during_prepare:1",
        "after_commit:8",
    ];
    for point in points.into_iter().chain(failpoint::EDITED) {
        let database = failed.copy()?;
        resume(&database, folder.path()).dies_at(point)?;
        if point.starts_with("during_undo") {
            // What was taken back is done again as planned, and fails again; as does the unedited pack.
            Upshift::on(&database, ["resume"]).run()?.expect_code(1)?;
            let same = resume(&database, unedited.path()).run()?.expect_code(1)?;
            told(&same, &["says what it said"])?;
        }
        let running = status(&database)?["state"].clone();
        ensure!(running == "running" || running == "failed", "{running}");
        resume(&database, folder.path())
            .succeed()
            .with_context(|| point.to_owned())?;
        Upshift::on(&database, ["commit"]).succeed()?;
        compare::expect_same(&naive, &database, point).await?;
    }
    Ok(())
}

/// Killed between the two, the tasks are open again and the new table is in its place all the same: what an
/// application writes to it then is not lost without a word.
#[tokio::test]
async fn what_is_open_again_may_have_been_written() -> Result<()> {
    let script = "-- upshift: strategy = shadow\nUPDATE t SET a = id;";
    let folder = one_module(&[("pre-a.sql", script)])?;
    let database = Database::filled(
        "CREATE TABLE t (id integer PRIMARY KEY, a integer);
         INSERT INTO t SELECT generate_series(1, 500);",
    )?;
    Upshift::run_pack(&database, folder.path(), "shadow").dies_at("before_record@shadow swap")?;
    let edited = one_module(&[("pre-a.sql", &script.replace("id;", "-id;"))])?;
    resume(&database, edited.path()).dies_at(failpoint::AFTER_REOPEN)?;
    let unwritten = database.copy()?;
    database.psql("UPDATE t SET a = 0 WHERE id = 7")?;
    let refused = resume(&database, edited.path()).run()?.expect_code(3)?;
    told(
        &refused,
        &["an application has written since", "resume without --pack"],
    )?;
    Upshift::on(&database, ["resume"]).succeed()?;
    Upshift::on(&database, ["commit"]).succeed()?;
    let sum = |database: &Database| database.psql("SELECT sum(a) FROM t");
    ensure!(sum(&database)?.trim() == "125243", "{}", sum(&database)?);
    resume(&unwritten, edited.path()).succeed()?;
    ensure!(sum(&unwritten)?.trim() == "-125250", "{}", sum(&unwritten)?);
    Ok(())
}

/// A folder with a copy of a pack.
fn copied(from: &Path) -> Result<TempDir> {
    let folder = TempDir::new()?;
    let mut stack = vec![from.to_owned()];
    while let Some(path) = stack.pop() {
        let to = folder.path().join(path.strip_prefix(from)?);
        if path.is_dir() {
            fs::create_dir_all(&to)?;
            for entry in fs::read_dir(&path)? {
                stack.push(entry?.path());
            }
        } else {
            fs::copy(&path, &to)?;
        }
    }
    Ok(folder)
}

/// The pack of a real Odoo, gone back to the middle, edited, and resumed.
#[tokio::test]
async fn a_real_pack_is_planned_anew_around_what_has_run() -> Result<()> {
    let Some(database) = odoo::restored().await? else {
        return Ok(());
    };
    let naive = database.copy()?;
    let folder = copied(&repository().join("tests/packs/odoo18"))?;
    Upshift::on(&database, ["run", "--workers", "2"])
        .argument(folder.path())
        .succeed()?;
    let stored = database.psql("SELECT pg_column_size(source) FROM upshift.source")?;
    ensure!(
        stored.trim().parse::<u64>()? < 1 << 20,
        "{stored} bytes are stored"
    );
    Upshift::on(&database, ["rollback", "--to", "product"]).succeed()?;

    let file = |path: &str| folder.path().join(path);
    fs::write(
        file("stock_account/migrations/18.0.1.0/post-zz-edited.sql"),
        "CREATE TABLE edited (id integer PRIMARY KEY);\n\
         UPDATE res_partner SET comment = 'edited' WHERE id % 2 = 0;\n",
    )?;
    let first_script = file("base/migrations/18.0.1.0/pre-migration.sql");
    let text = fs::read_to_string(&first_script)?;
    fs::write(&first_script, "")?;
    let refused = resume(&database, folder.path()).run()?.expect_code(3)?;
    told(&refused, &["has run and is no longer in the pack"])?;
    fs::write(&first_script, text)?;
    let done = resume(&database, folder.path()).succeed()?;
    told(
        &done,
        &["what was edited:\n  added ", "post-zz-edited.sql:2:1"],
    )?;
    Upshift::on(&database, ["commit", "--workers", "2"]).succeed()?;
    oracle::upgrade(&naive, folder.path()).await?;
    compare::expect_same(&naive, &database, "edited").await
}
