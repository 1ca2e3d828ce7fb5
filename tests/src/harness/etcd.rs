//! A throwaway cluster of etcd on loopback. Each member runs below a supervising shell that ends with
//! the test's process, and members can be killed, paused and started again.

use std::{
    net::TcpListener,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, geteuid},
};
use tempfile::TempDir;
use upshift_coordinator::coordination::{Etcd, EtcdOptions};

/// Says which process the member is, and ends it when its own input ends.
const SUPERVISOR: &str = r#""$@" >/dev/null 2>&1 &
member=$!
echo "$member"
read -r _
kill -KILL "$member"
wait "$member"
"#;

/// A cluster of etcd.
pub struct EtcdCluster {
    directory: TempDir,
    members: Vec<Member>,
}

struct Member {
    client_port: u16,
    peer_port: u16,
    running: Option<Running>,
}

struct Running {
    supervisor: Child,
    process: Pid,
}

impl EtcdCluster {
    /// Starts so many members.
    ///
    /// # Errors
    /// Where there is no etcd, or it cannot be started.
    pub fn start(members: usize) -> Result<Self> {
        let directory = TempDir::new()?;
        own(directory.path())?;
        let members = (0..members).map(|_| {
            Ok(Member {
                client_port: free_port()?,
                peer_port: free_port()?,
                running: None,
            })
        });
        let mut cluster = Self {
            directory,
            members: members.collect::<Result<_>>()?,
        };
        for member in 0..cluster.members.len() {
            cluster.start_member(member)?;
        }
        Ok(cluster)
    }

    /// How to reach it, below a prefix of its own.
    #[must_use]
    pub fn options(&self, prefix: &str, lease: Duration) -> EtcdOptions {
        let endpoints = self.members.iter();
        EtcdOptions {
            endpoints: endpoints
                .map(|member| format!("http://127.0.0.1:{}", member.client_port))
                .collect(),
            prefix: prefix.to_owned(),
            lease,
            user: None,
            tls: None,
        }
    }

    /// A client of it.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn client(&self, prefix: &str, lease: Duration) -> Result<Etcd> {
        Ok(Etcd::connect(&self.options(prefix, lease)).await?)
    }

    /// kill -9 of a member; its data stay.
    pub fn kill_member(&mut self, member: usize) {
        self.members[member].running = None;
    }

    /// Stops all members from doing anything, or lets them go on.
    ///
    /// # Errors
    /// Where a member is gone.
    pub fn pause(&self, paused: bool) -> Result<()> {
        let signal = if paused {
            Signal::SIGSTOP
        } else {
            Signal::SIGCONT
        };
        for running in self
            .members
            .iter()
            .filter_map(|member| member.running.as_ref())
        {
            kill(running.process, signal)?;
        }
        Ok(())
    }

    /// Starts a member, or starts it again on its data.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start_member(&mut self, number: usize) -> Result<()> {
        let peer = |port: u16| format!("http://127.0.0.1:{port}");
        let all: Vec<String> = self
            .members
            .iter()
            .enumerate()
            .map(|(number, member)| format!("m{number}={}", peer(member.peer_port)))
            .collect();
        let member = &mut self.members[number];
        let (own_peer, own_client) = (peer(member.peer_port), peer(member.client_port));
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SUPERVISOR, "etcd-supervisor", "etcd"])
            .args(["--name", &format!("m{number}"), "--data-dir"])
            .arg(self.directory.path().join(format!("m{number}")))
            .args(["--listen-client-urls", &own_client])
            .args(["--advertise-client-urls", &own_client])
            .args(["--listen-peer-urls", &own_peer])
            .args(["--initial-advertise-peer-urls", &own_peer])
            .args(["--initial-cluster", &all.join(",")])
            .args(["--initial-cluster-state", "new"])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .current_dir(self.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some((uid, gid)) = unprivileged() {
            command.uid(uid).gid(gid);
        }
        let mut supervisor = command.spawn().context("starting etcd")?;
        let output = supervisor.stdout.take().context("its output is piped")?;
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)?;
        let Ok(process) = line.trim().parse() else {
            bail!("etcd was not started: is Debian's etcd-server installed?");
        };
        member.running = Some(Running {
            supervisor,
            process: Pid::from_raw(process),
        });
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that is paused would not end before it goes on.
        let _gone = kill(self.process, Signal::SIGCONT);
        drop(self.supervisor.stdin.take());
        let _ended = self.supervisor.wait();
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Who members run as, where this process is root.
fn unprivileged() -> Option<(u32, u32)> {
    if !geteuid().is_root() {
        return None;
    }
    let user = User::from_name("nobody").ok().flatten()?;
    Some((user.uid.as_raw(), user.gid.as_raw()))
}

fn own(path: &Path) -> Result<()> {
    if let Some((uid, gid)) = unprivileged() {
        std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
    }
    Ok(())
}
