//! The cluster: a three-member etcd, a PostgreSQL server, two coordinators and two workers with certificates
//! of their own, each on a host of its own.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use upshift_coordinator::demo::cluster::find_client;
use upshift_shared::clock::Stopwatch;

use super::fault::{COORDINATORS, DATABASE, Fault, MEMBERS, OPERATOR, WORKERS};
use crate::{
    cluster,
    harness::{
        Database, EtcdCluster, HostPostgres, Network, Running, Slowness, Upshift, repository,
    },
    small_erp,
};

/// Nothing that has to happen may take longer, once all is mended.
const DEADLINE: Duration = Duration::from_secs(150);
/// The database's name.
const NAME: &str = "erp";

/// The cluster. What is first is dropped first: programs end before their hosts do.
pub struct World {
    parts: BTreeMap<&'static str, Running>,
    etcd: EtcdCluster,
    postgres: HostPostgres,
    crashed: bool,
    killed_members: Vec<usize>,
    /// What parts have said that have ended.
    said: Vec<String>,
    network: Network,
    folder: TempDir,
}

impl World {
    /// All of it, with a coordinator that leads; `None` where hosts cannot be had here.
    ///
    /// # Errors
    /// Where something cannot be started.
    pub fn or_skip() -> Result<Option<Self>> {
        let names = [
            &COORDINATORS[..],
            &WORKERS[..],
            &MEMBERS[..],
            &[DATABASE, OPERATOR],
        ]
        .concat();
        let Some(network) = Network::or_skip(&names)? else {
            return Ok(None);
        };
        let hosts = MEMBERS.map(|name| network.host(name));
        let etcd = EtcdCluster::start_on(&hosts)?;
        let postgres = HostPostgres::start(network.host(DATABASE))?;
        postgres.psql("postgres", &format!("CREATE DATABASE {NAME}"))?;
        let schema = repository().join("tests/packs/small_erp.sql");
        postgres.psql(NAME, &fs::read_to_string(schema)?)?;
        let mut world = Self {
            parts: BTreeMap::new(),
            etcd,
            postgres,
            crashed: false,
            killed_members: Vec::new(),
            said: Vec::new(),
            folder: TempDir::new()?,
            network,
        };
        world.configure()?;
        world.mend()?;
        Ok(Some(world))
    }

    /// Certificates, and a configuration for every host.
    fn configure(&self) -> Result<()> {
        let certs = self.folder.path().join("certs");
        let mut make = Upshift::new(["certs"]).argument(&certs);
        for name in COORDINATORS {
            let address = self.network.host(name).address().to_string();
            make = make.arguments(&["--host", &address]);
        }
        make.succeed()?;
        let roles = [
            ("coordinator", &COORDINATORS[..]),
            ("worker", &WORKERS[..]),
            ("operator", &[OPERATOR]),
        ];
        let password = self.folder.path().join("pgpass");
        for (role, names) in roles {
            for name in names {
                let address = self.network.host(name).address();
                let text = format!(
                    "[cluster]\nname = \"chaos\"\netcd = {:?}\nlease = \"2s\"\nlisten = \"{address}:7432\"\n\
                     [cluster.tls]\nca = {:?}\ncertificate = {:?}\nkey = {:?}\n\
                     [databases.{NAME}]\nurl = \"postgresql://postgres@{}/{NAME}?connect_timeout=3\"\n\
                     passfile = {password:?}\n",
                    self.etcd.endpoints(),
                    certs.join("ca.pem"),
                    certs.join(format!("{role}.pem")),
                    certs.join(format!("{role}.key")),
                    self.postgres.place(),
                );
                fs::write(self.file(name), text)?;
            }
        }
        let line = format!("*:*:*:*:{}\n", self.postgres.cluster().password());
        fs::write(&password, line)?;
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        Ok(fs::set_permissions(password, private)?)
    }

    fn file(&self, host: &str) -> PathBuf {
        self.folder.path().join(format!("{host}.toml"))
    }

    fn upshift(&self, host: &str, words: &[&str]) -> Upshift {
        Upshift::new(["--config"])
            .argument(self.file(host))
            .arguments(words)
            .variable("UPSHIFT_LOG", "warn")
            .on_host(self.network.host(host))
    }

    /// Lets something happen.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub fn befall(&mut self, fault: &Fault) -> Result<()> {
        let host = |name: &str| self.network.host(name);
        match fault {
            Fault::Kill(name) => host(name).kill()?,
            Fault::Pause(name) => host(name).pause()?,
            Fault::Stop(name) => {
                if let Some(part) = self.parts.get(name) {
                    // It may have ended by itself.
                    let _ended = part.signal(Signal::SIGTERM);
                }
            }
            Fault::OneWay(from, to) => self.network.cut_one_way(host(from), host(to))?,
            Fault::Cut(one, other) => self.network.cut(host(one), host(other))?,
            Fault::Isolate(name) => self.network.isolate(host(name))?,
            Fault::Slow(from, to) => {
                let how = Slowness {
                    delay: Duration::from_millis(40),
                    loss: 0.02,
                    seed: 1,
                };
                self.network.slow(host(from), host(to), how)?;
            }
            Fault::KillMember(member) => {
                self.etcd.kill_member(*member);
                self.killed_members.push(*member);
            }
            Fault::Crash => {
                // What PostgreSQL has drawn ahead of sequences for its log is lost in a crash, whoever uses
                // it: up to 32 values (its source, sequence.c, SEQ_LOG_VALS). A server that cannot make a
                // checkpoint now is one that another fault has struck.
                let ready = self.postgres.psql("postgres", "CHECKPOINT").is_ok();
                if !self.crashed && ready {
                    self.postgres.crash()?;
                    self.crashed = true;
                }
            }
        }
        Ok(())
    }

    /// Mends whatever is broken: whoever has ended is started again.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub fn mend(&mut self) -> Result<()> {
        self.network.heal_all()?;
        for name in COORDINATORS.into_iter().chain(WORKERS) {
            self.network.host(name).resume()?;
        }
        self.killed_members.sort_unstable();
        self.killed_members.dedup();
        for member in std::mem::take(&mut self.killed_members) {
            self.etcd.start_member(member)?;
        }
        if std::mem::take(&mut self.crashed) {
            self.postgres.start_again()?;
        }
        for name in COORDINATORS.into_iter().chain(WORKERS) {
            let lives = match self.parts.get_mut(name) {
                Some(part) => !part.has_ended()?,
                None => false,
            };
            if lives {
                continue;
            }
            if let Some(ended) = self.parts.remove(name) {
                let outcome = ended.wait()?;
                self.said
                    .push(format!("{name}: {}\n{}", outcome.stdout, outcome.stderr));
            }
            let words: &[&str] = match COORDINATORS.contains(&name) {
                true => &["coordinator"],
                false => &["worker", "--slots", "2"],
            };
            let part = self.upshift(name, words).start()?;
            self.parts.insert(name, part);
        }
        Ok(())
    }

    /// What has been said by those that have ended.
    #[must_use]
    pub fn said(&self) -> String {
        self.said.join("\n")
    }

    /// `upshift cluster …`, again until it is answered.
    ///
    /// # Errors
    /// Where it is refused, or not answered in time.
    pub fn operator(&self, words: &[&str]) -> Result<String> {
        let begun = Stopwatch::start();
        loop {
            let words = [&["cluster"], words].concat();
            let outcome = self.upshift(OPERATOR, &words).run()?;
            if outcome.code == Some(0) {
                return Ok(outcome.stdout);
            }
            if outcome.code != Some(1) || begun.elapsed() > DEADLINE {
                bail!("{words:?}: {} {}", outcome.stdout, outcome.stderr);
            }
        }
    }

    /// Submits the small ERP's pack; the run's id.
    ///
    /// # Errors
    /// Where it is refused.
    pub fn submit(&self, options: &[&str]) -> Result<String> {
        let pack = small_erp::pack().display().to_string();
        let words = [
            &["submit", "--json", "--database", NAME, &pack, "--"],
            options,
        ]
        .concat();
        cluster::submitted(&self.operator(&words)?)
    }

    /// Whether the run goes on, by the ledger, which answers whatever links are cut; not while its server is
    /// down.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        let state = self.postgres.psql(NAME, "SELECT state FROM upshift.run");
        state.is_ok_and(|state| state == "running")
    }

    /// Waits until nothing is to be done with a run; how it stands then.
    ///
    /// # Errors
    /// Where that takes too long.
    pub fn settled(&self, run: &str) -> Result<Value> {
        cluster::settled(DEADLINE, || {
            cluster::first_run(&self.operator(&["status", run, "--json"])?)
        })
    }

    /// The database, copied to where it can be compared.
    ///
    /// # Errors
    /// Where it cannot be copied.
    pub fn copy(&self) -> Result<Database> {
        let copy = Database::create()?;
        let cluster = self.postgres.cluster();
        let program = find_client(cluster.binaries(), "pg_dump");
        let dump = Command::new(program)
            .args(["--no-owner", "-N", "upshift", "-N", "upshift_kept*", "-d"])
            .arg(cluster.url(NAME))
            .output()?;
        if !dump.status.success() {
            bail!("{}", String::from_utf8_lossy(&dump.stderr));
        }
        let file = self.folder.path().join("copy.sql");
        fs::write(&file, dump.stdout)?;
        copy.psql_file(&file)?;
        Ok(copy)
    }
}
