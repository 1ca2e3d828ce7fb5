//! `upshift.toml`. Whatever it holds that is not known is an error with its place: a misspelt key
//! that is silently ignored is a default that nobody chose.

use std::{
    collections::BTreeMap, fs, io, ops::Range, os::unix::fs::PermissionsExt, path::Path,
    path::PathBuf, time::Duration,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    cluster::{ClusterSettings, ServerSettings},
    connection::Secret,
    conninfo,
    environment::Environment,
    keyword::{self, Settings},
    secret::SecretSource,
    snapshot::SnapshotSettings,
    telemetry::TelemetrySettings,
    value::parse_duration,
};
use crate::{
    Error, Result,
    ledger::options::{OnBadData, Verify},
    pack::{Complaint, Location},
    plan::SnapshotKind,
    suggest::did_you_mean,
    throttle::{self, Threshold, ThrottleLimits},
};

/// What `upshift.toml` says.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The file that it was read from.
    pub(super) path: Option<PathBuf>,
    pub(super) databases: BTreeMap<String, DatabaseEntry>,
    /// `[run]`
    pub run: RunDefaults,
    /// `[throttle]`
    pub throttle: ThrottleLimits,
    /// `[snapshot]`
    pub snapshot: SnapshotSettings,
    /// `[cluster]`
    pub cluster: ClusterSettings,
    /// `[servers."HOST:PORT"]`
    pub servers: BTreeMap<String, ServerSettings>,
    /// `[telemetry]`
    pub telemetry: TelemetrySettings,
}

/// `[run]`: what the options of `upshift run` default to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunDefaults {
    /// Workers in the process.
    pub workers: Option<u32>,
    /// How long a statement waits for a lock.
    pub lock_timeout: Option<Duration>,
    /// How long a statement may take; zero for no limit.
    pub statement_timeout: Option<Duration>,
    /// How often a unit that failed for a passing reason is tried.
    pub max_attempts: Option<u32>,
    /// Rows of the first units of each task, from which the right size is found.
    pub unit_rows: Option<u32>,
    /// How much is verified.
    pub verify: Option<Verify>,
    /// What becomes of rows that a statement cannot work on.
    pub on_bad_data: Option<OnBadData>,
}

/// `[databases.NAME]`
#[derive(Debug, Clone, Default)]
pub(super) struct DatabaseEntry {
    pub(super) settings: Settings,
    password: SecretSource,
    /// What in a cluster heeds of it.
    pub(super) place: DatabasePlace,
}

/// Where a database is, and what runs on it may take: what a cluster heeds of `[databases.NAME]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatabasePlace {
    /// Workers whose labels say otherwise get its units only where there are no others.
    pub labels: BTreeMap<String, String>,
    /// Units of it at once.
    pub max_units: Option<u32>,
}

impl DatabaseEntry {
    /// The password that the entry tells where to find.
    pub(super) fn password(&self, name: &str, environment: &Environment) -> Result<Option<Secret>> {
        let table = format!("[databases.{name}]");
        self.password.read(&table, "password", environment)
    }
}

impl Config {
    /// Reads the file named, else the first of `$UPSHIFT_CONFIG`, `./upshift.toml` and
    /// `~/.config/upshift/upshift.toml` that is there; none is fine.
    ///
    /// # Errors
    /// [`Error::Io`] for a named file that cannot be read, [`Error::Config`] with file, line and
    /// column for what it should not hold.
    pub fn load(named: Option<&Path>, environment: &Environment) -> Result<Self> {
        let named = named
            .map(Path::to_owned)
            .or_else(|| environment.variable("UPSHIFT_CONFIG").map(PathBuf::from));
        let candidates = match &named {
            Some(path) => vec![path.clone()],
            None => [
                Some(PathBuf::from("upshift.toml")),
                environment.home_file(".config/upshift/upshift.toml"),
            ]
            .into_iter()
            .flatten()
            .collect(),
        };
        for path in candidates {
            match fs::read_to_string(&path) {
                Ok(text) => {
                    let mode = fs::metadata(&path).map_or(0, |m| m.permissions().mode());
                    return Self::parse(&text, path, mode & 0o077 == 0);
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound && named.is_none() => {}
                Err(source) => {
                    return Err(Error::Io {
                        context: format!("cannot read {}", path.display()),
                        source,
                    });
                }
            }
        }
        Ok(Self::default())
    }

    /// Parses the text of a file. `private` says whether only its owner may read it: then it may hold
    /// passwords.
    ///
    /// # Errors
    /// [`Error::Config`] with file, line and column.
    pub fn parse(text: &str, path: PathBuf, private: bool) -> Result<Self> {
        let source = Source { text, path: &path };
        let root = DeTable::parse(text)
            .map_err(|e| source.complain(e.span().unwrap_or(0..0), e.message().to_owned()))?;
        let mut config = Self::default();
        for (key, value) in root.get_ref() {
            match key.get_ref().as_ref() {
                "databases" => {
                    for (name, entry) in source.table(value, "[databases.NAME]")? {
                        let entry = source.database(entry, private)?;
                        config.databases.insert(name.get_ref().to_string(), entry);
                    }
                }
                "run" => config.run = source.run(value)?,
                "throttle" => config.throttle = source.throttle(value)?,
                "snapshot" => config.snapshot = source.snapshot(value)?,
                "cluster" => config.cluster = source.cluster(value)?,
                "telemetry" => config.telemetry = source.telemetry(value)?,
                "servers" => {
                    for (name, server) in source.table(value, "[servers.\"HOST:PORT\"]")? {
                        let server = source.server(server)?;
                        config.servers.insert(name.get_ref().to_string(), server);
                    }
                }
                _ => {
                    let known = [
                        "cluster",
                        "databases",
                        "run",
                        "servers",
                        "snapshot",
                        "telemetry",
                        "throttle",
                    ];
                    return Err(source.unknown(key, known));
                }
            }
        }
        config.path = Some(path);
        Ok(config)
    }
}

/// The text, for showing the place of what is wrong. `fleet.toml` is read by it too.
pub(crate) struct Source<'a> {
    pub(crate) text: &'a str,
    pub(crate) path: &'a Path,
}

pub(super) type Key<'a> = Spanned<std::borrow::Cow<'a, str>>;

impl Source<'_> {
    fn database(&self, value: &Spanned<DeValue<'_>>, private: bool) -> Result<DatabaseEntry> {
        let mut entry = DatabaseEntry::default();
        let mut url = None;
        for (key, value) in self.table(value, "[databases.NAME]")? {
            match key.get_ref().as_ref() {
                "url" => {
                    let settings = conninfo::parse(self.string(value)?)
                        .map_err(|e| self.complain(value.span(), e.to_string()))?;
                    if settings.contains_key("password") && !private {
                        return Err(self.no_password_here(value.span()));
                    }
                    url = Some(settings);
                }
                "password_env" => entry.password.env = Some(self.string(value)?.to_owned()),
                "password_file" => entry.password.file = Some(self.string(value)?.into()),
                "password_command" => entry.password.command = Some(self.strings(value)?),
                "labels" => entry.place.labels = self.labels(value)?,
                "max_units" => entry.place.max_units = Some(self.count(value)?),
                "password" if !private => return Err(self.no_password_here(key.span())),
                name => match keyword::find(name) {
                    Some(keyword) => {
                        entry.settings.insert(keyword, self.scalar(value)?);
                    }
                    None => {
                        let known = [
                            "url",
                            "password_env",
                            "password_file",
                            "password_command",
                            "labels",
                            "max_units",
                        ];
                        return Err(self.unknown(key, known.into_iter().chain(keyword::names())));
                    }
                },
            }
        }
        if let Some(url) = url {
            if let Some(twice) = url.keys().find(|name| entry.settings.contains_key(*name)) {
                let message = format!("{twice} is given twice: in url and as a key of its own");
                return Err(self.complain(value.span(), message));
            }
            entry.settings.extend(url);
        }
        Ok(entry)
    }

    fn run(&self, value: &Spanned<DeValue<'_>>) -> Result<RunDefaults> {
        let mut run = RunDefaults::default();
        for (key, value) in self.table(value, "[run]")? {
            match key.get_ref().as_ref() {
                "workers" => run.workers = Some(self.count(value)?),
                "max_attempts" => run.max_attempts = Some(self.count(value)?),
                "unit_rows" => run.unit_rows = Some(self.count(value)?),
                "on_bad_data" => run.on_bad_data = Some(self.on_bad_data(value)?),
                "lock_timeout" => run.lock_timeout = Some(self.duration(value)?),
                "statement_timeout" => run.statement_timeout = Some(self.duration(value)?),
                "verify" => run.verify = Some(self.verify(value)?),
                _ => {
                    let known = [
                        "workers",
                        "max_attempts",
                        "unit_rows",
                        "on_bad_data",
                        "lock_timeout",
                        "statement_timeout",
                        "verify",
                    ];
                    return Err(self.unknown(key, known));
                }
            }
        }
        Ok(run)
    }

    fn throttle(&self, value: &Spanned<DeValue<'_>>) -> Result<ThrottleLimits> {
        let mut limits = ThrottleLimits::default();
        for (key, value) in self.table(value, "[throttle]")? {
            match key.get_ref().as_ref() {
                "max_replication_lag" => {
                    limits.max_replication_lag = Some(self.limit(value, throttle::parse_lag)?);
                }
                "wal_budget" => {
                    limits.wal_budget = Some(self.limit(value, throttle::parse_wal_budget)?);
                }
                "max_lock_waits" => {
                    limits.max_lock_waits = Some(self.limit(value, throttle::parse_most)?);
                }
                "lock_wait" => {
                    limits.lock_wait_millis = Some(throttle::millis(self.duration(value)?));
                }
                "max_active_sessions" => {
                    limits.max_active_sessions = Some(self.limit(value, throttle::parse_most)?);
                }
                "max_requested_checkpoints" => {
                    limits.max_requested_checkpoints =
                        Some(self.limit(value, throttle::parse_most)?);
                }
                _ => {
                    let known = [
                        "max_replication_lag",
                        "wal_budget",
                        "max_lock_waits",
                        "lock_wait",
                        "max_active_sessions",
                        "max_requested_checkpoints",
                    ];
                    return Err(self.unknown(key, known));
                }
            }
        }
        Ok(limits)
    }

    fn limit<T>(
        &self,
        value: &Spanned<DeValue<'_>>,
        parse: fn(&str) -> Result<Threshold<T>, String>,
    ) -> Result<Threshold<T>> {
        parse(&self.scalar(value)?).map_err(|message| self.complain(value.span(), message))
    }

    fn verify(&self, value: &Spanned<DeValue<'_>>) -> Result<Verify> {
        Verify::parse(self.string(value)?).ok_or_else(|| {
            let message = format!("expected one of {}", Verify::ALL.join(", "));
            self.complain(value.span(), message)
        })
    }

    fn snapshot(&self, value: &Spanned<DeValue<'_>>) -> Result<SnapshotSettings> {
        let mut snapshot = SnapshotSettings::default();
        for (key, value) in self.table(value, "[snapshot]")? {
            match key.get_ref().as_ref() {
                "kind" => snapshot.kind = self.snapshot_kind(value)?,
                "create" => snapshot.create = Some(self.strings(value)?),
                "restore" => snapshot.restore = Some(self.strings(value)?),
                "drop" => snapshot.drop = Some(self.strings(value)?),
                "directory" => snapshot.directory = Some(self.absolute(value)?),
                "jobs" => snapshot.jobs = self.count(value)?,
                "timeout" => snapshot.timeout = self.duration(value)?,
                "wait" => snapshot.wait = self.duration(value)?,
                _ => {
                    let known = [
                        "kind",
                        "create",
                        "restore",
                        "drop",
                        "directory",
                        "jobs",
                        "timeout",
                        "wait",
                    ];
                    return Err(self.unknown(key, known));
                }
            }
        }
        Ok(snapshot)
    }

    fn snapshot_kind(&self, value: &Spanned<DeValue<'_>>) -> Result<Option<SnapshotKind>> {
        let name = self.string(value)?;
        if name == "none" {
            return Ok(None);
        }
        let known = SnapshotKind::ALL.into_iter().find(|k| k.as_str() == name);
        known.map(Some).ok_or_else(|| {
            let kinds = SnapshotKind::ALL.map(SnapshotKind::as_str);
            let message = format!("expected one of none, {}", kinds.join(", "));
            self.complain(value.span(), message)
        })
    }

    fn absolute(&self, value: &Spanned<DeValue<'_>>) -> Result<PathBuf> {
        let path = PathBuf::from(self.string(value)?);
        match path.is_absolute() {
            true => Ok(path),
            false => {
                let message = "expected an absolute path: \"/…\"".to_owned();
                Err(self.complain(value.span(), message))
            }
        }
    }

    pub(crate) fn table<'v>(
        &self,
        value: &'v Spanned<DeValue<'_>>,
        what: &str,
    ) -> Result<&'v DeTable<'v>> {
        let table = value.get_ref().as_table();
        table.ok_or_else(|| self.complain(value.span(), format!("expected a table: {what}")))
    }

    pub(crate) fn string<'v>(&self, value: &'v Spanned<DeValue<'_>>) -> Result<&'v str> {
        let text = value.get_ref().as_str();
        text.ok_or_else(|| self.complain(value.span(), "expected a string".to_owned()))
    }

    pub(crate) fn strings(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>> {
        let items = value.get_ref().as_array().filter(|items| !items.is_empty());
        items
            .ok_or_else(|| {
                let message = "expected an array: [\"program\", \"argument\", …]".to_owned();
                self.complain(value.span(), message)
            })?
            .iter()
            .map(|item| self.string(item).map(str::to_owned))
            .collect()
    }

    fn scalar(&self, value: &Spanned<DeValue<'_>>) -> Result<String> {
        match value.get_ref() {
            DeValue::Integer(number) => Ok(number.as_str().to_owned()),
            _ => self.string(value).map(str::to_owned),
        }
    }

    pub(crate) fn count(&self, value: &Spanned<DeValue<'_>>) -> Result<u32> {
        let number = value.get_ref().as_integer();
        number
            .and_then(|number| number.as_str().parse().ok())
            .filter(|number| (1..=1024).contains(number))
            .ok_or_else(|| {
                self.complain(value.span(), "expected a number from 1 to 1024".to_owned())
            })
    }

    fn on_bad_data(&self, value: &Spanned<DeValue<'_>>) -> Result<OnBadData> {
        OnBadData::parse(self.string(value)?).ok_or_else(|| {
            let message = format!("expected one of {}", OnBadData::ALL.join(", "));
            self.complain(value.span(), message)
        })
    }

    pub(crate) fn duration(&self, value: &Spanned<DeValue<'_>>) -> Result<Duration> {
        let text = value.get_ref().as_str().unwrap_or_default();
        parse_duration(text).map_err(|message| self.complain(value.span(), message))
    }

    pub(crate) fn unknown<'k>(
        &self,
        key: &Key<'_>,
        known: impl IntoIterator<Item = &'k str>,
    ) -> Error {
        let name = key.get_ref();
        let near = did_you_mean(name, known);
        self.complain(key.span(), format!("unknown key \"{name}\"{near}"))
    }

    fn no_password_here(&self, span: Range<usize>) -> Error {
        let message = format!(
            "a password in a file that others may read: chmod 0600 {}, or use password_env, \
             password_file, password_command or libpq's password file",
            self.path.display()
        );
        // The line holds the password: show its place, not its text.
        Error::Config(
            Complaint {
                source_line: String::new(),
                ..self.complaint(span, message)
            }
            .to_string(),
        )
    }

    pub(crate) fn complain(&self, span: Range<usize>, message: String) -> Error {
        Error::Config(self.complaint(span, message).to_string())
    }

    fn complaint(&self, span: Range<usize>, message: String) -> Complaint {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count();
        let column = before.chars().rev().take_while(|c| *c != '\n').count();
        let source_line = self.text.lines().nth(line).unwrap_or_default();
        // A connection string or a password must not reach a terminal or log by way of a complaint.
        let shown = match source_line.split_once('=') {
            Some((key, _)) if key.contains("url") || key.contains("password") => {
                format!("{key}= …")
            }
            _ => source_line.to_owned(),
        };
        Complaint {
            location: Location {
                file: self.path.to_owned(),
                line: u32::try_from(line + 1).unwrap_or(u32::MAX),
                column: u32::try_from(column + 1).unwrap_or(u32::MAX),
            },
            message,
            source_line: shown,
        }
    }
}
