//! The PostgreSQL server that tests use: the one that `upshift-test-server` started for the whole test
//! run, else a throwaway one of this process.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    str::FromStr,
    sync::{Mutex, OnceLock, PoisonError},
};

use anyhow::{Context, Result, bail};
use sqlx::postgres::PgConnectOptions;
use upshift_coordinator::demo::cluster::{
    CERTIFICATE, Cluster, ClusterOptions, find_binaries, find_client,
};

/// The environment variable that names the server of a test run: a URL of its superuser, through its
/// Unix socket.
pub const SERVER_VARIABLE: &str = "UPSHIFT_TEST_SERVER";

/// Owns every test database: an ordinary role, as Upshift's users have it.
pub(super) const OWNER: &str = "upshift_test_owner";
/// Its password, for connections over loopback.
pub(super) const OWNER_PASSWORD: &str = "of the owner, for tests only";

/// A server for tests.
#[derive(Debug)]
pub struct Server {
    binaries: PathBuf,
    socket_directory: PathBuf,
    port: u16,
    /// `None` where the server was built without TLS.
    certificate: Option<PathBuf>,
    /// Where this process started it: stopped with it (a static is never dropped, but the cluster
    /// watches this process).
    own: Option<Mutex<Cluster>>,
}

impl Server {
    /// The server of this process.
    ///
    /// # Panics
    /// Where there is none and none can be started: no test can go on then.
    pub fn shared() -> &'static Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(|| Self::find().expect("a PostgreSQL server for tests"))
    }

    /// A server that only the caller uses, and so may crash. It lives as long as this process.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn own() -> Result<&'static Self> {
        Self::own_with(&[])
    }

    /// The same, with these settings besides (and over) those of every server for tests.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn own_with(settings: &[(&str, &str)]) -> Result<&'static Self> {
        let mut options = Self::options();
        let settings = settings.iter();
        let settings = settings.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        options.settings.extend(settings);
        let server = Self::of(Cluster::start(&options)?);
        server.create_owner()?;
        Ok(Box::leak(Box::new(server)))
    }

    /// Ends a server of [`Self::own`] as a crash does, or `pg_ctl stop -m immediate`.
    ///
    /// # Errors
    /// Where it is not this process's, or cannot be ended.
    pub fn crash(&self) -> Result<()> {
        self.with_own(Cluster::crash)
    }

    /// Starts it again, at the same place.
    ///
    /// # Errors
    /// Where it is not this process's, or does not start.
    pub fn start_again(&self) -> Result<()> {
        self.with_own(Cluster::start_again)
    }

    fn with_own(&self, act: fn(&mut Cluster) -> upshift_shared::Result<()>) -> Result<()> {
        let own = self.own.as_ref();
        let own = own.context("the server belongs to the whole test run")?;
        let mut cluster = own.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(act(&mut cluster)?)
    }

    fn find() -> Result<Self> {
        let server = match std::env::var(SERVER_VARIABLE) {
            Ok(url) => Self::at(&url)?,
            Err(_) => Self::of(Cluster::start(&Self::options())?),
        };
        server.create_owner()?;
        Ok(server)
    }

    /// The options of a cluster for tests.
    #[must_use]
    pub fn options() -> ClusterOptions {
        ClusterOptions {
            tls: true,
            settings: vec![
                ("max_connections".to_owned(), "200".to_owned()),
                // Group members run at once: prepared transactions are tested too.
                ("max_prepared_transactions".to_owned(), "50".to_owned()),
                ("autovacuum_naptime".to_owned(), "5s".to_owned()),
            ],
            ..ClusterOptions::default()
        }
    }

    fn of(cluster: Cluster) -> Self {
        Self {
            binaries: cluster.binaries().to_owned(),
            socket_directory: cluster.socket_directory().to_owned(),
            port: cluster.port(),
            certificate: cluster.certificate(),
            own: Some(Mutex::new(cluster)),
        }
    }

    fn at(url: &str) -> Result<Self> {
        let options = PgConnectOptions::from_str(url)
            .with_context(|| format!("{SERVER_VARIABLE} is not a PostgreSQL URL"))?;
        let socket_directory = options
            .get_socket()
            .cloned()
            .with_context(|| format!("{SERVER_VARIABLE} names no Unix socket"))?;
        Ok(Self {
            binaries: find_binaries(None)?,
            certificate: Some(socket_directory.join(CERTIFICATE)).filter(|file| file.is_file()),
            socket_directory,
            port: options.get_port(),
            own: None,
        })
    }

    /// Several test processes may do this at once.
    fn create_owner(&self) -> Result<()> {
        self.psql(
            "postgres",
            "postgres",
            &format!(
                "DO $$ BEGIN CREATE ROLE {OWNER} LOGIN PASSWORD '{OWNER_PASSWORD}'; \
                 EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
            ),
        )?;
        Ok(())
    }

    /// The URL of a database through the Unix socket.
    #[must_use]
    pub fn url(&self, role: &str, database: &str) -> String {
        format!(
            "postgresql:///{database}?host={}&port={}&user={role}",
            self.socket_directory.display(),
            self.port
        )
    }

    /// The folder of PostgreSQL's programs.
    #[must_use]
    pub fn binaries(&self) -> &Path {
        &self.binaries
    }

    /// The port, of the Unix socket and on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The certificate by which clients know the server on 127.0.0.1; `None` where it was built without
    /// TLS.
    #[must_use]
    pub fn certificate(&self) -> Option<&Path> {
        self.certificate.as_deref()
    }

    /// libpq's `sslmode` and `sslrootcert` for this server on 127.0.0.1: as strict as it can do.
    #[must_use]
    pub fn tls(&self) -> Vec<(&'static str, String)> {
        match &self.certificate {
            Some(file) => vec![
                ("sslmode", "verify-full".to_owned()),
                ("sslrootcert", file.display().to_string()),
            ],
            None => vec![("sslmode", "disable".to_owned())],
        }
    }

    /// A program of PostgreSQL, with nothing of this process's environment that libpq would heed.
    #[must_use]
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(find_client(&self.binaries, name));
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("PG") {
                command.env_remove(variable);
            }
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs SQL with `psql`, every statement in a transaction of its own, and returns what it prints
    /// (unaligned, tuples only). Stops at the first error.
    ///
    /// # Errors
    /// With what `psql` says.
    pub fn psql(&self, role: &str, database: &str, sql: &str) -> Result<String> {
        let output = self
            .psql_command(role, database)
            .arg("-c")
            .arg(sql)
            .output()?;
        succeeded("psql", &output)
    }

    /// Runs a file with `psql`, as the naive upgrade does.
    ///
    /// # Errors
    /// With what `psql` says.
    pub fn psql_file(&self, role: &str, database: &str, file: &Path) -> Result<String> {
        let output = self
            .psql_command(role, database)
            .arg("-f")
            .arg(file)
            .output()?;
        succeeded(&format!("psql -f {}", file.display()), &output)
    }

    fn psql_command(&self, role: &str, database: &str) -> Command {
        let mut command = self.program("psql");
        command
            .args(["-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d"])
            .arg(self.url(role, database));
        command
    }
}

/// The standard output of a program that succeeded.
fn succeeded(what: &str, output: &Output) -> Result<String> {
    if !output.status.success() {
        bail!(
            "{what} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The repository's root.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package lies in the workspace")
}
