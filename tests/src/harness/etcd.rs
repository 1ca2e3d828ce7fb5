//! A throwaway cluster of etcd, on loopback or spread over hosts. Each member runs below a supervising
//! shell that ends with the test's process, and members can be killed, paused and started again.

use std::{
    collections::BTreeMap,
    fs,
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use etcd_client::{Certificate, Client, ConnectOptions, TlsOptions};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, geteuid},
};
use tempfile::TempDir;
use upshift_coordinator::coordination::{Etcd, EtcdOptions, EtcdTls};
use upshift_shared::clock::Stopwatch;

use super::{Authority, Host, Identity, scraping};
use crate::eventually;

/// The environment variable that names the folder of etcd's programs, where it is not that of `PATH`:
/// what `deploy/etcd35.sh` prints.
pub const ETCD_VARIABLE: &str = "UPSHIFT_ETCD_BIN";

/// Says which process the member is, and ends it when its own input ends.
const SUPERVISOR: &str = r#""$@" >/dev/null 2>&1 &
member=$!
echo "$member"
read -r _
kill -KILL "$member"
wait "$member"
"#;

/// Arguments of a member with TLS, which is started beside its files.
const SECURED: [&str; 14] = [
    "--trusted-ca-file",
    "authority.pem",
    "--cert-file",
    "member.pem",
    "--key-file",
    "member.key",
    "--client-cert-auth",
    "--peer-trusted-ca-file",
    "authority.pem",
    "--peer-cert-file",
    "member.pem",
    "--peer-key-file",
    "member.key",
    "--peer-client-cert-auth",
];

/// How long members may take until they answer.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// So often a cluster is started whose members end at once.
const START_ATTEMPTS: u32 = 5;

/// A cluster of etcd.
pub struct EtcdCluster {
    directory: TempDir,
    members: Vec<Member>,
    security: Option<Security>,
    /// Arguments besides those of every throwaway member.
    settings: Vec<String>,
}

/// Whom the members and their clients trust.
struct Security {
    authority: Authority,
    client: Identity,
}

struct Member {
    address: String,
    client_port: u16,
    peer_port: u16,
    metrics_port: u16,
    /// Where it is not on this one.
    host: Option<Host>,
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
        Self::start_with(members, false, &[])
    }

    /// The same; the members speak TLS only, with their clients and with each other, ask both for a
    /// certificate, and have these settings besides, as arguments.
    ///
    /// # Errors
    /// Where there is no etcd, or it cannot be started.
    pub fn start_secured(members: usize, settings: &[&str]) -> Result<Self> {
        Self::start_with(members, true, settings)
    }

    /// Starts a member on each of these hosts.
    ///
    /// # Errors
    /// Where there is no etcd, or it cannot be started.
    pub fn start_on(hosts: &[&Host]) -> Result<Self> {
        let members = hosts.iter().map(|host| Member {
            address: host.address().to_string(),
            client_port: 2379,
            peer_port: 2380,
            metrics_port: 2381,
            host: Some((*host).clone()),
            running: None,
        });
        Self::start_all(members.collect(), false, &[])
    }

    fn start_with(members: usize, secured: bool, settings: &[&str]) -> Result<Self> {
        for _ in 0..START_ATTEMPTS {
            let members = free_ports(members)?.into_iter().map(|ports| Member {
                address: "127.0.0.1".to_owned(),
                client_port: ports[0],
                peer_port: ports[1],
                metrics_port: ports[2],
                host: None,
                running: None,
            });
            let cluster = Self::start_all(members.collect(), secured, settings)?;
            if cluster.is_up()? {
                return Ok(cluster);
            }
            eprintln!(
                "a member of etcd has ended at once, perhaps for its ports: others are tried"
            );
        }
        bail!("etcd does not start")
    }

    /// Waits until all members serve; `false` where one has ended instead, as it does where somebody else has
    /// taken one of its ports.
    fn is_up(&self) -> Result<bool> {
        let mut ended = false;
        eventually("members of etcd to serve", START_DEADLINE, || {
            ended = self.members.iter().any(Member::has_ended);
            // They serve metrics last.
            let serve = |member: &Member| member.series().is_ok();
            Ok(ended || self.members.iter().all(serve))
        })?;
        Ok(!ended && !self.members.iter().any(Member::has_ended))
    }

    fn start_all(members: Vec<Member>, secured: bool, settings: &[&str]) -> Result<Self> {
        let directory = TempDir::new()?;
        own(directory.path())?;
        let mut cluster = Self {
            directory,
            members,
            security: None,
            settings: settings.iter().map(|&text| text.to_owned()).collect(),
        };
        if secured {
            cluster.security = Some(cluster.secure()?);
        }
        for member in 0..cluster.members.len() {
            cluster.start_member(member)?;
        }
        Ok(cluster)
    }

    /// Makes the certificates, and leaves those of the members where they look for them.
    fn secure(&self) -> Result<Security> {
        let authority = Authority::new()?;
        let places: Vec<&str> = self.members.iter().map(|member| &*member.address).collect();
        let member = authority.identity("member", &places)?;
        let files = [
            ("authority.pem", authority.certificate()),
            ("member.pem", &member.certificate),
            ("member.key", &member.key),
        ];
        for (name, text) in files {
            let file = self.directory.path().join(name);
            fs::write(&file, text)?;
            own(&file)?;
        }
        Ok(Security {
            client: authority.identity("client", &[])?,
            authority,
        })
    }

    /// How to reach it, below a prefix of its own.
    #[must_use]
    pub fn options(&self, prefix: &str, lease: Duration) -> EtcdOptions {
        let tls = self.security.as_ref().map(|security| EtcdTls {
            authority: security.authority.certificate().to_owned(),
            identity: Some((
                security.client.certificate.clone(),
                security.client.key.clone(),
            )),
        });
        EtcdOptions {
            endpoints: self.endpoints(),
            prefix: prefix.to_owned(),
            lease,
            user: None,
            tls,
        }
    }

    /// The addresses of its members, for clients.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        let members = self.members.iter();
        members
            .map(|member| self.url(member, member.client_port))
            .collect()
    }

    /// The port of a member, for clients.
    #[must_use]
    pub fn client_port(&self, member: usize) -> u16 {
        self.members[member].client_port
    }

    /// A client of etcd itself, for what operators of a cluster do.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn operator(&self, user: Option<(&str, &str)>) -> Result<Client> {
        let mut options = ConnectOptions::new().with_timeout(Duration::from_secs(5));
        if let Some((name, password)) = user {
            options = options.with_user(name, password);
        }
        if let Some(security) = &self.security {
            let authority = Certificate::from_pem(security.authority.certificate());
            let identity =
                etcd_client::Identity::from_pem(&security.client.certificate, &security.client.key);
            let tls = TlsOptions::new().ca_certificate(authority);
            options = options.with_tls(tls.identity(identity));
        }
        let begun = Stopwatch::start();
        loop {
            // A member that has just been started does not answer yet.
            let client = Client::connect(self.endpoints(), Some(options.clone())).await?;
            match client.maintenance_client().status().await {
                Ok(_) => return Ok(client),
                Err(error) if begun.elapsed() > START_DEADLINE => return Err(error.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// What the members have counted since they were started, as they show it to Prometheus: the sum of all
    /// series of this name in which all of these texts occur.
    ///
    /// # Errors
    /// Where a member does not answer.
    pub fn counted(&self, series: &str, having: &[&str]) -> Result<f64> {
        let mut sum = 0.0;
        for member in self
            .members
            .iter()
            .filter(|member| member.running.is_some())
        {
            sum += member.counted(series, having)?;
        }
        Ok(sum)
    }

    /// The members that lead the others by their own account: two, where one has not noticed yet that
    /// nobody hears it.
    #[must_use]
    pub fn leaders(&self) -> Vec<usize> {
        let members = self.members.iter().enumerate();
        members
            .filter(|(_, member)| {
                let leads = member.counted("etcd_server_is_leader", &[]);
                leads.is_ok_and(|leads| leads > 0.5)
            })
            .map(|(number, _)| number)
            .collect()
    }

    /// Whether one leads, and every member is in touch with every other one: only then does etcd bear the
    /// next fault of a member.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let others = self.members.len() as f64 - 1.0;
        let in_touch = |member: &Member| {
            let has_leader = member.counted("etcd_server_has_leader", &[])?;
            let peers = member.counted("etcd_network_active_peers", &[])?;
            Ok::<bool, anyhow::Error>(has_leader > 0.5 && peers > others - 0.5)
        };
        self.leaders().len() == 1
            && self
                .members
                .iter()
                .all(|member| in_touch(member).is_ok_and(|in_touch| in_touch))
    }

    fn url(&self, member: &Member, port: u16) -> String {
        let scheme = if self.security.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}:{port}", member.address)
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
        let all: Vec<String> = self
            .members
            .iter()
            .enumerate()
            .map(|(number, member)| format!("m{number}={}", self.url(member, member.peer_port)))
            .collect();
        let member = &self.members[number];
        let own_peer = self.url(member, member.peer_port);
        let own_client = self.url(member, member.client_port);
        let own_metrics = format!("http://{}:{}", member.address, member.metrics_port);
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SUPERVISOR, "etcd-supervisor"])
            .arg(program())
            .args(["--name", &format!("m{number}"), "--data-dir"])
            .arg(self.directory.path().join(format!("m{number}")))
            .args(["--listen-client-urls", &own_client])
            .args(["--advertise-client-urls", &own_client])
            .args(["--listen-peer-urls", &own_peer])
            .args(["--initial-advertise-peer-urls", &own_peer])
            .args(["--listen-metrics-urls", &own_metrics])
            .args(["--initial-cluster", &all.join(",")])
            .args(["--initial-cluster-state", "new"])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .args(&self.settings)
            .args(self.security.iter().flat_map(|_| SECURED))
            .current_dir(self.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some((uid, gid)) = unprivileged() {
            command.uid(uid).gid(gid);
        }
        let mut start = || command.spawn().context("starting etcd");
        let mut supervisor = match &member.host {
            Some(host) => host.inside(start)?,
            None => start()?,
        };
        let output = supervisor.stdout.take().context("its output is piped")?;
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)?;
        let Ok(process) = line.trim().parse() else {
            bail!("etcd was not started: install Debian's etcd-server, or see {ETCD_VARIABLE}");
        };
        self.members[number].running = Some(Running {
            supervisor,
            process: Pid::from_raw(process),
        });
        Ok(())
    }
}

impl Member {
    fn counted(&self, series: &str, having: &[&str]) -> Result<f64> {
        let counted = self.series()?.into_iter().filter(|(name, _)| {
            let labels = name.strip_prefix(series);
            labels.is_some_and(|labels| {
                (labels.is_empty() || labels.starts_with('{'))
                    && having.iter().all(|text| labels.contains(text))
            })
        });
        Ok(counted.map(|(_, value)| value).sum())
    }

    /// Whether it was started and is no longer. It stays a zombie as long as its supervisor lives.
    fn has_ended(&self) -> bool {
        self.running.as_ref().is_some_and(|running| {
            let stat = fs::read_to_string(format!("/proc/{}/stat", running.process));
            stat.map_or(true, |stat| {
                let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
                state.is_none_or(|state| state.starts_with('Z'))
            })
        })
    }

    /// What it shows to Prometheus.
    fn series(&self) -> Result<BTreeMap<String, f64>> {
        let connect = || Ok(TcpStream::connect((&*self.address, self.metrics_port))?);
        let stream = match &self.host {
            Some(host) => host.inside(connect)?,
            None => connect()?,
        };
        scraping::shown(stream)
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

/// etcd itself: of the folder that the environment names, else of `PATH`.
fn program() -> PathBuf {
    match std::env::var_os(ETCD_VARIABLE) {
        Some(folder) => Path::new(&folder).join("etcd"),
        None => PathBuf::from("etcd"),
    }
}

/// Ports for so many members that nobody has now; somebody else may take one before a member does.
fn free_ports(members: usize) -> Result<Vec<[u16; 3]>> {
    // All are held until the last is found.
    let bind = |_| Ok(TcpListener::bind(("127.0.0.1", 0))?);
    let held: Vec<TcpListener> = (0..members * 3).map(bind).collect::<Result<_>>()?;
    let ports = held.iter().map(|held| Ok(held.local_addr()?.port()));
    let ports: Vec<u16> = ports.collect::<Result<_>>()?;
    Ok(ports.as_chunks().0.to_vec())
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
