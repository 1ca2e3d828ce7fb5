//! Many databases of one application on one server, made from templates, under names that a test gives:
//! the tenants of a hoster.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, ensure};
use tempfile::TempDir;
use upshift_shared::{
    clock::Stopwatch,
    pg::ident::{ident, literal},
};

use crate::{
    compare::Snapshot,
    harness::{Database, Server, Upshift, repository},
};

/// How long [`Tenants::asked_since`] waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// The databases, dropped with this.
pub struct Tenants {
    server: &'static Server,
    names: Vec<String>,
    folder: TempDir,
}

impl Tenants {
    /// None yet. Their server is entry `main` of the configuration; entry `gone` is one that does not
    /// answer.
    ///
    /// # Errors
    /// When the file system says no.
    pub fn on(server: &'static Server) -> Result<Self> {
        let folder = TempDir::new()?;
        let owner = Database::OWNER;
        let url = server.url(owner, "postgres");
        // Nobody listens on port 1.
        let config = format!(
            "[databases.main]\nurl = \"{url}\"\nlabels = {{ region = \"eu\" }}\n\n\
             [databases.gone]\nhost = \"127.0.0.1\"\nport = 1\nuser = \"{owner}\"\n\
             dbname = \"postgres\"\nsslmode = \"disable\"\n"
        );
        fs::write(folder.path().join("upshift.toml"), config)?;
        Ok(Self {
            server,
            names: Vec::new(),
            folder,
        })
    }

    /// A copy of a template, under this name.
    ///
    /// # Errors
    /// Where the server says no.
    pub fn add(&mut self, name: &str, template: &Database) -> Result<()> {
        let sql = format!(
            "CREATE DATABASE {} TEMPLATE {} OWNER {}",
            ident(name),
            template.name(),
            template.owner()
        );
        self.names.push(name.to_owned());
        self.server.psql("postgres", "postgres", &sql)?;
        Ok(())
    }

    /// How one is now.
    ///
    /// # Errors
    /// Where it cannot be copied or read.
    pub async fn snapshot(&self, name: &str) -> Result<Snapshot> {
        Snapshot::take(&Database::copy_of(self.server, name)?).await
    }

    /// Writes a file into the folder in which commands run, and gives its path.
    ///
    /// # Errors
    /// When the file system says no.
    pub fn write(&self, file: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(file);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Writes `fleet.toml` for the small ERP's pack.
    ///
    /// # Errors
    /// When the file system says no.
    pub fn order(&self, text: &str) -> Result<PathBuf> {
        let pack = repository().join("tests/packs/small_erp");
        self.write(
            "fleet.toml",
            &format!("pack = \"{}\"\n{text}", pack.display()),
        )
    }

    /// The folder in which commands run.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `upshift fleet VERB fleet.toml`, in the folder.
    #[must_use]
    pub fn fleet(&self, verb: &str) -> Upshift {
        Upshift::new(["fleet", verb, "fleet.toml"]).folder(self.folder.path())
    }

    /// Sessions that a database has had, and transactions in them.
    ///
    /// # Errors
    /// With what `psql` says.
    pub fn asked(&self, name: &str) -> Result<(u64, u64)> {
        let sql = format!(
            "SELECT sessions || ' ' || xact_commit + xact_rollback FROM pg_stat_database \
             WHERE datname = {}",
            literal(name)
        );
        let answer = self.server.psql("postgres", "postgres", &sql)?;
        let mut numbers = answer.split_whitespace().map(str::parse);
        let mut number = || numbers.next().unwrap_or(Ok(0));
        Ok((number()?, number()?))
    }

    /// The same, once there were more sessions than these: a session is counted when it has ended.
    ///
    /// # Errors
    /// With what `psql` says, and where there is none for some time.
    pub fn asked_since(&self, name: &str, sessions: u64) -> Result<(u64, u64)> {
        let watch = Stopwatch::start();
        loop {
            let asked = self.asked(name)?;
            if asked.0 > sessions {
                return Ok(asked);
            }
            ensure!(watch.elapsed() < PATIENCE, "nobody has asked {name:?}");
        }
    }
}

impl Drop for Tenants {
    fn drop(&mut self) {
        for name in &self.names {
            let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", ident(name));
            if let Err(error) = self.server.psql("postgres", "postgres", &sql) {
                eprintln!("could not drop {name:?}: {error}");
            }
        }
    }
}
