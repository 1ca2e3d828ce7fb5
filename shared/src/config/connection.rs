//! How to reach one database, with everything resolved: the only form that the rest of Upshift sees.

use std::{fmt, fs, os::unix::fs::PermissionsExt, path::Path, path::PathBuf, time::Duration};

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::{
    conninfo,
    environment::Environment,
    keyword::{self, Settings},
    passfile::{self, Wanted},
    service,
};
use crate::{Error, Result, pg::Target};

/// Where Debian's and the PostgreSQL project's builds put their sockets.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];
/// libpq waits for ever; a coordinator must not.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// A password. Neither `Debug` nor anything else shows it, except [`Self::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a password.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The password itself, for the driver and for a child's environment.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How to reach one database. Displays as `dbname on host:port as user`.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Host name or address, or the directory of a Unix socket.
    pub host: String,
    /// TCP port, or the number in the socket's name.
    pub port: u16,
    /// Role.
    pub user: String,
    /// Database.
    pub dbname: String,
    connect_timeout: Duration,
    password: Option<Secret>,
    ssl_mode: PgSslMode,
    ssl_root_cert: Option<PathBuf>,
    ssl_client: Option<(PathBuf, PathBuf)>,
    options: Vec<(String, String)>,
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        if host.contains(':') {
            write!(
                f,
                "{} on [{host}]:{} as {}",
                self.dbname, self.port, self.user
            )
        } else {
            write!(
                f,
                "{} on {host}:{} as {}",
                self.dbname, self.port, self.user
            )
        }
    }
}

impl Connection {
    /// The driver's options, without the password.
    fn connect_options(&self) -> PgConnectOptions {
        let options = PgConnectOptions::new_without_pgpass()
            .host(&self.host)
            .port(self.port)
            .username(&self.user)
            .database(&self.dbname)
            .ssl_mode(self.ssl_mode)
            // Later -c options win, so these override PGOPTIONS, which the driver reads by itself.
            .options(self.options.clone());
        let options = match &self.ssl_root_cert {
            Some(path) => options.ssl_root_cert(path),
            None => options,
        };
        match &self.ssl_client {
            Some((certificate, key)) => options.ssl_client_cert(certificate).ssl_client_key(key),
            None => options,
        }
    }

    /// For the rest of Upshift.
    #[must_use]
    pub fn target(&self) -> Target {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let mut environment = Vec::new();
        if let Some(file) = &self.ssl_root_cert {
            environment.push(("PGSSLROOTCERT".to_owned(), path(file)));
        }
        if let Some((certificate, key)) = &self.ssl_client {
            environment.push(("PGSSLCERT".to_owned(), path(certificate)));
            environment.push(("PGSSLKEY".to_owned(), path(key)));
        }
        let password = self.password.as_ref().map(|p| p.reveal().to_owned());
        Target::new(
            self.to_string(),
            self.connect_options(),
            password,
            environment,
        )
        .with_connect_timeout(self.connect_timeout)
    }

    /// Whether it goes over TCP to another machine without TLS being required.
    #[must_use]
    pub fn may_be_in_clear(&self) -> bool {
        let local = self.host.starts_with('/')
            || ["localhost", "127.0.0.1", "::1"].contains(&self.host.as_str());
        let tls = matches!(
            self.ssl_mode,
            PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull
        );
        !local && !tls
    }
}

/// Brings together what was given, the service file, the environment and the defaults.
pub(super) fn resolve(
    given: Settings,
    secret: Option<Secret>,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<Connection> {
    let settings = layered(given, environment)?;
    keyword::check(&settings)?;
    let get = |name: &str| {
        settings
            .get(name)
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    };

    let port = match get("port") {
        None => 5432,
        Some(port) if port.contains(',') => return Err(conninfo::several_hosts()),
        Some(port) => port
            .parse::<u16>()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| bad_value("port", "write a number from 1 to 65535"))?,
    };
    let host = host(&settings, port)?;
    let user = get("user").or(environment.user.as_deref());
    let user = user.ok_or_else(|| bad_value("user", "name the role: user=…"))?;
    let dbname = get("dbname").ok_or_else(|| {
        Error::Config(
            "no database named: give --database a URL such as postgresql://host/dbname, a string \
             such as \"dbname=…\", or the name of an entry of upshift.toml; or set PGDATABASE"
                .to_owned(),
        )
    })?;
    let password = secret
        .or_else(|| get("password").map(|p| Secret::new(p.to_owned())))
        .or_else(|| {
            let path = match get("passfile") {
                Some(path) => PathBuf::from(path),
                None => environment.home_file(".pgpass")?,
            };
            let default_socket = SOCKET_DIRECTORIES.contains(&host.as_str());
            let wanted = Wanted {
                host: if default_socket { "localhost" } else { &host },
                port,
                dbname,
                user,
            };
            passfile::find(&path, &wanted, warnings)
        });
    let tls = Tls::resolve(&settings, environment)?;
    Ok(Connection {
        user: user.to_owned(),
        dbname: dbname.to_owned(),
        port,
        password,
        connect_timeout: connect_timeout(get("connect_timeout"))?,
        ssl_mode: tls.mode,
        ssl_root_cert: tls.root,
        ssl_client: tls.client,
        options: session_options(get("options").unwrap_or_default())?,
        host,
    })
}

/// libpq's layers: given, service, environment.
fn layered(given: Settings, environment: &Environment) -> Result<Settings> {
    let mut lower = environment.settings();
    let either = |name: &str| given.get(name).or(lower.get(name)).cloned();
    if let Some(service) = either("service").filter(|service| !service.is_empty()) {
        let file = either("servicefile");
        lower.extend(service::read(&service, file.as_deref(), environment)?);
    }
    // A host that is given says where to go: an address of the environment must not lead elsewhere.
    if given.contains_key("host") && !given.contains_key("hostaddr") {
        lower.remove("hostaddr");
    }
    lower.extend(given);
    Ok(lower)
}

fn host(settings: &Settings, port: u16) -> Result<String> {
    let get = |name: &str| settings.get(name).filter(|value| !value.is_empty());
    if [get("host"), get("hostaddr")]
        .into_iter()
        .flatten()
        .any(|host| host.contains(','))
    {
        return Err(conninfo::several_hosts());
    }
    match (get("hostaddr"), get("host")) {
        (Some(_), Some(_)) if get("sslmode").is_some_and(|mode| mode == "verify-full") => {
            Err(bad_value(
                "hostaddr",
                "with sslmode=verify-full the certificate is checked against the host that is \
                 connected to: give host alone",
            ))
        }
        (Some(address), _) => match address.parse::<std::net::IpAddr>() {
            Ok(_) => Ok(address.clone()),
            Err(_) => Err(bad_value("hostaddr", "write an IP address, or use host")),
        },
        (None, Some(host)) => Ok(host.clone()),
        (None, None) => {
            let socket = format!(".s.PGSQL.{port}");
            let found = SOCKET_DIRECTORIES
                .iter()
                .find(|directory| Path::new(directory).join(&socket).exists());
            Ok((*found.unwrap_or(&"localhost")).to_owned())
        }
    }
}

fn connect_timeout(value: Option<&str>) -> Result<Duration> {
    match value.map(str::parse::<i64>) {
        None => Ok(DEFAULT_CONNECT_TIMEOUT),
        // libpq: zero or less means to wait for ever, which here means the default.
        Some(Ok(seconds)) if seconds <= 0 => Ok(DEFAULT_CONNECT_TIMEOUT),
        // libpq: one second is taken as two.
        Some(Ok(seconds)) => Ok(Duration::from_secs(seconds.max(2).unsigned_abs())),
        Some(Err(_)) => Err(bad_value("connect_timeout", "write a number of seconds")),
    }
}

/// `-c name=value`, `-cname=value` and `--name=value`; backslash escapes a space.
fn session_options(text: &str) -> Result<Vec<(String, String)>> {
    let mut words = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => words
                .iter_mut()
                .last()
                .into_iter()
                .for_each(|w| w.extend(chars.next())),
            c if c.is_whitespace() => words.push(String::new()),
            c => words.iter_mut().last().into_iter().for_each(|w| w.push(c)),
        }
    }
    let mut options = Vec::new();
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        let pair = match word.strip_prefix("--").or(word.strip_prefix("-c")) {
            Some("") => words.next(),
            Some(pair) => Some(pair.to_owned()),
            None => None,
        };
        match pair.as_deref().and_then(|pair| pair.split_once('=')) {
            Some((name, value)) => options.push((name.replace('-', "_"), value.to_owned())),
            None => return Err(bad_value("options", "write -c name=value")),
        }
    }
    Ok(options)
}

struct Tls {
    mode: PgSslMode,
    root: Option<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    fn resolve(settings: &Settings, environment: &Environment) -> Result<Self> {
        let get = |name: &str| {
            settings
                .get(name)
                .map(String::as_str)
                .filter(|v| !v.is_empty())
        };
        let system = get("sslrootcert") == Some("system");
        let mode = match get("sslmode") {
            None if system => PgSslMode::VerifyFull,
            None => PgSslMode::Prefer,
            Some(text) => text.parse::<PgSslMode>().map_err(|_| {
                bad_value(
                    "sslmode",
                    "write disable, allow, prefer, require, verify-ca or verify-full",
                )
            })?,
        };
        if system && !matches!(mode, PgSslMode::VerifyFull) {
            return Err(bad_value(
                "sslmode",
                "with sslrootcert=system use verify-full",
            ));
        }
        let root = match get("sslrootcert") {
            Some(_) if system => None,
            Some(path) => Some(readable("sslrootcert", path)?),
            None => existing(environment.home_file(".postgresql/root.crt")),
        };
        // libpq: where there is a root certificate, `require` verifies against it.
        let mode = match mode {
            PgSslMode::Require if root.is_some() => PgSslMode::VerifyCa,
            mode => mode,
        };
        let certificate = match get("sslcert") {
            Some(path) => Some(readable("sslcert", path)?),
            None => existing(environment.home_file(".postgresql/postgresql.crt")),
        };
        let key = match get("sslkey") {
            Some(path) => Some(readable("sslkey", path)?),
            None => existing(environment.home_file(".postgresql/postgresql.key")),
        };
        let client = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, private(key)?)),
            (Some(_), None) => return Err(bad_value("sslcert", "name its private key: sslkey")),
            (None, _) => None,
        };
        Ok(Self { mode, root, client })
    }
}

fn existing(path: Option<PathBuf>) -> Option<PathBuf> {
    path.filter(|path| path.exists())
}

fn readable(keyword: &str, path: &str) -> Result<PathBuf> {
    match fs::File::open(path) {
        Ok(_) => Ok(path.into()),
        Err(source) => Err(Error::Io {
            context: format!("{keyword}: cannot read {path}"),
            source,
        }),
    }
}

/// libpq refuses a private key that others may read, except root's own for its group.
fn private(key: PathBuf) -> Result<PathBuf> {
    let mode = fs::metadata(&key).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o037 != 0 {
        return Err(Error::Config(format!(
            "private key {0} may be read by others: chmod 0600 {0}",
            key.display()
        )));
    }
    Ok(key)
}

fn bad_value(keyword: &str, what: &str) -> Error {
    Error::Config(format!("connection parameter {keyword}: {what}"))
}
