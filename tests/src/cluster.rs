//! A cluster on loopback: etcd, coordinators and workers as processes of their own.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use upshift_coordinator::coordination::{Member, RunEntry};
use upshift_shared::ids::RunId;

use crate::{
    eventually,
    harness::{Database, EtcdCluster, Running, Upshift},
};

/// Nothing that has to happen may take longer.
const DEADLINE: Duration = Duration::from_secs(120);

/// A cluster whose coordinators and workers are yet to be started.
pub struct Cluster {
    /// Its store.
    pub etcd: EtcdCluster,
    folder: TempDir,
    config: String,
}

impl Cluster {
    /// For these databases by their names; `more` is the rest of `[cluster]`, and whatever comes after it.
    ///
    /// # Errors
    /// Where etcd cannot be started.
    pub fn new(members: usize, databases: &[(&str, &Database)], more: &str) -> Result<Self> {
        let etcd = EtcdCluster::start(members)?;
        let urls = etcd.options("", Duration::from_secs(2)).endpoints;
        let mut config = format!(
            "[cluster]\nname = \"test\"\netcd = {urls:?}\nlease = \"2s\"\nlisten = \"127.0.0.1:0\"\n{more}\n"
        );
        for (name, database) in databases {
            config.push_str(&format!(
                "[databases.{name}]\nurl = \"{}\"\n",
                database.url()
            ));
        }
        let cluster = Self {
            etcd,
            folder: TempDir::new()?,
            config,
        };
        fs::write(cluster.file(), &cluster.config)?;
        Ok(cluster)
    }

    /// Adds to what the configuration says of a database.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn configure(&mut self, database: &str, more: &str) -> Result<()> {
        let head = format!("[databases.{database}]\n");
        self.config = self.config.replace(&head, &format!("{head}{more}\n"));
        Ok(fs::write(self.file(), &self.config)?)
    }

    /// Says something else in the configuration.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn replace(&mut self, text: &str, by: &str) -> Result<()> {
        self.config = self.config.replace(text, by);
        Ok(fs::write(self.file(), &self.config)?)
    }

    /// The configuration of all its parts.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("upshift.toml")
    }

    /// Where tests may leave files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A call of `upshift` with the cluster's configuration.
    #[must_use]
    pub fn upshift(&self, arguments: &[&str]) -> Upshift {
        Upshift::new(["--config"])
            .argument(self.file())
            .arguments(arguments)
    }

    /// A coordinator, not yet started.
    #[must_use]
    pub fn coordinator(&self) -> Upshift {
        self.upshift(&["coordinator"])
            .variable("UPSHIFT_LOG", "warn")
    }

    /// A coordinator that leads.
    ///
    /// # Errors
    /// Where it does not come to lead.
    pub fn leader(&self) -> Result<Running> {
        let mut running = self.coordinator().start()?;
        leads(&mut running)?;
        Ok(running)
    }

    /// A worker.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn worker(&self, slots: u32) -> Result<Running> {
        self.upshift(&["worker", "--slots", &slots.to_string()])
            .start()
    }

    /// Submits a pack with these options; the run's id.
    ///
    /// # Errors
    /// Where the coordinator refuses it.
    pub fn submit(&self, pack: &Path, database: &str, options: &[&str]) -> Result<String> {
        let outcome = self
            .upshift(&["cluster", "submit", "--json", "--database", database])
            .argument(pack)
            .arguments(&["--"])
            .arguments(options)
            .succeed()?;
        submitted(&outcome.stdout)
    }

    /// How the cluster says that a run stands.
    ///
    /// # Errors
    /// Where nobody answers.
    pub fn status(&self, run: &str) -> Result<Value> {
        let outcome = self
            .upshift(&["cluster", "status", run, "--json"])
            .succeed()?;
        first_run(&outcome.stdout)
    }

    /// Waits until nothing is to be done with a run; how it stands then.
    ///
    /// # Errors
    /// Where that takes too long.
    pub fn settled(&self, run: &str) -> Result<Value> {
        settled(DEADLINE, || self.status(run))
    }

    /// Waits until a run stands so.
    ///
    /// # Errors
    /// Where that takes too long.
    pub fn stands(&self, run: &str, how: &str, stands: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut status = Value::Null;
        let waited = eventually(&format!("a run that is {how}"), DEADLINE, || {
            status = self.status(run)?;
            Ok(stands(&status))
        });
        waited.with_context(|| format!("it stands: {status}"))?;
        Ok(status)
    }

    /// Waits until the workers that have a session are such.
    ///
    /// # Errors
    /// Where that takes too long.
    pub fn expect_workers(&self, what: &str, are_such: impl Fn(&[Value]) -> bool) -> Result<Value> {
        let mut workers = Value::Null;
        let waited = eventually(what, DEADLINE, || {
            let outcome = self.upshift(&["cluster", "workers", "--json"]).succeed()?;
            workers = serde_json::from_str(&outcome.stdout)?;
            Ok(workers.as_array().is_some_and(|workers| are_such(workers)))
        });
        waited.with_context(|| format!("workers: {workers}"))?;
        Ok(workers)
    }

    /// The same, where it has to be in that state.
    ///
    /// # Errors
    /// Where it is not.
    pub fn expect(&self, run: &str, state: &str) -> Result<Value> {
        let status = self.settled(run)?;
        ensure!(status["state"] == state, "not {state}: {status}");
        Ok(status)
    }
}

/// A cluster with certificates and tokens, and the configurations of its parts.
pub struct Guarded {
    /// Its configuration is not yet that of any part.
    pub cluster: Cluster,
}

impl Guarded {
    /// For that database, `erp`, with these tokens: a role's name, and what who has it shows. `more` is the
    /// rest of `[cluster]`.
    ///
    /// # Errors
    /// Where etcd cannot be started.
    pub fn new(database: &Database, tokens: &[(&str, &str)], more: &str) -> Result<Self> {
        let mut more = format!(
            "{more}\n[cluster.tls]\nca = \"CERTS/ca.pem\"\ncertificate = \"CERTS/ROLE.pem\"\n\
             key = \"CERTS/ROLE.key\"\n"
        );
        for (role, token) in tokens {
            more += &format!(
                "[cluster.tokens.{role}-screen]\nrole = \"{role}\"\nsha256 = \"{}\"\n",
                sha256(token)
            );
        }
        let cluster = Cluster::new(1, &[("erp", database)], &more)?;
        Ok(Self { cluster })
    }

    /// Where the certificates are, in a folder of that name; they are made where there are none.
    ///
    /// # Errors
    /// Where they cannot be made.
    pub fn certificates(&self, folder: &str) -> Result<PathBuf> {
        let certs = self.cluster.folder().join(folder);
        if !certs.is_dir() {
            Upshift::new(["certs"]).argument(&certs).succeed()?;
        }
        Ok(certs)
    }

    /// The configuration of a part, with certificates from that folder, and whatever `change` makes of it.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn file(
        &self,
        (name, role, certs): (&str, &str, &str),
        change: impl Fn(String) -> String,
    ) -> Result<PathBuf> {
        let certs = self.certificates(certs)?;
        let text = fs::read_to_string(self.cluster.file())?
            .replace("CERTS", &certs.display().to_string())
            .replace("ROLE", role);
        let file = self.cluster.folder().join(format!("{name}.toml"));
        fs::write(&file, change(text))?;
        Ok(file)
    }

    /// A call of `upshift` by somebody with a certificate of that role.
    ///
    /// # Errors
    /// Where its configuration cannot be written.
    pub fn call(&self, role: &str, arguments: &[&str]) -> Result<Upshift> {
        let file = self.file((role, role, "certs"), |text| text)?;
        Ok(Upshift::new(["--config"])
            .argument(file)
            .arguments(arguments))
    }
}

/// In hexadecimal digits, as the configuration has tokens.
#[must_use]
pub fn sha256(text: &str) -> String {
    use sha2::{Digest, Sha256};
    let bytes = Sha256::digest(text);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A member for a store of tests.
#[must_use]
pub fn member(name: &str) -> Member {
    Member {
        name: name.to_owned(),
        address: String::new(),
    }
}

/// A prefix in a store that no other test has.
#[must_use]
pub fn prefix() -> String {
    format!("/upshift-test/{}", RunId::generate())
}

/// A run of this database, for a store of tests.
#[must_use]
pub fn run(database: &str) -> RunEntry {
    RunEntry {
        run: RunId::generate(),
        database: database.to_owned(),
        state: "running".to_owned(),
        order: None,
        orders: 0,
        options: Vec::new(),
        closed: false,
        message: String::new(),
        traceparent: None,
    }
}

/// The run's id, from what `upshift cluster submit --json` prints.
///
/// # Errors
/// Where no run was made.
pub fn submitted(printed: &str) -> Result<String> {
    let answer: Value = serde_json::from_str(printed)?;
    let run = answer["run"].as_str().context("it has a number")?;
    ensure!(!run.is_empty(), "there was nothing to do: {answer}");
    Ok(run.to_owned())
}

/// How the first run stands, from what `upshift cluster status --json` prints.
///
/// # Errors
/// Where it is no JSON.
pub fn first_run(printed: &str) -> Result<Value> {
    let status: Value = serde_json::from_str(printed)?;
    Ok(status["runs"][0].clone())
}

/// Waits until nothing is to be done with a run; how it stands then.
///
/// # Errors
/// Where that takes longer than `deadline`.
pub fn settled(deadline: Duration, status: impl Fn() -> Result<Value>) -> Result<Value> {
    let mut last = Value::Null;
    let waited = eventually("the end of a run", deadline, || {
        last = status()?;
        Ok(last["doing"] == "")
    });
    waited.with_context(|| format!("it stands: {last}"))?;
    Ok(last)
}

/// What a process prints behind these words, in one of its lines.
///
/// # Errors
/// Where it ends before.
pub fn told(process: &mut Running, words: &str) -> Result<String> {
    let mut told = None;
    process.read_until(|line| {
        let rest = line.split_once(words).map(|(_, rest)| rest);
        told = rest.and_then(|rest| rest.split([',', ' ', '/']).next().map(str::to_owned));
        told.is_some()
    })?;
    told.with_context(|| format!("it has ended without \"{words}\""))
}

/// Waits until a coordinator leads.
///
/// # Errors
/// Where it ends before.
pub fn leads(coordinator: &mut Running) -> Result<()> {
    let leads = coordinator.read_until(|line| line.ends_with(" leads"))?;
    ensure!(leads, "the coordinator has ended");
    Ok(())
}
