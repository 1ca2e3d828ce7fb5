//! A host: an address, and processes that can be paused and killed all at once.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::MetadataExt,
    process::{Child, Command, ExitStatus},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};
use upshift_shared::clock::Stopwatch;

use super::namespace::Namespaces;

/// What the command line of a shell says that ends others when the test does, and so is no process of
/// the host's own.
const SUPERVISOR: &[u8] = b"-supervisor";
/// How long killed processes may take to be gone.
const KILL_DEADLINE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A host of a network. Clones are the same host.
#[derive(Debug, Clone)]
pub struct Host {
    pub(super) namespaces: Arc<Namespaces>,
    pub(super) number: u8,
    name: String,
}

impl Host {
    pub(super) fn new(name: &str, number: u8) -> Result<Self> {
        Ok(Self {
            namespaces: Arc::new(Namespaces::new(name)?),
            number,
            name: name.to_owned(),
        })
    }

    /// Its name, which is also what `hostname` says there.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, self.number)
    }

    /// Starts a program there. It runs as who the command says, and ends with the test's process at the
    /// latest, as does what it starts. Its number is another there than here.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn spawn(&self, mut command: Command) -> Result<Process> {
        let child = self.start(&mut command)?;
        Ok(Process { child })
    }

    /// The same, for who looks after it.
    pub(in crate::harness) fn start(&self, command: &mut Command) -> Result<Child> {
        self.namespaces.spawn(command)
    }

    /// Does something there: sockets that it opens belong to the host, even when they are used elsewhere,
    /// and so do the programs that it starts. These are not ended with the test.
    ///
    /// # Errors
    /// What the work fails with.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.namespaces.inside(work)
    }

    /// A runtime whose tasks have the host's network: for clients that are to be there.
    ///
    /// # Errors
    /// Where its threads cannot be started.
    pub fn tasks(&self) -> Result<HostTasks> {
        let namespaces = Arc::clone(&self.namespaces);
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .on_thread_start(move || namespaces.enter().expect("the host lives"))
            .build()?;
        Ok(HostTasks {
            runtime: Some(runtime),
        })
    }

    /// Stops all its processes from doing anything (SIGSTOP). Its network goes on.
    ///
    /// # Errors
    /// Where they cannot be told.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// Where they cannot be told.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// kill -9 of all its processes, as when its power fails; returns when they are gone.
    ///
    /// # Errors
    /// Where they cannot be told, or stay.
    pub fn kill(&self) -> Result<()> {
        let begun = Stopwatch::start();
        // Whoever starts others may have started one meanwhile.
        while !self.processes()?.is_empty() {
            self.signal(Signal::SIGKILL)?;
            if begun.elapsed() > KILL_DEADLINE {
                bail!("processes of {} do not end", self.name);
            }
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        for process in self.processes()? {
            match kill(process, signal) {
                // It has just ended.
                Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
                Err(error) => return Err(error).context("signalling a process of a host"),
            }
        }
        Ok(())
    }

    /// What runs there, without the shells that watch over it.
    fn processes(&self) -> Result<Vec<Pid>> {
        let first = self.namespaces.first();
        let network = fs::metadata(format!("/proc/{first}/ns/net"))?.ino();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Ok(entry) = entry else { continue };
            let Some(id) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            // What has ended has no namespace any more.
            let ours = fs::metadata(entry.path().join("ns/net"));
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let mut arguments = line.split(|&byte| byte == 0);
            let watches = arguments.any(|argument| argument.ends_with(SUPERVISOR));
            if ours.is_ok_and(|ours| ours.ino() == network) && !watches {
                found.push(Pid::from_raw(id));
            }
        }
        Ok(found)
    }
}

/// A program on a host. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// The process, with what its command had piped.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends it a signal, such as SIGTERM.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.child.id())?;
        Ok(kill(Pid::from_raw(id), signal)?)
    }

    /// kill -9.
    ///
    /// # Errors
    /// Where it cannot be told.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.child.kill()?;
        Ok(self.child.wait()?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Where that does not come in this time.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let begun = Stopwatch::start();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if begun.elapsed() > deadline {
                bail!("process {} did not end in {deadline:?}", self.child.id());
            }
            thread::sleep(LOOK_AGAIN);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended, and been waited for, before.
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Tasks on a host. Dropped, they end where they are.
#[derive(Debug)]
pub struct HostTasks {
    runtime: Option<Runtime>,
}

impl HostTasks {
    /// Runs a task there.
    pub fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let runtime = self.runtime.as_ref();
        runtime.expect("only drop takes it").spawn(task)
    }

    /// Runs a task there to its end.
    ///
    /// # Errors
    /// What the task fails with.
    pub async fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.spawn(task).await?
    }
}

impl Drop for HostTasks {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
