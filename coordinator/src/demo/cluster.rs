//! A throwaway PostgreSQL cluster: made in a private directory, never as root, reachable only through
//! its own Unix socket and (with a password) loopback, gone when dropped or when this process dies.
//! `upshift demo` and the tests use it.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use tempfile::TempDir;
use upshift_shared::{Error, Result};

use super::server_user::ServerUser;

/// How long a server may take to accept connections.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// A port is free when it is chosen, not when it is used: so many other ports are tried.
const PORT_ATTEMPTS: u32 = 5;

/// What the server says once it accepts connections (under `lc_messages = C`).
const READY_MESSAGE: &str = "database system is ready to accept connections";

/// What the server says when somebody took the port in between.
const PORT_TAKEN_MESSAGE: &str = "could not bind IPv4 address";

/// Settings of every throwaway cluster: it need not survive a power cut.
const SETTINGS: &[(&str, &str)] = &[
    ("lc_messages", "C"),
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    ("shared_buffers", "256MB"),
    ("max_wal_size", "4GB"),
    ("logging_collector", "off"),
];

/// Runs the server, and when its own input ends (closed by [`Cluster`]'s drop, or by the kernel because
/// this process was killed) stops it and deletes the directory. SIGQUIT is an immediate shutdown:
/// nothing in it is worth a checkpoint. Without job control a shell's background process reads
/// /dev/null, and the shell closes its own stderr so that the server's end is the end of the log.
const SUPERVISOR: &str = r#"directory=$1; shift
"$@" &
server=$!
exec 2>/dev/null
cat >/dev/null
kill -QUIT "$server"
wait "$server"
cd / && rm -rf -- "$directory"
"#;

/// How to make a cluster.
#[derive(Debug, Clone, Default)]
pub struct ClusterOptions {
    /// The folder of `initdb` and `postgres`; where `None`, [`find_binaries`] looks for it.
    pub binaries: Option<PathBuf>,
    /// Settings besides (and over) those of every throwaway cluster.
    pub settings: Vec<(String, String)>,
    /// Whether it accepts TLS on loopback, with a certificate for `localhost` and `127.0.0.1` that
    /// [`Cluster::certificate`] names.
    pub tls: bool,
}

/// A running throwaway cluster. Dropping it stops the server and deletes the directory.
#[derive(Debug)]
pub struct Cluster {
    binaries: PathBuf,
    directory: TempDir,
    password: String,
    port: u16,
    supervisor: Child,
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
        if options.tls {
            create_certificate(directory.path(), user)?;
        }
        let mut attempt = 1;
        loop {
            let port = free_port()?;
            match launch(&binaries, directory.path(), user, port, options) {
                Ok(supervisor) => {
                    return Ok(Self {
                        binaries,
                        directory,
                        password,
                        port,
                        supervisor,
                    });
                }
                Err(e) if attempt < PORT_ATTEMPTS && e.to_string().contains(PORT_TAKEN_MESSAGE) => {
                    attempt += 1;
                }
                Err(e) => return Err(e),
            }
        }
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
        &self.binaries
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

    /// The certificate by which a client knows the server, where the cluster has TLS.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("server.crt")
    }

    /// Its data directory.
    #[must_use]
    pub fn data_directory(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        stop(&mut self.supervisor);
    }
}

/// Closes the supervisor's input, which makes it stop the server, and waits for that.
fn stop(supervisor: &mut Child) {
    drop(supervisor.stdin.take());
    let _ = supervisor.wait();
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
    newest_debian_folder()
        .or_else(|| pg_config_folder().and_then(|folder| holds_server(&folder)))
        .ok_or_else(|| no_server("/usr/lib/postgresql and the folder of pg_config"))
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

fn newest_debian_folder() -> Option<PathBuf> {
    let entries = fs::read_dir("/usr/lib/postgresql").ok()?;
    entries
        .filter_map(|entry| {
            let folder = entry.ok()?.path();
            let version: u32 = folder.file_name()?.to_str()?.parse().ok()?;
            Some((version, holds_server(&folder.join("bin"))?))
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
        .args(["-keyout", "server.key", "-out", "server.crt"]);
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

/// Runs a program of the cluster's making to its end.
fn run(mut command: Command, directory: &Path, user: ServerUser, name: &str) -> Result<()> {
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
        return Ok(());
    }
    Err(Error::Config(format!(
        "{name} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}

/// Starts the server below its supervisor, which is returned, and waits until it says that it accepts
/// connections.
fn launch(
    binaries: &Path,
    directory: &Path,
    user: ServerUser,
    port: u16,
    options: &ClusterOptions,
) -> Result<Child> {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", SUPERVISOR, "upshift-supervisor"])
        .arg(directory)
        .arg(binaries.join("postgres"))
        .arg("-D")
        .arg(directory.join("data"))
        .args(["-c", "listen_addresses=127.0.0.1"])
        .arg("-c")
        .arg(format!("unix_socket_directories={}", directory.display()))
        .arg("-c")
        .arg(format!("port={port}"));
    for (name, value) in SETTINGS {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    if options.tls {
        let place = |name: &str| directory.join(name).display().to_string();
        command
            .args(["-c", "ssl=on", "-c"])
            .arg(format!("ssl_cert_file={}", place("server.crt")))
            .arg("-c")
            .arg(format!("ssl_key_file={}", place("server.key")));
    }
    for (name, value) in &options.settings {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    user.apply(&mut command);
    let mut supervisor = command
        .current_dir(directory)
        // A Ctrl-C in the terminal is for this program, which then stops the server.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| Error::Io {
            context: "starting postgres".to_owned(),
            source,
        })?;
    let messages = supervisor.stderr.take().expect("stderr is piped above");
    let ready = await_ready(messages, directory.join("log"));
    if ready.is_err() {
        stop(&mut supervisor);
    }
    ready.map(|()| supervisor)
}

/// Copies the server's messages to a file for as long as it lives, and waits for the one that says
/// that it accepts connections.
fn await_ready(messages: ChildStderr, log: PathBuf) -> Result<()> {
    let mut file = File::create(&log).map_err(|source| Error::Io {
        context: format!("creating {}", log.display()),
        source,
    })?;
    let (ready, is_ready) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        for line in BufReader::new(messages).split(b'\n').map_while(Result::ok) {
            let _ = file.write_all(&line).and_then(|()| file.write_all(b"\n"));
            if String::from_utf8_lossy(&line).contains(READY_MESSAGE) {
                let _ = ready.try_send(());
            }
        }
    });
    let failure = match is_ready.recv_timeout(START_DEADLINE) {
        Ok(()) => return Ok(()),
        Err(mpsc::RecvTimeoutError::Timeout) => "did not start within a minute",
        Err(mpsc::RecvTimeoutError::Disconnected) => "ended at once",
    };
    let text = fs::read_to_string(&log).unwrap_or_default();
    let end: Vec<&str> = text.lines().rev().take(12).collect();
    let end: Vec<&str> = end.into_iter().rev().collect();
    Err(Error::Config(format!(
        "the throwaway PostgreSQL server {failure}; the end of its log:\n{}",
        end.join("\n")
    )))
}
