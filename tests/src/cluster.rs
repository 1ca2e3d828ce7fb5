//! A cluster on loopback: etcd, coordinators and workers as processes of their own.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use upshift_coordinator::coordination::{Member, RunEntry};
use upshift_shared::{clock::Stopwatch, ids::RunId};

use crate::harness::{Database, EtcdCluster, Running, Upshift};

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
    pub fn folder(&self) -> &std::path::Path {
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
    pub fn submit(
        &self,
        pack: &std::path::Path,
        database: &str,
        options: &[&str],
    ) -> Result<String> {
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
        let begun = Stopwatch::start();
        loop {
            let status = self.status(run)?;
            if stands(&status) {
                return Ok(status);
            }
            if begun.elapsed() > DEADLINE {
                bail!("the run does not come to be {how}: {status}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until the workers that have a session are such.
    ///
    /// # Errors
    /// Where that takes too long.
    pub fn expect_workers(&self, what: &str, are_such: impl Fn(&[Value]) -> bool) -> Result<Value> {
        let begun = Stopwatch::start();
        loop {
            let outcome = self.upshift(&["cluster", "workers", "--json"]).succeed()?;
            let workers: Value = serde_json::from_str(&outcome.stdout)?;
            if workers.as_array().is_some_and(|workers| are_such(workers)) {
                return Ok(workers);
            }
            if begun.elapsed() > DEADLINE {
                bail!("workers that are not {what}: {workers}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
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

/// A member for a store of tests.
#[must_use]
pub fn member(name: &str) -> Member {
    Member {
        name: name.to_owned(),
        address: String::new(),
    }
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
    let begun = Stopwatch::start();
    loop {
        let status = status()?;
        if status["doing"] == "" {
            return Ok(status);
        }
        if begun.elapsed() > deadline {
            bail!("the run does not end: {status}");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
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

/// What is shown to Prometheus at `ADDRESS:PORT`: the values of all series, labels being a part of the name.
///
/// # Errors
/// Where nobody answers, or a line is none of the format.
pub fn scrape(address: &str) -> Result<BTreeMap<String, f64>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer of HTTP")?;
    ensure!(head.contains(" 200 "), "{head}");
    let series = body
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let parsed = series.map(|line| {
        let (name, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
        Ok((
            name.to_owned(),
            value.parse().with_context(|| line.to_owned())?,
        ))
    });
    parsed.collect()
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
