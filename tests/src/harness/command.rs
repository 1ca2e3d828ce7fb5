//! The `upshift` command as its users start it: a process with arguments, output and an exit code.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Host, database::Database};

/// No line and no end of the process may take longer than this, unless [`Upshift::patience`] says so.
const DEADLINE: Duration = Duration::from_secs(240);

/// A call of `upshift`, not yet started.
#[derive(Debug)]
pub struct Upshift {
    command: Command,
    patience: Duration,
    host: Option<Host>,
}

impl Upshift {
    /// With these arguments, and with nothing of this process's environment that libpq or traces would heed.
    pub fn new(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let mut command = Command::new(binary());
        command.args(arguments).stdin(Stdio::null());
        for (variable, _) in std::env::vars_os() {
            let name = variable.to_string_lossy();
            let heeded = ["PG", "UPSHIFT_", "OTEL_", "TRACEPARENT"];
            if heeded.iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(&variable);
            }
        }
        Self {
            command,
            patience: DEADLINE,
            host: None,
        }
    }

    /// With these arguments, on this database.
    pub fn on(database: &Database, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let mut this = Self::new(arguments);
        this.command.arg("--database").arg(database.url());
        this
    }

    /// A run of a pack with two workers and units of 500 rows, and `--passes` as told.
    pub fn run_pack(database: &Database, pack: &Path, passes: &str) -> Self {
        Self::on(database, ["run", "--workers", "2", "--unit-rows", "500"])
            .arguments(&["--passes", passes])
            .argument(pack)
    }

    /// With one more argument.
    #[must_use]
    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// With more arguments.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// With an environment variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// In this folder.
    #[must_use]
    pub fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// It may say nothing for so long: for benchmarks, whose statements take minutes.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// On a host instead of here.
    #[must_use]
    pub fn on_host(mut self, host: &Host) -> Self {
        self.host = Some(host.clone());
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// Where it cannot be started, or does not end.
    pub fn run(self) -> Result<Outcome> {
        self.start()?.wait()
    }

    /// Runs it to its end, which has to be success.
    ///
    /// # Errors
    /// With all that it said, where it failed.
    pub fn succeed(self) -> Result<Outcome> {
        self.run()?.expect_code(0)
    }

    /// Runs it until it dies at a failpoint, such as `before_commit:2`.
    ///
    /// # Errors
    /// With all that it said, where it came to an end of its own.
    pub fn dies_at(self, point: &str) -> Result<()> {
        let outcome = self.variable("UPSHIFT_FAILPOINT", point).run()?;
        let code = outcome.code;
        ensure!(
            code.is_none(),
            "it did not die at {point} but ended with {code:?}: {}\n{}",
            outcome.stdout,
            outcome.stderr
        );
        Ok(())
    }

    /// Starts it.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(mut self) -> Result<Running> {
        let said = format!("{:?}", self.command.get_args().collect::<Vec<_>>());
        let command = self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = match &self.host {
            Some(host) => host.start(command),
            None => command.spawn().map_err(anyhow::Error::from),
        };
        let mut child = started
            .with_context(|| format!("starting {}", self.command.get_program().display()))?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let mut stderr = child.stderr.take().context("stderr is piped")?;
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Ok(Running {
            arguments: said,
            patience: self.patience,
            child,
            lines,
            seen: Vec::new(),
            errors: Some(errors),
        })
    }
}

/// A running `upshift`. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    arguments: String,
    patience: Duration,
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    errors: Option<JoinHandle<String>>,
}

impl Running {
    /// The next line that it prints; `None` when it prints no more.
    ///
    /// # Errors
    /// Where it prints nothing for too long.
    pub fn next_line(&mut self) -> Result<Option<String>> {
        match self.lines.recv_timeout(self.patience) {
            Ok(line) => {
                self.seen.push(line.clone());
                Ok(Some(line))
            }
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!(
                "upshift {} said nothing for {:?}; so far:\n{}",
                self.arguments,
                self.patience,
                self.seen.join("\n")
            ),
        }
    }

    /// Reads until a line that `wanted` accepts; whether there was one.
    ///
    /// # Errors
    /// Where it prints nothing for too long.
    pub fn read_until(&mut self, mut wanted: impl FnMut(&str) -> bool) -> Result<bool> {
        while let Some(line) = self.next_line()? {
            if wanted(&line) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads until so many units more are done, of which `--json` tells.
    ///
    /// # Errors
    /// Where it ends before, or prints nothing for too long.
    pub fn units_done(&mut self, count: usize) -> Result<()> {
        for number in 0..count {
            let done = self.read_until(|line| line.contains("unit_done"))?;
            ensure!(done, "it ended after {number} units");
        }
        Ok(())
    }

    /// Its number among processes.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// Where the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(
            Pid::from_raw(i32::try_from(self.child.id())?),
            signal,
        )?)
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    ///
    /// # Errors
    /// Where that fails.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Where it says nothing for too long.
    pub fn wait(mut self) -> Result<Outcome> {
        while self.next_line()?.is_some() {}
        let status = self.child.wait()?;
        let errors = self.errors.take().context("taken once")?;
        let stderr = errors.join().unwrap_or_default();
        Ok(Outcome {
            arguments: std::mem::take(&mut self.arguments),
            code: status.code(),
            stdout: self.seen.join("\n"),
            stderr,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a call of `upshift` ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What it was called with.
    pub arguments: String,
    /// Its exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it printed as errors.
    pub stderr: String,
}

impl Outcome {
    /// Itself, where it ended with this code.
    ///
    /// # Errors
    /// With all that it said, where it did not.
    pub fn expect_code(self, code: i32) -> Result<Self> {
        if self.code != Some(code) {
            bail!(
                "upshift {} ended with {:?} instead of {code}\n--- stdout\n{}\n--- stderr\n{}",
                self.arguments,
                self.code,
                self.stdout,
                self.stderr
            );
        }
        Ok(self)
    }
}

/// The command, as cargo built it: `$UPSHIFT_BIN`, else beside this test's own folder.
///
/// # Panics
/// Where it is not built.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("UPSHIFT_BIN") {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().expect("a test knows its own path");
    let folder = test.parent().expect("a file lies in a folder");
    // target/debug/deps/<test>, or target/debug/<program>
    let folder = match folder.file_name() {
        Some(name) if name == "deps" => folder.parent().expect("deps lies in the profile's folder"),
        _ => folder,
    };
    let path = folder.join("upshift");
    assert!(
        path.is_file(),
        "{} is not built: cargo build -p upshift-coordinator",
        path.display()
    );
    path
}
