//! External programs: the database as their environment, an end by a deadline, and the end of their
//! output in errors.
//!
//! The connection reaches the program in libpq's environment variables, the password in a file that
//! only this user can read: nothing of it is in an argument, where `ps` would show it.

use std::{
    io::Write as _,
    process::{ExitStatus, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
};
use tokio_util::sync::CancellationToken;
use upshift_shared::{Error, Result, pg::Target};

/// So much of the end of a program's output goes into an error.
const TAIL: usize = 2000;

/// How long what a program has left is listened to: what it said itself is read by then.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How long a program has to end by itself once it is asked to.
const GRACE: Duration = Duration::from_secs(5);

/// A program to run.
#[derive(Debug)]
pub struct Program<'a> {
    /// Itself and its arguments.
    pub words: Vec<String>,
    /// What it reaches by libpq's environment variables.
    pub target: &'a Target,
    /// What its sessions are called in `pg_stat_activity`.
    pub application_name: String,
    /// After this it is ended.
    pub timeout: Duration,
    /// What it finds in its environment beside that.
    pub environment: Vec<(String, String)>,
    /// What it has started may go on when it has ended well; else it is waited for as long as that
    /// holds its output.
    pub leaves_others: bool,
}

impl Program<'_> {
    /// Runs it to its end.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is not there, fails or does not end in time, with the end of its
    /// output; [`Error::Io`] when it was cancelled.
    pub async fn run(self, cancel: &CancellationToken) -> Result<()> {
        self.output(cancel).await.map(|_| ())
    }

    /// The same; the end of its output.
    ///
    /// # Errors
    /// See [`Self::run`].
    pub async fn output(self, cancel: &CancellationToken) -> Result<String> {
        let Self {
            words,
            target,
            application_name,
            timeout,
            environment,
            leaves_others,
        } = self;
        let mut words = words.into_iter();
        let program = words
            .next()
            .ok_or_else(|| Error::Refused("a command has no word: give it a program".into()))?;
        let context = format!("running {program}");
        let io = |source| Error::Io {
            context: context.clone(),
            source,
        };
        let secrets = PasswordFile::write(target).map_err(io)?;
        let mut command = Command::new(&program);
        command
            .args(words)
            .envs(environment)
            .envs(target.environment())
            .env("PGAPPNAME", application_name)
            .env_remove("PGPASSWORD")
            .env_remove("PGSERVICE")
            .env("PGPASSFILE", secrets.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that what it starts ends with it.
            .process_group(0);
        let mut child = command.spawn().map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::Refused(format!(
                "{program} was not found: install it, or give its whole path"
            )),
            _ => io(source),
        })?;
        let group = Group::of(&child);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (out, err) = (Tail::default(), Tail::default());
        let reading = async { tokio::join!(out.read(stdout), err.read(stderr)) };
        let status = tokio::select! {
            status = ended(&mut child, reading, leaves_others) => status.map_err(io)?,
            () = tokio::time::sleep(timeout) => {
                group.end(&mut child).await;
                let output = said(&out, &err, target);
                let output = match output.is_empty() {
                    true => output,
                    false => format!(". The end of its output:\n{output}"),
                };
                return Err(Error::Refused(format!(
                    "{program} did not end within {timeout:?} and was ended: give it a longer \
                     timeout{output}"
                )));
            }
            () = cancel.cancelled() => {
                group.end(&mut child).await;
                return Err(Error::Io {
                    context,
                    source: std::io::Error::new(std::io::ErrorKind::Interrupted, "cancelled"),
                });
            }
        };
        group.disarm();
        judge(&program, status, said(&out, &err, target))
    }
}

/// Waits until a program has ended and what it said is read.
async fn ended(
    child: &mut Child,
    reading: impl Future<Output = ((), ())>,
    leaves_others: bool,
) -> std::io::Result<ExitStatus> {
    let mut reading = std::pin::pin!(reading);
    let status = tokio::select! {
        status = child.wait() => status?,
        ((), ()) = &mut reading => return child.wait().await,
    };
    if leaves_others {
        // What it has said itself is there.
        let _others = tokio::time::timeout(LAST_WORDS, reading).await;
    } else {
        reading.await;
    }
    Ok(status)
}

/// The end of what a program said: of its errors, where it told any.
fn said(out: &Tail, err: &Tail, target: &Target) -> String {
    let (out, err) = (out.text(), err.text());
    let output = if err.trim().is_empty() { out } else { err };
    match target.password() {
        Some(password) if !password.is_empty() => output.replace(password, "…"),
        _ => output,
    }
}

fn judge(program: &str, status: ExitStatus, output: String) -> Result<String> {
    if status.success() {
        return Ok(output);
    }
    Err(Error::Refused(format!(
        "{program} failed ({status}); mend the cause, then resume. The end of its output:\n{}",
        output.trim_end()
    )))
}

/// The last part of what a program says.
#[derive(Default)]
struct Tail(Mutex<Vec<u8>>);

impl Tail {
    /// Reads to the end.
    async fn read(&self, stream: Option<impl AsyncRead + Unpin>) {
        let Some(mut stream) = stream else {
            return;
        };
        let mut buffer = [0_u8; 1024];
        // A stream that cannot be read has ended.
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend_from_slice(&buffer[..read]);
            if kept.len() > 2 * TAIL {
                let rest = kept.len() - TAIL;
                kept.drain(..rest);
            }
        }
    }

    fn text(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = kept.len().saturating_sub(TAIL);
        String::from_utf8_lossy(&kept[start..]).into_owned()
    }
}

/// The password, where libpq looks for it. Removed when dropped.
struct PasswordFile {
    file: tempfile::NamedTempFile,
}

impl PasswordFile {
    fn write(target: &Target) -> std::io::Result<Self> {
        // Created with mode 0600.
        let mut file = tempfile::Builder::new().prefix("upshift-").tempfile()?;
        if let Some(password) = target.password() {
            let escaped = password.replace('\\', "\\\\").replace(':', "\\:");
            writeln!(file, "*:*:*:*:{escaped}")?;
        }
        file.flush()?;
        Ok(Self { file })
    }

    fn path(&self) -> &std::path::Path {
        self.file.path()
    }
}

/// The program's process group; killed when dropped, so that a unit that is dropped leaves nothing
/// running.
struct Group {
    id: Option<Pid>,
    armed: AtomicBool,
}

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self {
            id: id.map(Pid::from_raw),
            armed: AtomicBool::new(true),
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(id) = self.id {
            // It may have ended by itself.
            let _ignored = killpg(id, signal);
        }
    }

    async fn end(&self, child: &mut Child) {
        self.signal(Signal::SIGTERM);
        let _ended = tokio::time::timeout(GRACE, child.wait()).await;
        self.signal(Signal::SIGKILL);
        let _reaped = child.wait().await;
        self.disarm();
    }

    fn disarm(&self) {
        self.armed.store(false, Ordering::Relaxed);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.armed.load(Ordering::Relaxed) {
            self.signal(Signal::SIGKILL);
        }
    }
}
