//! Three small databases that make a group, and their packs: two have the same one, the third has
//! another second module.

use std::fs;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::{
    compare::Snapshot,
    harness::{Database, Server, Upshift, pack},
};

const TABLES: &str = "
    CREATE TABLE part (id integer PRIMARY KEY, name text NOT NULL, price integer NOT NULL);
    INSERT INTO part SELECT i, 'part ' || i, i FROM generate_series(1, 300) i;
    CREATE TABLE line (id integer PRIMARY KEY, part_id integer REFERENCES part, quantity integer);
    INSERT INTO line SELECT i, i % 300 + 1, i % 7 FROM generate_series(1, 500) i;
    CREATE TABLE note (id serial PRIMARY KEY, text text);
    INSERT INTO note (text) SELECT 'note ' || i FROM generate_series(1, 50) i;";

/// The script of the first module.
pub const BASE: &str = "
    ALTER TABLE part ADD COLUMN total integer;
    UPDATE part SET total = price * 2, name = upper(name);
    DROP TABLE note;";

/// What the group calls them.
pub const NAMES: [&str; 3] = ["a", "b", "c"];

/// The packs of the three: the third one has another second module.
#[derive(Debug)]
pub struct Packs {
    folder: TempDir,
}

impl Packs {
    /// Writes them to a folder that goes with the value.
    ///
    /// # Errors
    /// When the file system says no.
    pub fn write() -> Result<Self> {
        let base = "name = \"base\"\nversion = \"2.0\"\n";
        let second =
            |name: &str| format!("name = \"{name}\"\nversion = \"2.0\"\ndepends = [\"base\"]\n");
        let manifest = |second: &str| {
            format!(
                "name = \"group\"\n[installed]\nquery = \"SELECT m, '1.0' FROM unnest(ARRAY['base', '{second}']) m\"\n"
            )
        };
        let folder = pack(&[
            ("ab/pack.toml", &manifest("sale")),
            ("ab/base/module.toml", base),
            ("ab/base/migrations/2.0/pre-a.sql", BASE),
            ("ab/sale/module.toml", &second("sale")),
            (
                "ab/sale/migrations/2.0/pre-a.sql",
                "ALTER TABLE line ADD COLUMN amount integer;
                 UPDATE line SET amount = quantity * p.total FROM part p WHERE p.id = line.part_id;",
            ),
            ("c/pack.toml", &manifest("stock")),
            ("c/base/module.toml", base),
            ("c/base/migrations/2.0/pre-a.sql", BASE),
            ("c/stock/module.toml", &second("stock")),
            (
                "c/stock/migrations/2.0/pre-a.sql",
                "UPDATE line SET quantity = 100 / (quantity + 1);
                 CREATE INDEX line_quantity ON line (quantity);",
            ),
        ])?;
        Ok(Self { folder })
    }

    /// The pack's folder of a member, by its number.
    #[must_use]
    pub fn of(&self, member: usize) -> std::path::PathBuf {
        self.folder
            .path()
            .join(if member == 2 { "c" } else { "ab" })
    }
}

/// Three databases and the file that makes a group of them.
#[derive(Debug)]
pub struct Group {
    /// Their packs.
    pub packs: Packs,
    /// The databases; the second one is the home.
    pub databases: Vec<Database>,
    /// The path of the group's file.
    pub file: String,
}

impl Group {
    /// Of these.
    ///
    /// # Errors
    /// When the file system says no.
    pub fn of(databases: Vec<Database>) -> Result<Self> {
        let packs = Packs::write()?;
        let mut text = "home = \"b\"\n".to_owned();
        for (name, database) in NAMES.iter().zip(&databases) {
            let url = database.url();
            text.push_str(&format!(
                "[[member]]\nname = \"{name}\"\ndatabase = \"{url}\"\n"
            ));
        }
        text.push_str("pack = \"c\"\n");
        let file = packs.folder.path().join("group.toml");
        fs::write(&file, text)?;
        Ok(Self {
            packs,
            databases,
            file: file.display().to_string(),
        })
    }

    /// Of fresh databases.
    ///
    /// # Errors
    /// Where the server says no.
    pub async fn new() -> Result<Self> {
        let mut databases = Vec::new();
        for _ in NAMES {
            let database = Database::of_template("groups", |d| d.psql(TABLES).map(drop)).await?;
            databases.push(database);
        }
        Self::of(databases)
    }

    /// The same on a server of the test's own.
    ///
    /// # Errors
    /// Where the server says no.
    pub fn on_server(server: &'static Server) -> Result<Self> {
        let mut databases = Vec::new();
        for _ in NAMES {
            let database = Database::create_on(server)?;
            database.psql(TABLES)?;
            databases.push(database);
        }
        Self::of(databases)
    }

    /// `upshift VERB --group FILE`
    #[must_use]
    pub fn say(&self, verb: &str) -> Upshift {
        Upshift::new([verb, "--group", &self.file])
    }

    /// `upshift run PACK --group FILE`
    #[must_use]
    pub fn run(&self) -> Upshift {
        let pack = self.packs.of(0);
        self.say("run")
            .argument(pack)
            .arguments(&["--workers", "3", "--unit-rows", "100"])
    }

    /// In all databases the same query.
    ///
    /// # Errors
    /// With what `psql` says.
    pub fn ask(&self, sql: &str) -> Result<Vec<String>> {
        let answers = self.databases.iter().map(|d| d.psql(sql));
        answers.map(|a| a.map(|a| a.trim().to_owned())).collect()
    }

    /// The state in which all of them are.
    ///
    /// # Errors
    /// Where they are not in the same one.
    pub fn state(&self) -> Result<String> {
        let states =
            self.ask("SELECT state FROM upshift.run ORDER BY created_at DESC, run DESC LIMIT 1")?;
        ensure!(states.iter().all(|s| *s == states[0]), "torn: {states:?}");
        Ok(states[0].clone())
    }

    /// Recovery alone: a command that ends what is left and then refuses to do anything.
    ///
    /// # Errors
    /// Where something is left all the same.
    pub fn recover(&self) -> Result<()> {
        let refused = self.say("rollback").arguments(&["--to", "nowhere"]);
        refused.run()?.expect_code(3)?;
        let left = self.ask(
            "SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database() AND gid LIKE 'upshift%'",
        )?;
        ensure!(left.iter().all(|n| n == "0"), "left: {left:?}");
        Ok(())
    }

    /// What all of them are.
    ///
    /// # Errors
    /// Where the server says no.
    pub async fn snapshots(&self) -> Result<Vec<Snapshot>> {
        let mut all = Vec::new();
        for database in &self.databases {
            all.push(Snapshot::take(database).await?);
        }
        Ok(all)
    }

    /// Are they what is expected?
    ///
    /// # Errors
    /// With what differs.
    pub async fn expect_same(&self, expected: &[Snapshot], what: &str) -> Result<()> {
        for ((database, expected), name) in self.databases.iter().zip(expected).zip(NAMES) {
            let found = Snapshot::take(database).await?;
            expected.expect_same(&found, &format!("{what}, database {name}"))?;
        }
        Ok(())
    }
}

/// What each database is when its pack has gone through it alone.
///
/// # Errors
/// Where that fails.
pub async fn alone() -> Result<Vec<Snapshot>> {
    let packs = Packs::write()?;
    let mut all = Vec::new();
    for (member, template) in ["groups_end_ab", "groups_end_ab", "groups_end_c"]
        .iter()
        .enumerate()
    {
        let database = Database::of_template(template, |database| {
            database.psql(TABLES)?;
            let run = Upshift::on(database, ["run", "--commit"]);
            run.argument(packs.of(member)).succeed().map(drop)
        });
        all.push(Snapshot::take(&database.await?).await?);
    }
    Ok(all)
}

/// What each database is after these statements, and no run.
///
/// # Errors
/// With what `psql` says.
pub async fn by_hand(sql: &str) -> Result<Vec<Snapshot>> {
    let database = Database::of_template("groups", |d| d.psql(TABLES).map(drop)).await?;
    database.psql(sql)?;
    Ok(vec![Snapshot::take(&database).await?; NAMES.len()])
}
