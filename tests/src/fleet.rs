//! A fleet of small databases, on one server or several, with its files.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use upshift_shared::clock::Stopwatch;

use crate::{
    compare::Snapshot,
    harness::{Database, Running, Server, Upshift, pack},
    oracle, small_erp,
};

/// How long [`Fleet::await_status`] waits.
const PATIENCE: Duration = Duration::from_secs(120);

/// A tiny application: a table, and a pack that upgrades it in no time, or at the pace that table `pace` of a
/// database says.
#[derive(Debug)]
pub struct Tiny {
    /// A database that is not upgraded yet.
    pub template: Database,
    pack: TempDir,
}

/// What a tiny database has.
const TINY: &str = "
    CREATE TABLE module (name text PRIMARY KEY, version text NOT NULL);
    INSERT INTO module VALUES ('m', '1.0');
    CREATE TABLE t (id integer PRIMARY KEY, v integer CONSTRAINT small CHECK (v < 1000), note text);
    INSERT INTO t SELECT i, i, 'note ' || i FROM generate_series(1, 200) i;
    CREATE TABLE pace (seconds double precision);
    INSERT INTO pace VALUES (0);
    ANALYZE";

/// A step that takes as long as the database says.
const REST: &str = "-- upshift: undo = \"SELECT 1\"\n\
                    DO $$ BEGIN PERFORM pg_sleep((SELECT seconds FROM pace)); END $$;\n";

impl Tiny {
    /// SQL that makes the upgrade of a database fail, …
    pub const BREAK: &str = "UPDATE t SET v = 999 WHERE id = 7";
    /// … and that mends it.
    pub const MEND: &str = "UPDATE t SET v = 7 WHERE id = 7";
    /// What the reason says then.
    pub const WHY: &str = "violates check constraint \"small\"";

    /// On the server of all tests.
    ///
    /// # Errors
    /// Where the server or the file system says no.
    pub fn new() -> Result<Self> {
        Self::on(Server::shared())
    }

    /// On this server.
    ///
    /// # Errors
    /// Where the server or the file system says no.
    pub fn on(server: &'static Server) -> Result<Self> {
        let template = Database::create_on(server)?;
        template.psql(TINY)?;
        let pack = pack(&[
            (
                "pack.toml",
                "name = \"tiny\"\n[installed]\nquery = \"SELECT name, version FROM module\"\n",
            ),
            ("m/module.toml", "name = \"m\"\nversion = \"2.0\"\n"),
            (
                "m/migrations/2.0/pre-a.sql",
                &format!("ALTER TABLE t ADD COLUMN w text;\n{REST}UPDATE t SET v = v + 1;\n"),
            ),
            (
                "m/migrations/2.0/post-b.sql",
                &format!(
                    "{REST}UPDATE t SET w = upper(note);\n\
                     UPDATE module SET version = '2.0' WHERE name = 'm';\n"
                ),
            ),
        ])?;
        Ok(Self { template, pack })
    }

    /// Its pack.
    #[must_use]
    pub fn pack(&self) -> &Path {
        self.pack.path()
    }

    /// So many of them, and the rest of `fleet.toml`.
    ///
    /// # Errors
    /// Where the server says no.
    pub fn fleet(&self, count: usize, order: &str) -> Result<Fleet> {
        Fleet::of(&[&self.template], count, &self.order(order))
    }

    /// An order for its pack.
    #[must_use]
    pub fn order(&self, order: &str) -> String {
        format!("pack = \"{}\"\n{order}", self.pack.path().display())
    }

    /// What `psql` makes of one by the same files.
    ///
    /// # Errors
    /// With what `psql` says.
    pub async fn by_psql(&self) -> Result<Snapshot> {
        let copy = self.template.copy()?;
        oracle::upgrade(&copy, self.pack.path()).await?;
        Snapshot::take(&copy).await
    }
}

/// The fleet, and a folder with `upshift.toml` and `fleet.toml`; all of it goes with the value.
#[derive(Debug)]
pub struct Fleet {
    folder: TempDir,
    /// In the order of their servers.
    pub databases: Vec<Database>,
}

/// A member that cannot be upgraded: what is wrong, and how it is mended.
#[derive(Debug, Clone, Copy)]
pub struct Broken {
    /// What breaks it, as superuser.
    pub sql: &'static str,
    /// What the reason says.
    pub says: &'static str,
}

/// Three ways in which a database is broken: its data, its schema, its rights.
pub const BROKEN: [Broken; 3] = [
    Broken {
        sql: "UPDATE line SET quantity = -5 WHERE move_id = (SELECT min(id) FROM move WHERE state = 'posted')",
        says: "line_amount_check",
    },
    Broken {
        sql: "ALTER TABLE partner DROP COLUMN email",
        says: "email",
    },
    Broken {
        sql: "ALTER TABLE move OWNER TO postgres; GRANT ALL ON move, move_id_seq TO PUBLIC",
        says: "owner",
    },
];

impl Fleet {
    /// Copies of these databases, so many in all, shared out equally; `order` is the rest of `fleet.toml`,
    /// its head first.
    ///
    /// # Errors
    /// Where a server says no.
    pub fn of(templates: &[&Database], count: usize, order: &str) -> Result<Self> {
        let mut databases = Vec::with_capacity(count);
        for place in 0..count {
            databases.push(templates[place * templates.len() / count].copy()?);
        }
        let fleet = Self {
            folder: TempDir::new()?,
            databases,
        };
        let mut config = String::new();
        for (number, template) in templates.iter().enumerate() {
            writeln!(
                config,
                "[databases.s{number}]\nurl = \"{}\"",
                template.url()
            )?;
        }
        fs::write(fleet.config(), config)?;
        fleet.order("fleet", order, &fleet.names(templates))?;
        Ok(fleet)
    }

    /// The name of a member of a fleet on one server.
    #[must_use]
    pub fn member(&self, place: usize) -> String {
        format!("s0/{}", self.databases[place].name())
    }

    /// The folder of its files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder in which it keeps its place.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.path().join(".upshift/fleets/fleet")
    }

    /// The names of the members.
    fn names(&self, templates: &[&Database]) -> Vec<String> {
        let members = self.databases.iter().map(|database| {
            let of = |template: &&Database| std::ptr::eq(template.server(), database.server());
            let number = templates.iter().position(of).unwrap_or_default();
            format!("s{number}/{}", database.name())
        });
        members.collect()
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("upshift.toml")
    }

    /// One more entry of `upshift.toml`.
    ///
    /// # Errors
    /// When the file system says no.
    pub fn entry(&self, name: &str, text: &str) -> Result<()> {
        let config = fs::read_to_string(self.config())?;
        let config = format!("{config}\n[databases.{name}]\n{text}\n");
        Ok(fs::write(self.config(), config)?)
    }

    /// The file of that name.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.toml"))
    }

    /// Writes a file with these members.
    ///
    /// # Errors
    /// When the file system says no.
    pub fn order(&self, name: &str, order: &str, members: &[String]) -> Result<()> {
        let pack = small_erp::pack();
        let listed = self.folder.path().join("members.txt");
        fs::write(&listed, members.join("\n"))?;
        // What is not in a table of its own comes first.
        let pack = match order.contains("pack = ") {
            true => String::new(),
            false => format!("pack = \"{}\"\n", pack.display()),
        };
        let text = format!("{pack}{order}\n[[members]]\nfile = \"members.txt\"\n");
        Ok(fs::write(self.file(name), text)?)
    }

    /// `upshift fleet VERB` on the file of that name.
    #[must_use]
    pub fn say_of(&self, name: &str, verb: &str) -> Upshift {
        Upshift::new(["--config"])
            .argument(self.config())
            .arguments(&["fleet", verb])
            .argument(self.file(name))
            .folder(self.folder.path())
    }

    /// The same on `fleet.toml`.
    #[must_use]
    pub fn say(&self, verb: &str) -> Upshift {
        self.say_of("fleet", verb)
    }

    /// `upshift fleet run`.
    #[must_use]
    pub fn run(&self, workers: u32) -> Upshift {
        self.say("run")
            .arguments(&["--json", "--workers", &workers.to_string()])
    }

    /// How it stands.
    ///
    /// # Errors
    /// Where it cannot be asked.
    pub fn status(&self) -> Result<Value> {
        let said = self.say("status").argument("--json").succeed()?;
        Ok(serde_json::from_str(&said.stdout)?)
    }

    /// What became of every database.
    ///
    /// # Errors
    /// Where it cannot be asked.
    pub fn report(&self) -> Result<Value> {
        let said = self.say("report").argument("--json").succeed()?;
        Ok(serde_json::from_str(&said.stdout)?)
    }

    /// So many members stand how, by a status that no process conducts: nothing else.
    ///
    /// # Errors
    /// With how they stand.
    pub fn expect_states(&self, expected: &[(&str, usize)]) -> Result<Value> {
        let status = self.status()?;
        let states = status["states"].as_object().context("it has states")?;
        let same = states.len() == expected.len()
            && expected
                .iter()
                .all(|(state, count)| status["states"][*state] == *count);
        ensure!(same, "{expected:?} is expected of {status:#}");
        Ok(status)
    }

    /// That database is this, and so on.
    ///
    /// # Errors
    /// With what differs.
    pub async fn expect_each(&self, places: &[usize], expected: &Snapshot) -> Result<()> {
        for place in places {
            let now = Snapshot::take(&self.databases[*place]).await?;
            let what = format!("database {place}");
            expected.expect_same(&now, &what)?;
        }
        Ok(())
    }

    /// Waits until it stands so.
    ///
    /// # Errors
    /// Where it does not come to that.
    pub fn await_status(&self, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let watch = Stopwatch::start();
        loop {
            let status = self.status()?;
            if wanted(&status) {
                return Ok(status);
            }
            ensure!(watch.elapsed() < PATIENCE, "still: {status}");
        }
    }

    /// All databases as they are.
    ///
    /// # Errors
    /// Where one cannot be read.
    pub async fn snapshots(&self) -> Result<Vec<Snapshot>> {
        let mut snapshots = Vec::with_capacity(self.databases.len());
        for database in &self.databases {
            snapshots.push(Snapshot::take(database).await?);
        }
        Ok(snapshots)
    }

    /// All are as they were.
    ///
    /// # Errors
    /// With what differs.
    pub async fn expect_same(&self, before: &[Snapshot], what: &str) -> Result<()> {
        for (database, before) in self.databases.iter().zip(before) {
            let now = Snapshot::take(database).await?;
            before
                .expect_same(&now, what)
                .with_context(|| format!("database {}", database.name()))?;
        }
        Ok(())
    }

    /// Breaks three databases: the first, one in the middle, the last; their places.
    ///
    /// # Errors
    /// Where a server says no.
    pub fn break_three(&self) -> Result<[usize; 3]> {
        let last = self.databases.len() - 1;
        let places = [0, last / 2, last];
        for (place, broken) in places.iter().zip(BROKEN) {
            self.databases[*place].psql_as_superuser(broken.sql)?;
        }
        Ok(places)
    }

    /// Those three, and nobody else, are reported with the reason.
    ///
    /// # Errors
    /// With what is said instead.
    pub fn expect_reported(&self, places: [usize; 3]) -> Result<()> {
        let report = self.say("report").argument("--json").succeed()?;
        let report: Value = serde_json::from_str(&report.stdout)?;
        let members = report["members"].as_array().context("it has members")?;
        for (place, broken) in places.iter().zip(BROKEN) {
            let name = self.databases[*place].name();
            let of = |member: &&Value| {
                let found = member["name"].as_str().unwrap_or_default();
                found.ends_with(&format!("/{name}"))
            };
            let member = members.iter().find(of).context("it is a member")?;
            let reason = member["reason"].as_str().unwrap_or_default();
            ensure!(
                member["state"] == "failed" && reason.contains(broken.says),
                "{}: {member}",
                broken.sql
            );
        }
        let failed = members.iter().filter(|member| member["state"] == "failed");
        ensure!(failed.count() == places.len(), "{}", report["states"]);
        Ok(())
    }
}

/// The member of that place, as a status or report has it: members stand in the order of the fleet, which this
/// does not heed.
///
/// # Errors
/// Where it is not there.
pub fn of_member<'v>(shown: &'v Value, name: &str) -> Result<&'v Value> {
    let members = shown["members"].as_array().context("it has members")?;
    let found = members.iter().find(|member| member["name"] == name);
    found.with_context(|| format!("{name} is not in {shown:#}"))
}

/// Reads the events of a run until so many databases are prepared by it.
///
/// # Errors
/// Where it ends before.
pub fn until_prepared(running: &mut Running, count: usize) -> Result<()> {
    let mut seen = 0;
    let reached = running.read_until(|line| {
        seen += usize::from(line.contains("\"prepared\"") && line.contains("\"done\""));
        seen >= count
    })?;
    ensure!(reached, "it ended with {seen} prepared");
    Ok(())
}
