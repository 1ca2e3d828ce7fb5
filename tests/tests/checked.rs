//! Constraints on a large table are added NOT VALID and validated by tasks of their own: the database is the
//! one that psql leaves, comes back untouched, and bad data stops the run where psql stops.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use upshift_tests::{
    compare,
    harness::{Database, Upshift, one_module},
    oracle,
};

const TABLES: &str = r#"
CREATE TABLE parent (id integer PRIMARY KEY);
INSERT INTO parent SELECT generate_series(1, 100);
CREATE TABLE "li ne" (id integer PRIMARY KEY, parent_id integer, other integer, "odd ""c" text, note text NOT NULL);
INSERT INTO "li ne" SELECT i, 1 + i % 100, 1 + i % 50, 'o' || i, 'n' || i FROM generate_series(1, 60000) i;
CREATE TABLE wide (a integer, b integer);
INSERT INTO wide SELECT i, i FROM generate_series(1, 60000) i;
ANALYZE;"#;

const SCRIPT: &str = r#"
ALTER TABLE "li ne" ADD FOREIGN KEY (parent_id) REFERENCES parent (id) ON DELETE CASCADE,
    ADD CHECK (id > 0), ALTER COLUMN parent_id SET NOT NULL;
ALTER TABLE "li ne" ALTER "odd ""c" SET NOT NULL, ALTER note SET NOT NULL, ALTER COLUMN other SET NOT NULL;
ALTER TABLE "li ne" ADD CONSTRAINT "ke""y" FOREIGN KEY (other) REFERENCES parent DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "li ne" ADD COLUMN fresh integer DEFAULT 1 REFERENCES parent, ADD CONSTRAINT u UNIQUE (id, other);
ALTER TABLE wide ALTER b SET NOT NULL, ADD PRIMARY KEY (b);
ALTER TABLE "li ne" ADD CONSTRAINT later CHECK (other < 90) NOT VALID;
ALTER TABLE "li ne" ALTER parent_id DROP NOT NULL, DROP CONSTRAINT "li ne_id_check";
"#;

fn of_script(script: &str) -> Result<TempDir> {
    one_module(&[("pre-a.sql", script)])
}

fn validated(database: &Database, pack: &Path) -> Result<usize> {
    let outcome = Upshift::on(database, ["plan", "--json"])
        .argument(pack)
        .succeed()?;
    let plan: Value = serde_json::from_str(&outcome.stdout)?;
    let tasks = plan["tasks"].as_array().context("a plan has tasks")?;
    let labels = tasks.iter().filter_map(|task| task["label"].as_str());
    let checks = |label: &&str| label.starts_with("validate ") || label.starts_with("check that ");
    Ok(labels.filter(checks).count())
}

#[tokio::test]
async fn constraints_are_validated_on_their_own() -> Result<()> {
    let (start, pack) = (Database::create()?, of_script(SCRIPT)?);
    start.psql(TABLES)?;
    let (database, naive) = (start.copy()?, start.copy()?);
    oracle::upgrade(&naive, pack.path()).await?;
    // Two of the first statement and its NOT NULL, two NOT NULL of the second, one key.
    ensure!(validated(&start, pack.path())? == 6);
    Upshift::on(&database, ["run", "--workers", "4"])
        .argument(pack.path())
        .succeed()?;
    compare::expect_same(&database, &naive, "prepared is not psql").await?;
    Upshift::on(&database, ["rollback"]).succeed()?;
    compare::expect_same(&database, &start, "rolled back is not untouched").await
}

#[tokio::test]
async fn bad_data_stops_the_run() -> Result<()> {
    let cases = [
        (
            "UPDATE \"li ne\" SET other = NULL WHERE id = 777",
            "ALTER TABLE \"li ne\" ALTER other SET NOT NULL;",
        ),
        (
            "UPDATE \"li ne\" SET other = 1000 WHERE id = 777",
            "ALTER TABLE \"li ne\" ADD FOREIGN KEY (other) REFERENCES parent;",
        ),
        (
            "UPDATE \"li ne\" SET other = -1 WHERE id = 777",
            "ALTER TABLE \"li ne\" ADD CHECK (other > 0);",
        ),
    ];
    for (spoil, script) in cases {
        let (database, pack) = (Database::create()?, of_script(script)?);
        database.psql(TABLES)?;
        database.psql(spoil)?;
        let start = database.copy()?;
        let run = Upshift::on(&database, ["run"]).argument(pack.path());
        let failed = run.run()?.expect_code(1)?;
        ensure!(failed.stderr.contains("pre-a.sql:1:1"), "{}", failed.stderr);
        Upshift::on(&database, ["rollback"]).succeed()?;
        compare::expect_same(&database, &start, "rolled back is not untouched").await?;
    }
    Ok(())
}
