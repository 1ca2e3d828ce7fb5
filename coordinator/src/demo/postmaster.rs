//! The server process of a throwaway cluster, below a supervisor that ends it when this process ends,
//! however that comes about.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use upshift_shared::{Error, Result};

use super::server_user::ServerUser;

/// How long a server may take to accept connections.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// What the server says once it accepts connections (under `lc_messages = C`).
const READY_MESSAGE: &str = "database system is ready to accept connections";

/// Runs the server until its own input ends (closed by [`Postmaster`]'s drop, or by the kernel because
/// this process was killed), or says `keep`; then stops it, and deletes the directory unless it was told
/// to keep it. SIGQUIT is an immediate shutdown: nothing in it is worth a checkpoint. Without job control
/// a shell's background process reads /dev/null, and the shell closes its own stderr so that the
/// server's end is the end of the log.
const SUPERVISOR: &str = r#"directory=$1; shift
"$@" &
server=$!
exec 2>/dev/null
read -r order
kill -QUIT "$server"
wait "$server"
[ "$order" = keep ] || { cd / && rm -rf -- "$directory"; }
"#;

/// What it takes to start the server of a cluster.
#[derive(Debug)]
pub(super) struct Launch {
    /// The folder of `postgres`.
    pub(super) binaries: PathBuf,
    /// The cluster's private directory, with the data in `data`; deleted by the supervisor in the end.
    pub(super) directory: PathBuf,
    /// Who the server runs as.
    pub(super) user: ServerUser,
    /// What the server is told besides its port.
    pub(super) settings: Vec<(String, String)>,
}

/// A running server. Dropping it stops the server and deletes the cluster's directory.
#[derive(Debug)]
pub(super) struct Postmaster {
    supervisor: Child,
}

impl Launch {
    /// Starts the server below its supervisor, and waits until it says that it accepts connections.
    ///
    /// # Errors
    /// With the end of the server's log, where it does not start.
    pub(super) fn start(&self, port: u16) -> Result<Postmaster> {
        let mut supervisor = self.spawn(port)?;
        let messages = supervisor.stderr.take().expect("stderr is piped");
        let postmaster = Postmaster { supervisor };
        match await_ready(messages, &self.directory.join("log")) {
            Ok(()) => Ok(postmaster),
            Err(failure) => {
                // It may be started again on another port.
                postmaster.crash()?;
                Err(failure)
            }
        }
    }

    fn spawn(&self, port: u16) -> Result<Child> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SUPERVISOR, "upshift-supervisor"])
            .arg(&self.directory)
            .arg(self.binaries.join("postgres"))
            .arg("-D")
            .arg(self.directory.join("data"))
            .arg("-c")
            .arg(format!("port={port}"));
        for (name, value) in &self.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        self.user.apply(&mut command);
        command
            .current_dir(&self.directory)
            // A Ctrl-C in the terminal is for this program, which then stops the server.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| Error::Io {
                context: "starting postgres".to_owned(),
                source,
            })
    }
}

impl Postmaster {
    /// Ends the server as a crash does, or `pg_ctl stop -m immediate`: every session is cut off, there is
    /// no checkpoint. The data stay. Returns when the last process of the server has ended.
    ///
    /// # Errors
    /// Where the supervisor is gone.
    pub(super) fn crash(mut self) -> Result<()> {
        let input = self.supervisor.stdin.take();
        let mut input = input.expect("stdin is piped, and only this and drop take it");
        input
            .write_all(b"keep\n")
            .and_then(|()| self.supervisor.wait())
            .map(drop)
            .map_err(|source| Error::Io {
                context: "ending the server".to_owned(),
                source,
            })
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        // The end of its input makes the supervisor stop the server.
        drop(self.supervisor.stdin.take());
        let _ = self.supervisor.wait();
    }
}

/// Copies the server's messages to a file for as long as it lives, and waits for the one that says
/// that it accepts connections.
fn await_ready(messages: ChildStderr, log: &Path) -> Result<()> {
    let mut file = File::create(log).map_err(|source| Error::Io {
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
    let text = fs::read_to_string(log).unwrap_or_default();
    let end: Vec<&str> = text.lines().rev().take(12).collect();
    let end: Vec<&str> = end.into_iter().rev().collect();
    Err(Error::Config(format!(
        "the throwaway PostgreSQL server {failure}; the end of its log:\n{}",
        end.join("\n")
    )))
}
