//! Where a database is and how to reach it: `upshift.toml`, libpq's connection strings and URLs, PG*
//! variables, service and password files; and the defaults of a run.
//!
//! The order of precedence is libpq's: what the connection string says, then the service file, then
//! the environment, then defaults. Passwords are kept in [`Secret`] and appear in no message.

mod cluster;
mod connection;
mod conninfo;
mod environment;
mod file;
mod keyword;
mod passfile;
mod secret;
mod service;
mod snapshot;
mod telemetry;
#[cfg(test)]
mod tests;
mod value;

pub use cluster::{ClusterSettings, Role, ServerSettings, TlsFiles, Token};
pub use connection::{Connection, Secret};
pub use environment::Environment;
pub(crate) use file::Source;
pub use file::{Config, DatabasePlace, RunDefaults};
pub use secret::SecretSource;
pub use snapshot::SnapshotSettings;
pub use telemetry::TelemetrySettings;
pub use value::{parse_duration, parse_size};

use crate::{Error, Result, suggest::did_you_mean};

/// What `--database` led to.
#[derive(Debug, Clone)]
pub struct ResolvedDatabase {
    /// How the database is called in the configuration, or `default` for one that is described on
    /// the command line or by the environment.
    pub name: String,
    /// How to reach it.
    pub connection: Connection,
    /// Whether the connection string itself held a password: it must not be repeated to anybody.
    pub password_given: bool,
    /// What the user should know: a password on the command line, a password file that was ignored.
    pub warnings: Vec<String>,
}

/// The database that every server has, unless somebody has dropped it.
const MAINTENANCE: &str = "postgres";

impl Config {
    /// Resolves the value of `--database`: a libpq URL, a keyword/value string, or the name of an
    /// entry of `upshift.toml`, or `ENTRY/DATABASE` for another database that its settings reach. Without one, PGSERVICE or PGDATABASE must say which database.
    ///
    /// # Errors
    /// [`Error::Config`] when it cannot be understood or names nothing.
    pub fn database(
        &self,
        argument: Option<&str>,
        environment: &Environment,
    ) -> Result<ResolvedDatabase> {
        let mut warnings = Vec::new();
        let (name, settings, secret) = match argument {
            None => ("default".to_owned(), keyword::Settings::default(), None),
            Some(text) if conninfo::is_conninfo(text) => {
                let settings = conninfo::parse(text)?;
                if settings.contains_key("password") {
                    warnings.push(
                        "the process list shows the password on the command line: put it in \
                         PGPASSWORD, a password file or upshift.toml (password_env, \
                         password_file, password_command) instead"
                            .to_owned(),
                    );
                }
                ("default".to_owned(), settings, None)
            }
            Some(name) => {
                let (of, database) = self.parted(name);
                let entry = self.entry(of)?;
                let secret = entry.password(of, environment)?;
                let mut settings = entry.settings.clone();
                if let Some(database) = database {
                    settings.insert("dbname", database.to_owned());
                }
                (name.to_owned(), settings, secret)
            }
        };
        let password_given = settings.contains_key("password");
        let connection = connection::resolve(settings, secret, environment, &mut warnings)?;
        Ok(ResolvedDatabase {
            name,
            password_given,
            connection,
            warnings,
        })
    }

    /// Resolves an entry of that name, or another database of one, and nothing else: names come from other machines.
    ///
    /// # Errors
    /// [`Error::Config`] when there is no such entry, or it cannot be understood.
    pub fn named(&self, name: &str, environment: &Environment) -> Result<ResolvedDatabase> {
        self.entry(self.parted(name).0)?;
        if conninfo::is_conninfo(name) {
            return Err(Error::Config(format!(
                "\"{name}\" is no name of a database"
            )));
        }
        self.database(Some(name), environment)
    }

    /// The same of an entry that may be a server and nothing else: where neither it nor PGDATABASE names a
    /// database, sessions that ask the server have `postgres`. Whether one is named.
    ///
    /// # Errors
    /// As [`Self::named`].
    pub fn server(
        &self,
        name: &str,
        environment: &Environment,
    ) -> Result<(ResolvedDatabase, bool)> {
        let (of, database) = self.parted(name);
        let entry = self.entry(of)?;
        let names_one = database.is_some()
            || entry.settings.contains_key("dbname")
            || environment.variable("PGDATABASE").is_some();
        let there = format!("{name}/{MAINTENANCE}");
        // A name with a slash would be taken apart, or be another entry's.
        let resolved = match names_one || of.contains('/') || self.has_entry(&there) {
            true => self.named(name, environment),
            false => self.named(&there, environment),
        };
        Ok((resolved?, names_one))
    }

    /// What a cluster heeds of the entry of that name, and the entry is there.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<&DatabasePlace> {
        let (of, _) = self.parted(name);
        self.databases.get(of).map(|entry| &entry.place)
    }

    /// Whether there is an entry `[databases.NAME]` of just that name.
    #[must_use]
    pub fn has_entry(&self, name: &str) -> bool {
        self.databases.contains_key(name)
    }

    /// The names of all entries `[databases.NAME]`, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.databases.keys().map(String::as_str)
    }

    /// `ENTRY/DATABASE` in its parts; an entry whose own name has a slash comes first.
    fn parted<'a>(&self, name: &'a str) -> (&'a str, Option<&'a str>) {
        match name.split_once('/') {
            Some((entry, database)) if !self.databases.contains_key(name) => {
                (entry, Some(database))
            }
            _ => (name, None),
        }
    }

    fn entry(&self, name: &str) -> Result<&file::DatabaseEntry> {
        self.databases.get(name).ok_or_else(|| {
            let place = match &self.path {
                Some(path) => format!("{} has no [databases.{name}]", path.display()),
                None => format!("\"{name}\" would be an entry of upshift.toml, and there is none"),
            };
            let near = did_you_mean(name, self.databases.keys().map(String::as_str));
            Error::Config(format!(
                "{place}{near}; for a database of that name write --database \"dbname={name}\""
            ))
        })
    }
}
