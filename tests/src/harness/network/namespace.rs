//! Namespaces of Linux without a name: a network, process ids and a host name of their own, for as long as
//! their first process lives. That one ends when its input does, so with the process that made it, however
//! that ends; the kernel then kills whatever else runs in them and takes them away with all their devices.
//! So nothing is ever left over that would have to be swept.

use std::{
    fs::File,
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::{Context, Result};
use nix::{
    sched::{CloneFlags, setns, unshare},
    unistd::sethostname,
};

/// Waits for the end of its input.
const FIRST_PROCESS: [&str; 4] = ["/bin/sh", "-c", "read -r _", "upshift-host-supervisor"];

/// The namespaces of a host.
#[derive(Debug)]
pub(super) struct Namespaces {
    first: Child,
    network: File,
    processes: File,
    host_name: File,
}

impl Namespaces {
    /// Makes them.
    ///
    /// # Errors
    /// Where this process may not.
    pub(super) fn new(name: &str) -> Result<Self> {
        let first = on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWUTS)
                .context("making namespaces")?;
            sethostname(name).context("naming a host")?;
            let [program, arguments @ ..] = FIRST_PROCESS;
            Command::new(program)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .context("starting the first process of a host")
        })?;
        let open = |kind: &str| {
            let file = format!("/proc/{}/ns/{kind}", first.id());
            File::open(&file).with_context(|| format!("opening {file}"))
        };
        Ok(Self {
            network: open("net")?,
            processes: open("pid")?,
            host_name: open("uts")?,
            first,
        })
    }

    /// The process that all the others end with.
    pub(super) fn first(&self) -> u32 {
        self.first.id()
    }

    /// Makes the network and the host name those of the calling thread, and of what it starts.
    pub(super) fn enter(&self) -> Result<()> {
        setns(&self.network, CloneFlags::CLONE_NEWNET).context("entering a network")?;
        setns(&self.host_name, CloneFlags::CLONE_NEWUTS).context("entering a host")
    }

    /// Does something in the network. What it opens and starts there stays there.
    pub(super) fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_a_thread(|| {
            self.enter()?;
            work()
        })
    }

    /// Starts a program that ends with the first process at the latest.
    pub(super) fn spawn(&self, command: &mut Command) -> Result<Child> {
        on_a_thread(|| {
            self.enter()?;
            // From here on this thread can start processes, but no threads.
            setns(&self.processes, CloneFlags::CLONE_NEWPID).context("entering a host")?;
            let child = command.spawn();
            child.with_context(|| format!("starting {}", command.get_program().display()))
        })
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        let _killed = self.first.kill();
        let _ended = self.first.wait();
    }
}

/// A thread's namespaces are its own, and it takes them along when it ends.
fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
