//! A throwaway PostgreSQL cluster: made in a private directory, never as root, reachable only through
//! its own Unix socket and (with a password) loopback, gone when dropped or when this process dies.
//! `upshift demo` and the tests use it.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;
use upshift_shared::{Error, Result};

use super::{
    postmaster::{Launch, Postmaster},
    server_user::ServerUser,
};

/// A port is free when it is chosen, not when it is used: so many other ports are tried.
const PORT_ATTEMPTS: u32 = 5;

/// What the server says when somebody took the port in between.
const PORT_TAKEN_MESSAGE: &str = "could not bind IPv4 address";

/// The file, in the cluster's directory, by which clients know its server; there where it has TLS.
pub const CERTIFICATE: &str = "server.crt";

/// Settings of every throwaway cluster: it need not survive a power cut.
const SETTINGS: &[(&str, &str)] = &[
    ("lc_messages", "C"),
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    ("shared_buffers", "256MB"),
    ("max_wal_size", "4GB"),
    ("logging_collector", "off"),
    // For groups of databases.
    ("max_prepared_transactions", "16"),
];

/// How to make a cluster.
#[derive(Debug, Clone, Default)]
pub struct ClusterOptions {
    /// The folder of `initdb` and `postgres`; where `None`, [`find_binaries`] looks for it.
    pub binaries: Option<PathBuf>,
    /// Settings besides (and over) those of every throwaway cluster.
    pub settings: Vec<(String, String)>,
    /// Whether it accepts TLS on loopback, with a certificate for `localhost` and `127.0.0.1` that
    /// [`Cluster::certificate`] names. A server that was built without TLS goes without it.
    pub tls: bool,
}

/// A running throwaway cluster. Dropping it stops the server and deletes the directory.
#[derive(Debug)]
pub struct Cluster {
    // Dropped first: the server ends before its directory goes.
    postmaster: Option<Postmaster>,
    launch: Launch,
    directory: TempDir,
    password: String,
    port: u16,
    tls: bool,
}

impl Cluster {
    /// Makes a cluster and starts its server; returns once it accepts connections.
    ///
    /// # Errors
    /// Where there are no server binaries, or the server does not start: with the end of its log.
    pub fn start(options: &ClusterOptions) -> Result<Self> {
        let binaries = find_binaries(options.binaries.as_deref())?;
        let user = ServerUser::find()?;
        let directory = private_directory(user)?;
        let password = random_password()?;
        create(&binaries, directory.path(), user, &password)?;
        let tls = options.tls && knows_tls(&binaries, directory.path(), user)?;
        if tls {
            create_certificate(directory.path(), user)?;
        }
        let launch = Launch {
            settings: settings(directory.path(), tls, options),
            directory: directory.path().to_owned(),
            binaries,
            user,
        };
        let mut attempt = 1;
        loop {
            let port = free_port()?;
            match launch.start(port) {
                Ok(postmaster) => {
                    return Ok(Self {
                        postmaster: Some(postmaster),
                        launch,
                        directory,
                        password,
                        port,
                        tls,
                    });
                }
                Err(e) if attempt < PORT_ATTEMPTS && e.to_string().contains(PORT_TAKEN_MESSAGE) => {
                    attempt += 1;
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Ends the server as a crash does: every session is cut off, nothing is written any more. Its data
    /// stay for [`Self::start_again`].
    ///
    /// # Errors
    /// Where the server cannot be found or told.
    pub fn crash(&mut self) -> Result<()> {
        self.postmaster.take().map_or(Ok(()), Postmaster::crash)
    }

    /// Starts the server again after [`Self::crash`], where it was; returns once it accepts connections.
    ///
    /// # Errors
    /// Where it does not start: with the end of its log.
    pub fn start_again(&mut self) -> Result<()> {
        self.postmaster = Some(self.launch.start(self.port)?);
        Ok(())
    }

    /// The URL of a database of this cluster through its Unix socket, as the superuser `postgres`.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.url_of("postgres", database)
    }

    /// The URL of a database of this cluster through its Unix socket.
    #[must_use]
    pub fn url_of(&self, role: &str, database: &str) -> String {
        format!(
            "postgresql:///{database}?host={}&port={}&user={role}",
            self.directory.path().display(),
            self.port
        )
    }

    /// The folder of the server's and client's programs.
    #[must_use]
    pub fn binaries(&self) -> &Path {
        &self.launch.binaries
    }

    /// The folder of the Unix socket.
    #[must_use]
    pub fn socket_directory(&self) -> &Path {
        self.directory.path()
    }

    /// The port, of the Unix socket and on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The password that the superuser needs on loopback.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The certificate by which a client knows the server; `None` where the cluster has no TLS.
    #[must_use]
    pub fn certificate(&self) -> Option<PathBuf> {
        self.tls.then(|| self.directory.path().join(CERTIFICATE))
    }

    /// Its data directory.
    #[must_use]
    pub fn data_directory(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}

/// The folder that holds `initdb` and `postgres`: the one given, `$UPSHIFT_PG_BIN`, that of
/// `pg_config`, or the newest below `/usr/lib/postgresql` (where Debian keeps them).
///
/// # Errors
/// Where none of these holds both programs.
pub fn find_binaries(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(folder) = given {
        return holds_server(folder).ok_or_else(|| no_server(&folder.display().to_string()));
    }
    if let Some(folder) = std::env::var_os("UPSHIFT_PG_BIN") {
        return holds_server(Path::new(&folder)).ok_or_else(|| no_server("$UPSHIFT_PG_BIN"));
    }
    newest_debian_folder(|folder| holds_server(folder).is_some())
        .or_else(|| pg_config_folder().and_then(|folder| holds_server(&folder)))
        .ok_or_else(|| no_server("/usr/lib/postgresql and the folder of pg_config"))
}

/// A client program that goes with a server: the one in its folder, else (some packages hold a server
/// alone) the newest of the distribution's, else the one of `PATH`. `pg_dump` itself refuses a server
/// that is newer than it is.
#[must_use]
pub fn find_client(binaries: &Path, name: &str) -> PathBuf {
    let own = binaries.join(name);
    if own.is_file() {
        return own;
    }
    newest_debian_folder(|folder| folder.join(name).is_file())
        .map_or_else(|| PathBuf::from(name), |folder| folder.join(name))
}

fn no_server(place: &str) -> Error {
    Error::Config(format!(
        "no PostgreSQL server (initdb, postgres) in {place}: install one (Debian: apt-get install \
         postgresql), or name its folder in UPSHIFT_PG_BIN"
    ))
}

fn holds_server(folder: &Path) -> Option<PathBuf> {
    let complete = ["initdb", "postgres"]
        .iter()
        .all(|program| folder.join(program).is_file());
    complete.then(|| folder.to_owned())
}

fn newest_debian_folder(holds: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let entries = fs::read_dir("/usr/lib/postgresql").ok()?;
    entries
        .filter_map(|entry| {
            let folder = entry.ok()?.path();
            let version: u32 = folder.file_name()?.to_str()?.parse().ok()?;
            let folder = folder.join("bin");
            holds(&folder).then_some((version, folder))
        })
        .max()
        .map(|(_, folder)| folder)
}

fn pg_config_folder() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (!text.trim().is_empty()).then(|| PathBuf::from(text.trim()))
}

/// A directory that only the server's user (and root) may enter. Its path has to leave room for the
/// socket's name within the 107 bytes of `sockaddr_un`.
fn private_directory(user: ServerUser) -> Result<TempDir> {
    let mut parent = std::env::temp_dir();
    if parent.as_os_str().len() > 60 {
        parent = PathBuf::from("/tmp");
    }
    let directory = tempfile::Builder::new()
        .prefix("upshift-pg-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(&parent)
        .map_err(|source| Error::Io {
            context: format!("creating a directory in {}", parent.display()),
            source,
        })?;
    user.own(directory.path())?;
    Ok(directory)
}

fn random_password() -> Result<String> {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|source| Error::Io {
            context: "reading random bytes from /dev/urandom".to_owned(),
            source,
        })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn free_port() -> Result<u16> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| Error::Io {
            context: "looking for a free port on 127.0.0.1".to_owned(),
            source,
        })
}

/// Runs `initdb` and writes `pg_hba.conf`: whoever may enter the private directory is trusted on its
/// socket; loopback, which every local user can reach, asks for a password.
fn create(binaries: &Path, directory: &Path, user: ServerUser, password: &str) -> Result<()> {
    let password_file = directory.join("password");
    write_owned(&password_file, password, user)?;
    let mut command = Command::new(binaries.join("initdb"));
    command
        .args(["--username=postgres", "--encoding=UTF8", "--locale=C"])
        .args([
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--no-sync",
        ])
        .arg(format!("--pwfile={}", password_file.display()))
        .arg(format!("--pgdata={}", directory.join("data").display()));
    run(command, directory, user, "initdb")?;
    fs::remove_file(&password_file).map_err(|source| Error::Io {
        context: format!("removing {}", password_file.display()),
        source,
    })
}

/// Whether the server was built with TLS; some that are packaged for other uses were not, and would not
/// start with `ssl = on`.
fn knows_tls(binaries: &Path, directory: &Path, user: ServerUser) -> Result<bool> {
    let mut command = Command::new(binaries.join("postgres"));
    command
        .args(["-C", "ssl_library", "-D"])
        .arg(directory.join("data"));
    Ok(!run(command, directory, user, "postgres -C")?
        .trim()
        .is_empty())
}

fn create_certificate(directory: &Path, user: ServerUser) -> Result<()> {
    let mut command = Command::new("openssl");
    command
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-days", "3650", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "server.key", "-out", CERTIFICATE]);
    run(command, directory, user, "openssl")?;
    let key = directory.join("server.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).map_err(|source| Error::Io {
        context: format!("narrowing the permissions of {}", key.display()),
        source,
    })
}

fn write_owned(path: &Path, content: &str, user: ServerUser) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = File::create(path)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(content.as_bytes())
    };
    write().map_err(|source| Error::Io {
        context: format!("writing {}", path.display()),
        source,
    })?;
    user.own(path)
}

/// Runs a program of the cluster's making to its end, and returns what it printed.
fn run(mut command: Command, directory: &Path, user: ServerUser, name: &str) -> Result<String> {
    user.apply(&mut command);
    let output = command
        .current_dir(directory)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Io {
            context: format!("starting {name}"),
            source,
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Config(format!(
        "{name} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}

/// What the server is told besides its port; of two values the later one holds.
fn settings(directory: &Path, tls: bool, options: &ClusterOptions) -> Vec<(String, String)> {
    let place = |name: &str| directory.join(name).display().to_string();
    let mut settings = vec![
        ("listen_addresses".to_owned(), "127.0.0.1".to_owned()),
        (
            "unix_socket_directories".to_owned(),
            directory.display().to_string(),
        ),
    ];
    let fixed = SETTINGS.iter();
    settings.extend(fixed.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    if tls {
        settings.push(("ssl".to_owned(), "on".to_owned()));
        settings.push(("ssl_cert_file".to_owned(), place(CERTIFICATE)));
        settings.push(("ssl_key_file".to_owned(), place("server.key")));
    }
    settings.extend(options.settings.iter().cloned());
    settings
}
