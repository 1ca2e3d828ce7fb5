//! `doctor --measure`: what work costs on the server is measured, kept, and chosen by; nothing else is left.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use upshift_tests::{
    compare::Snapshot,
    harness::{Database, Upshift, one_module},
};

const TABLES: &str = "
    CREATE TABLE line (id integer PRIMARY KEY, a integer, note text);
    INSERT INTO line SELECT i, i % 7, 'n' || i FROM generate_series(1, 300000) i;
    CREATE INDEX ON line (a); CREATE INDEX ON line (note);
    VACUUM ANALYZE line;";

const SCRIPT: &str = "UPDATE line SET note = upper(note); UPDATE line SET a = a + 1;";

/// Whether the plan builds the table anew.
fn builds_anew(database: &Database, pack: &TempDir) -> Result<bool> {
    let outcome = Upshift::on(database, ["plan", "--json"])
        .argument(pack.path())
        .succeed()?;
    let plan: Value = serde_json::from_str(&outcome.stdout)?;
    let tasks = plan["tasks"].as_array().context("a plan has tasks")?;
    Ok(tasks
        .iter()
        .any(|task| task["operator"]["kind"] == "shadow"))
}

fn costs(database: &Database, arguments: &[&str]) -> Result<String> {
    let outcome = Upshift::on(database, ["doctor", "--json"])
        .arguments(arguments)
        .succeed()?;
    let findings: Value = serde_json::from_str(&outcome.stdout)?;
    let findings = findings.as_array().context("findings")?;
    let costs = findings.iter().find(|f| f["check"] == "what work costs");
    let costs = costs.context("doctor says what work costs")?;
    Ok(costs["found"].as_str().context("text")?.to_owned())
}

#[tokio::test]
async fn what_was_measured_is_kept_and_chosen_by() -> Result<()> {
    let (database, pack) = (Database::create()?, one_module(&[("pre-a.sql", SCRIPT)])?);
    for statement in TABLES.split_inclusive(';') {
        database.psql(statement)?;
    }
    let before = Snapshot::take(&database).await?;
    ensure!(costs(&database, &[])?.starts_with("figures of an ordinary server"));
    ensure!(builds_anew(&database, &pack)?);
    for _ in 0..2 {
        ensure!(costs(&database, &["--measure"])?.starts_with("measured on "));
    }
    let rates = "SELECT count(*), bool_and(least(copied, indexed, validated, in_place, entry) > 0),
                        bool_and(greatest(copied, indexed, validated, in_place, entry) < 0.1)
                   FROM upshift.rates";
    ensure!(
        database.psql(rates)?.trim() == "1|t|t",
        "one row of figures"
    );
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname = 'upshift_measure'";
    ensure!(database.psql(left)?.trim() == "0", "nothing else is left");
    Snapshot::take(&database)
        .await?
        .expect_same(&before, "doctor changed something")?;
    // A server on which copying is slow, and one on which changing rows is.
    database.psql("UPDATE upshift.rates SET copied = 1, in_place = 1e-6, entry = 1e-6")?;
    ensure!(!builds_anew(&database, &pack)?);
    database.psql("UPDATE upshift.rates SET copied = 1e-6, in_place = 1")?;
    ensure!(builds_anew(&database, &pack)?);
    Ok(())
}
