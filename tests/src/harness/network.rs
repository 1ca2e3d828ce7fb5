//! Hosts on one machine: each is a network namespace with an address of its own, joined to the others by a
//! bridge, in a namespace too, so that nothing of this machine's network is touched. Links between them are
//! cut, in one direction or both, or slowed down. Needs root, iproute2 and iptables.
//!
//! A packet that is cut off is dropped where it arrives: its sender learns nothing of it.

mod host;
mod namespace;
mod postgres;
mod slow;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

pub use host::{Host, HostTasks, Process};
pub use postgres::HostPostgres;
pub use slow::Slowness;

use namespace::Namespaces;
use slow::SlowLink;

/// Where this is set, a test that cannot make hosts fails instead of saying that it is skipped.
pub const REQUIRED_VARIABLE: &str = "UPSHIFT_REQUIRE_HOSTS";

/// Hosts and what joins them. Dropped, all of it ends.
#[derive(Debug)]
pub struct Network {
    hosts: Vec<Host>,
    faults: Mutex<Faults>,
    /// Where the bridge is; it goes with its namespace.
    _bridge: Namespaces,
}

/// A direction between two hosts, by their numbers.
type Link = (u8, u8);

#[derive(Debug, Default)]
struct Faults {
    cut: BTreeSet<Link>,
    slow: BTreeMap<Link, SlowLink>,
}

impl Network {
    /// Makes hosts of these names. Where that cannot be done here, says so loudly and returns `None`: the
    /// test is to end then.
    ///
    /// # Errors
    /// Where it fails, or [`REQUIRED_VARIABLE`] is set and it cannot be done.
    pub fn or_skip(names: &[&str]) -> Result<Option<Self>> {
        match Self::obstacle() {
            None => Self::new(names).map(Some),
            Some(why) if std::env::var_os(REQUIRED_VARIABLE).is_some() => {
                bail!("hosts cannot be made here: {why}")
            }
            Some(why) => {
                eprintln!("SKIPPED: hosts cannot be made here: {why}");
                Ok(None)
            }
        }
    }

    /// Why no hosts can be made here, if so.
    #[must_use]
    pub fn obstacle() -> Option<String> {
        if !geteuid().is_root() {
            return Some("only root may make network namespaces: run the tests as root".to_owned());
        }
        for (program, package) in [("ip", "iproute2"), ("iptables-restore", "iptables")] {
            let found = Command::new(program)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            if found.is_err() {
                return Some(format!("there is no {program}: install {package}"));
            }
        }
        let tried = Namespaces::new("tried");
        tried.err().map(|error| format!("{error:#}"))
    }

    /// Makes hosts of these names.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub fn new(names: &[&str]) -> Result<Self> {
        let bridge = Namespaces::new("bridge")?;
        let mut hosts = Vec::new();
        let mut joins =
            "link set lo up\nlink add joins type bridge\nlink set joins up\n".to_owned();
        for (name, number) in names.iter().zip(1_u8..) {
            let host = Host::new(name, number)?;
            let process = host.namespaces.first();
            joins += &format!(
                "link add h{number} type veth peer name eth0 netns {process}\n\
                 link set h{number} master joins up\n"
            );
            hosts.push(host);
        }
        bridge.inside(|| fed("ip", &["-batch", "-"], &joins))?;
        for host in &hosts {
            let up = format!(
                "link set lo up\naddress add {}/24 dev eth0\nlink set eth0 up\n",
                host.address()
            );
            host.inside(|| fed("ip", &["-batch", "-"], &up))?;
        }
        Ok(Self {
            hosts,
            faults: Mutex::default(),
            _bridge: bridge,
        })
    }

    /// The host of this name.
    ///
    /// # Panics
    /// Where there is none.
    #[must_use]
    pub fn host(&self, name: &str) -> &Host {
        let mut hosts = self.hosts.iter();
        let found = hosts.find(|host| host.name() == name);
        found.unwrap_or_else(|| panic!("no host is called {name}"))
    }

    /// All hosts.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Starts a program on a host.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn spawn(&self, host: &str, command: Command) -> Result<Process> {
        self.host(host).spawn(command)
    }

    /// Nothing that one says reaches the other any more; what the other says still arrives.
    ///
    /// # Errors
    /// Where netfilter refuses.
    pub fn cut_one_way(&self, from: &Host, to: &Host) -> Result<()> {
        self.change(|faults| {
            faults.cut.insert((from.number, to.number));
            Ok(())
        })
    }

    /// Neither hears of the other.
    ///
    /// # Errors
    /// Where netfilter refuses.
    pub fn cut(&self, one: &Host, other: &Host) -> Result<()> {
        self.change(|faults| {
            faults.cut.insert((one.number, other.number));
            faults.cut.insert((other.number, one.number));
            Ok(())
        })
    }

    /// One hears of no other, and no other of it.
    ///
    /// # Errors
    /// Where netfilter refuses.
    pub fn isolate(&self, host: &Host) -> Result<()> {
        let others = self
            .hosts
            .iter()
            .filter(|other| other.number != host.number);
        for other in others {
            self.cut(host, other)?;
        }
        Ok(())
    }

    /// What one says reaches the other late, or not at all. Both ways are slow if both are slowed down.
    ///
    /// # Errors
    /// Where netfilter refuses.
    pub fn slow(&self, from: &Host, to: &Host, how: Slowness) -> Result<()> {
        self.change(|faults| {
            let link = (from.number, to.number);
            faults.slow.remove(&link);
            let queue = u16::from(from.number);
            let served = SlowLink::serve(Arc::clone(&to.namespaces), queue, how)?;
            faults.slow.insert(link, served);
            Ok(())
        })
    }

    /// Each hears of the other again at once.
    ///
    /// # Errors
    /// Where netfilter refuses.
    pub fn heal(&self, one: &Host, other: &Host) -> Result<()> {
        self.change(|faults| {
            for link in [(one.number, other.number), (other.number, one.number)] {
                faults.cut.remove(&link);
                faults.slow.remove(&link);
            }
            Ok(())
        })
    }

    /// All links are whole.
    ///
    /// # Errors
    /// Where netfilter refuses.
    pub fn heal_all(&self) -> Result<()> {
        self.change(|faults| {
            *faults = Faults::default();
            Ok(())
        })
    }

    /// Changes the faults, and makes them those of all hosts. A queue that nobody serves lets all pass.
    fn change(&self, change: impl FnOnce(&mut Faults) -> Result<()>) -> Result<()> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut faults)?;
        for host in &self.hosts {
            let mut rules = "*filter\n:INPUT ACCEPT\n".to_owned();
            for from in self.hosts.iter() {
                let (link, source) = ((from.number, host.number), from.address());
                if faults.cut.contains(&link) {
                    rules += &format!("-A INPUT -s {source} -j DROP\n");
                }
                if faults.slow.contains_key(&link) {
                    let queue = from.number;
                    rules += &format!(
                        "-A INPUT -s {source} -j NFQUEUE --queue-num {queue} --queue-bypass\n"
                    );
                }
            }
            rules += "COMMIT\n";
            host.inside(|| fed("iptables-restore", &["-w"], &rules))?;
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // What is paused could not be ended by whoever watches over it.
        for host in &self.hosts {
            let _gone = host.resume();
        }
    }
}

/// Runs a program with this input.
fn fed(program: &str, arguments: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    let mut to = child.stdin.take().context("its input is piped")?;
    to.write_all(input.as_bytes())?;
    drop(to);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} fails: {} (it was told: {input})", said.trim());
    }
    Ok(())
}
