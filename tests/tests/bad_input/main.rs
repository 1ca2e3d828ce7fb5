//! Bad packs, directives, configurations and databases through the real command: each ends with a
//! message that says what to do, with its exit code, and leaves the database as it was.

mod configuration;
mod database;
mod pack;

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use upshift_tests::{
    compare::Snapshot,
    harness::{Database, Outcome, Upshift},
};

/// What the tables below hold: a small application with two modules.
const APPLICATION: &str = "
CREATE TABLE installed (name text PRIMARY KEY, version text NOT NULL);
INSERT INTO installed VALUES ('base', '1.0'), ('sale', '1.0');
CREATE TABLE partner (id serial PRIMARY KEY, name text, code text, note text);
INSERT INTO partner (name, code) SELECT 'name ' || i, 'c' || i % 7 FROM generate_series(1, 100) AS i;
CREATE TABLE orders (id serial PRIMARY KEY, partner_id integer REFERENCES partner, total numeric);
INSERT INTO orders (partner_id, total) SELECT i, i * 1.5 FROM generate_series(1, 100) AS i;";

/// A good pack for it: what the cases spoil.
const GOOD_PACK: &[(&str, &[u8])] = &[
    (
        "pack.toml",
        b"name = \"app\"\n[installed]\ntable = \"installed\"\n",
    ),
    (
        "base/module.toml",
        b"name = \"base\"\nversion = \"2.0\"\ndepends = []\n",
    ),
    (
        "sale/module.toml",
        b"name = \"sale\"\nversion = \"2.0\"\ndepends = [\"base\"]\n",
    ),
    (
        "base/migrations/2.0/pre-a.sql",
        b"ALTER TABLE partner ADD COLUMN a integer;\n",
    ),
    (
        "sale/migrations/2.0/pre-b.sql",
        b"UPDATE orders SET total = total + 1;\n",
    ),
];

/// One file of the pack that is other than in the good one.
type File = (&'static str, &'static [u8]);

/// A pack folder: the good one with these files instead (or besides).
fn pack_with(files: &[File]) -> Result<TempDir> {
    let folder = TempDir::new()?;
    for (path, content) in GOOD_PACK.iter().chain(files) {
        write(&folder.path().join(path), content)?;
    }
    Ok(folder)
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(fs::write(path, content)?)
}

/// The application's database, as it was before a case.
struct World {
    database: Database,
    before: Snapshot,
}

impl World {
    async fn new(more: &str) -> Result<Self> {
        let database = Database::create()?;
        database.psql(APPLICATION)?;
        if !more.is_empty() {
            database.psql(more)?;
        }
        let before = Snapshot::take(&database).await?;
        Ok(Self { database, before })
    }

    /// Asserts message, exit code, and that nothing was touched (not even by a ledger, where the
    /// code says that the request was wrong).
    async fn expect(&self, name: &str, outcome: Outcome, code: i32, said: &[&str]) -> Result<()> {
        expect_said(name, &outcome, code, said)?;
        let after = Snapshot::take(&self.database).await?;
        self.before.expect_same(&after, name)?;
        let ledger = self
            .database
            .psql("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'upshift%'")?;
        if code == 2 && ledger.trim() != "0" {
            bail!("{name}: a request that was wrong left a ledger behind");
        }
        Ok(())
    }

    async fn expect_bad_pack(&self, name: &str, files: &[File], said: &[&str]) -> Result<()> {
        let pack = pack_with(files)?;
        let outcome = run(&self.database, pack.path())?;
        self.expect(name, outcome, 2, said).await
    }
}

fn run(database: &Database, pack: &Path) -> Result<Outcome> {
    Upshift::on(database, ["run"]).argument(pack).run()
}

fn expect_said(name: &str, outcome: &Outcome, code: i32, said: &[&str]) -> Result<()> {
    let outcome = outcome
        .clone()
        .expect_code(code)
        .with_context(|| name.to_owned())?;
    for fragment in said {
        if !outcome.stderr.contains(fragment) {
            bail!("{name}: \"{fragment}\" is not in\n{}", outcome.stderr);
        }
    }
    if outcome.stderr.contains("panicked") {
        bail!("{name}: {}", outcome.stderr);
    }
    Ok(())
}

/// Runs all cases and reports all failures, not only the first.
fn report(failures: &[String], cases: usize) -> Result<()> {
    if !failures.is_empty() {
        bail!(
            "{} of {cases} cases:\n{}",
            failures.len(),
            failures.join("\n\n")
        );
    }
    println!("{cases} cases");
    Ok(())
}
