//! Exec: an external program with the database as its argument.
//!
//! Advances its unit to `started` before and `done` after; it has to be repeatable, because nobody
//! knows how far an attempt came that was killed. Aborted by an exit code other than 0 and by its
//! timeout. Undone by its own undo command.
//!
//! The connection reaches the program in libpq's environment variables, the password in a file that
//! only this user can read: nothing of it is in an argument, where `ps` would show it.

use std::{
    io::Write as _,
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
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
use upshift_shared::{Error, Result, pg::Target, plan::Exec};

use super::UnitContext;

/// So much of the end of a program's output goes into an error.
const TAIL: usize = 2000;

/// How long a program has to end by itself once it is asked to.
const GRACE: Duration = Duration::from_secs(5);

/// Runs a command to its end.
pub(super) async fn run(unit: &UnitContext<'_>, op: &Exec, command: &[String]) -> Result<u64> {
    let database = unit.target.database();
    let mut words = command
        .iter()
        .map(|word| word.replace("{database}", database));
    let program = words
        .next()
        .ok_or_else(|| Error::Refused("exec has no command: give it a program".into()))?;
    let context = format!("running {program}");
    let io = |source| Error::Io {
        context: context.clone(),
        source,
    };
    let secrets = PasswordFile::write(unit.target).map_err(io)?;
    let mut command = Command::new(&program);
    command
        .args(words)
        .envs(unit.target.environment())
        .env("PGAPPNAME", unit.application_name())
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
    let finished = async {
        let (out, err, status) = tokio::join!(tail(stdout), tail(stderr), child.wait());
        status.map(|status| (status, out, err))
    };
    let timeout = Duration::from_secs(op.timeout_seconds);
    let outcome = tokio::select! {
        finished = finished => finished.map_err(io)?,
        () = tokio::time::sleep(timeout) => {
            group.end(&mut child).await;
            return Err(Error::Refused(format!(
                "{program} did not end within {} s and was ended: give it a longer timeout",
                timeout.as_secs()
            )));
        }
        () = unit.cancel.cancelled() => {
            group.end(&mut child).await;
            return Err(Error::Io {
                context,
                source: std::io::Error::new(std::io::ErrorKind::Interrupted, "cancelled"),
            });
        }
    };
    group.disarm();
    judge(&program, outcome, unit.target)
}

fn judge(
    program: &str,
    (status, out, err): (ExitStatus, String, String),
    target: &Target,
) -> Result<u64> {
    if status.success() {
        return Ok(0);
    }
    let output = if err.trim().is_empty() { out } else { err };
    let output = match target.password() {
        Some(password) if !password.is_empty() => output.replace(password, "…"),
        _ => output,
    };
    Err(Error::Refused(format!(
        "{program} failed ({status}); mend the cause, then resume. The end of its output:\n{}",
        output.trim_end()
    )))
}

/// Reads to the end and keeps the last part.
async fn tail(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else {
        return String::new();
    };
    let mut kept: Vec<u8> = Vec::with_capacity(2 * TAIL);
    let mut buffer = [0_u8; 1024];
    // A stream that cannot be read has ended.
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..read]);
        if kept.len() > 2 * TAIL {
            kept.drain(..kept.len() - TAIL);
        }
    }
    let start = kept.len().saturating_sub(TAIL);
    String::from_utf8_lossy(&kept[start..]).into_owned()
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
