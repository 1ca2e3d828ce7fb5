//! A cluster with many runs, and what can be seen of it: limits that hold across runs, workers that are near
//! their databases, what etcd is asked, figures, logs.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::{Connection, PgConnection, Row};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use upshift_tests::{
    cluster::{Cluster, leads, told},
    compare, eventually,
    harness::{Database, Running, Upshift, scrape},
    oracle, small_erp,
};

/// Nothing that has to happen may take longer.
const DEADLINE: Duration = Duration::from_secs(60);

/// Sessions of workers at one instant, by database: all, and those that work on a unit.
type Sample = BTreeMap<String, (i64, i64)>;

const SESSIONS: &str = "-- sessions of workers
SELECT datname::text, count(*), count(*) FILTER (WHERE application_name <> 'upshift worker')
  FROM pg_stat_activity
 WHERE datname = ANY ($1) AND application_name ~ '^upshift (worker|[0-9a-f]{12} t[0-9]+ u[0-9]+)$'
 GROUP BY datname";

/// Looks at the sessions of these databases until `stop`.
async fn samples(
    server: String,
    databases: Vec<String>,
    stop: CancellationToken,
) -> Result<Vec<Sample>> {
    let mut conn = PgConnection::connect(&server).await?;
    let mut samples = Vec::new();
    while !stop.is_cancelled() {
        let rows = sqlx::query(SESSIONS)
            .bind(&databases)
            .fetch_all(&mut conn)
            .await?;
        let sample = rows
            .iter()
            .map(|row| Ok((row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?))));
        samples.push(sample.collect::<Result<_>>()?);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    Ok(samples)
}

/// Six databases of one server; three of them are reached another way, which is another server to Upshift.
struct Six {
    databases: Vec<Database>,
    cluster: Cluster,
}

const NAMES: [&str; 6] = ["a0", "a1", "a2", "b0", "b1", "b2"];
const CAP_OF_ALL: i64 = 3;
const CAP_OF_SERVER: i64 = 2;

impl Six {
    async fn new() -> Result<Self> {
        let mut databases = Vec::new();
        for _ in NAMES {
            databases.push(small_erp::database().await?);
        }
        let url = databases[0].url();
        let socket = url
            .split_once("host=")
            .and_then(|(_, rest)| rest.split('&').next());
        let server = format!(
            "{}:{}",
            socket.context("it has a socket")?,
            databases[0].server().port()
        );
        let more = format!(
            "max_units = {CAP_OF_ALL}\n[servers.\"{server}\"]\nmax_units = {CAP_OF_SERVER}\nmax_runs = 2\n"
        );
        let named: Vec<(&str, &Database)> = NAMES.into_iter().zip(&databases).collect();
        let mut cluster = Cluster::new(1, &named, &more)?;
        cluster.configure("a0", "max_units = 1")?;
        for (name, database) in &named[3..] {
            let password = format!("password_command = [\"echo\", \"{}\"]", database.password());
            cluster.configure(name, &password)?;
            cluster.replace(&database.url(), &database.loopback_url())?;
        }
        Ok(Self { databases, cluster })
    }

    /// Submits the pack to all, at once.
    fn submit(&self) -> Result<Vec<String>> {
        std::thread::scope(|scope| {
            let submit = |name: &'static str| {
                let options = ["--unit-rows", "50", "--passes", "in-place"];
                self.cluster.submit(&small_erp::pack(), name, &options)
            };
            let all = NAMES.map(|name| scope.spawn(move || submit(name)));
            let submitted = all
                .into_iter()
                .map(|one| one.join().expect("it does not panic"));
            submitted.collect()
        })
    }

    fn check(&self, samples: &[Sample]) -> Result<()> {
        let of = |sample: &Sample, from: usize, to: usize| {
            let sessions = self.databases[from..to]
                .iter()
                .filter_map(|d| sample.get(d.name()));
            sessions.fold((0, 0), |(all, units), one| (all + one.0, units + one.1))
        };
        // One look is not of one instant: PostgreSQL copies what one session says after another. What goes
        // on too long is seen by two.
        let both = |pair: &[Sample], from: usize, to: usize| {
            let (one, other) = (of(&pair[0], from, to), of(&pair[1], from, to));
            (one.0.min(other.0), one.1.min(other.1))
        };
        let mut most = 0;
        for pair in samples.windows(2) {
            let (all, units) = both(pair, 0, 6);
            ensure!(
                units <= CAP_OF_ALL,
                "more units than the cluster may: {pair:?}"
            );
            let (on_server, _) = both(pair, 0, 3);
            ensure!(
                on_server <= CAP_OF_SERVER,
                "more connections than the server may: {pair:?}"
            );
            let (on_database, _) = both(pair, 0, 1);
            ensure!(on_database <= 1, "more than the database may: {pair:?}");
            most = most.max(all);
        }
        ensure!(
            most >= 2,
            "{} samples have seen no two sessions at once",
            samples.len()
        );
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_runs_take_turns_within_the_limits() -> Result<()> {
    let six = Six::new().await?;
    let naive = small_erp::database().await?;
    oracle::upgrade(&naive, &small_erp::pack()).await?;
    let cluster = &six.cluster;
    let _leader = cluster.leader()?;
    // Nobody works yet: none of them ends before it is seen how they wait.
    let runs = six.submit()?;
    let waits = |run: &String| -> Result<bool> {
        let status = cluster.status(run)?;
        let why = status["message"].as_str().unwrap_or_default();
        Ok(status["doing"] == "waiting" && why.ends_with("has as many runs as it may, which is 2"))
    };
    eventually("one of three waits for its turn", DEADLINE, || {
        let waiting = runs[..3].iter().map(waits).collect::<Result<Vec<_>>>()?;
        let others = runs[3..].iter().map(waits).collect::<Result<Vec<_>>>()?;
        ensure!(!others.contains(&true), "their server has no limit");
        Ok(waiting.iter().filter(|waits| **waits).count() == 1)
    })?;
    let stop = CancellationToken::new();
    let server = six.databases[0].server().url("postgres", "postgres");
    let names = six
        .databases
        .iter()
        .map(|database| database.name().to_owned())
        .collect();
    let mut looking = JoinSet::new();
    looking.spawn(samples(server, names, stop.clone()));
    let _workers = [cluster.worker(4)?, cluster.worker(4)?];
    for run in &runs {
        cluster.expect(run, "prepared")?;
    }
    // A commit has a session of the coordinator's, which is beside the limits.
    stop.cancel();
    let seen = looking.join_next().await.context("it looks")???;
    six.check(&seen)?;
    for run in &runs {
        cluster.upshift(&["cluster", "commit", run]).succeed()?;
        cluster.expect(run, "committed")?;
    }
    for database in &six.databases {
        compare::expect_same(&naive, database, "committed").await?;
    }
    Ok(())
}

/// A worker with a label, and where its figures are.
struct Labelled {
    process: Running,
    figures: String,
}

impl Labelled {
    fn start(cluster: &Cluster, label: &str) -> Result<Self> {
        let arguments = [
            "worker",
            "--slots",
            "2",
            "--label",
            label,
            "--metrics",
            "127.0.0.1:0",
        ];
        let mut process = cluster.upshift(&arguments).start()?;
        let figures = told(&mut process, "metrics are served on http://")?;
        Ok(Self { process, figures })
    }

    fn units(&self) -> Result<f64> {
        let all = scrape(&self.figures)?;
        all.get("upshift_worker_units_total")
            .copied()
            .context("it counts units")
    }
}

fn workers(cluster: &Cluster) -> Result<Vec<Value>> {
    let listed = cluster
        .upshift(&["cluster", "workers", "--json"])
        .succeed()?;
    Ok(serde_json::from_str(&listed.stdout)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn units_go_to_workers_that_are_near_while_there_are_any() -> Result<()> {
    let database = small_erp::database().await?;
    let mut cluster = Cluster::new(1, &[("erp", &database)], "")?;
    cluster.configure("erp", "labels = { region = \"eu\" }")?;
    let _leader = cluster.leader()?;
    let near = Labelled::start(&cluster, "region=eu")?;
    let far = Labelled::start(&cluster, "region=us")?;
    eventually("both have joined", DEADLINE, || {
        Ok(workers(&cluster)?.len() == 2)
    })?;
    let listed = workers(&cluster)?;
    let number = |region: &str| {
        let worker = listed
            .iter()
            .find(|worker| worker["labels"]["region"] == region);
        worker.map(|worker| worker["worker"].clone())
    };
    ensure!(number("us").is_some(), "{listed:?}");
    let options = ["--unit-rows", "50", "--passes", "in-place"];
    let watched = cluster
        .upshift(&[
            "cluster",
            "submit",
            "--watch",
            "--json",
            "--database",
            "erp",
        ])
        .argument(small_erp::pack())
        .arguments(&["--"])
        .arguments(&options)
        .succeed()?;
    let events = watched
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let done: Vec<Value> = events
        .filter(|event| event["event"] == "unit_done")
        .collect();
    // Who begins to watch when it is over sees none of them; the figures below count all.
    let eu = number("eu");
    ensure!(
        done.iter()
            .all(|event| Some(&event["worker"]) == eu.as_ref()),
        "{}",
        watched.stdout
    );
    ensure!(
        near.units()? > 0.0 && far.units()? == 0.0,
        "all on the one that is near"
    );
    near.process.signal(Signal::SIGTERM)?;
    near.process.wait()?.expect_code(0)?;
    eventually(
        "it has left",
        DEADLINE,
        || Ok(workers(&cluster)?.len() == 1),
    )?;
    let runs: Value = {
        let status = cluster
            .upshift(&["cluster", "status", "--json"])
            .succeed()?;
        serde_json::from_str(&status.stdout)?
    };
    let run = runs["runs"][0]["run"]
        .as_str()
        .context("there is one")?
        .to_owned();
    cluster.upshift(&["cluster", "rollback", &run]).succeed()?;
    cluster.expect(&run, "rolled_back")?;
    ensure!(far.units()? > 0.0, "there is nobody else");
    Ok(())
}

/// Requests with one answer that etcd has had; renewals of leases are messages of streams.
fn asked_of_etcd(cluster: &Cluster) -> Result<f64> {
    let urls = cluster.etcd.options("", Duration::from_secs(1)).endpoints;
    let address = urls[0].trim_start_matches("http://");
    let counted = scrape(address)?.into_iter().filter(|(name, _)| {
        name.starts_with("grpc_server_started_total") && name.contains("\"unary\"")
    });
    Ok(counted.map(|(_, value)| value).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_of_etcd_does_not_grow_with_units() -> Result<()> {
    let (few, many) = (small_erp::database().await?, small_erp::database().await?);
    let mut cluster = Cluster::new(1, &[("few", &few), ("many", &many)], "")?;
    for name in ["few", "many"] {
        cluster.configure(name, "max_units = 16")?;
    }
    let mut leader = cluster.coordinator().start()?;
    let address = told(&mut leader, "listens on ")?;
    leads(&mut leader)?;
    let _worker = cluster.worker(4)?;
    eventually("it has joined", DEADLINE, || {
        Ok(workers(&cluster)?.len() == 1)
    })?;
    // Operators that look all the time ask the coordinator, and not etcd where it is.
    let coordinator = format!("http://{address}");
    let mut cost = Vec::new();
    for (name, database, rows) in [("few", &few, "100000"), ("many", &many, "10")] {
        let before = asked_of_etcd(&cluster)?;
        cluster
            .upshift(&["cluster", "submit", "--watch", "--database", name])
            .arguments(&["--coordinator", &coordinator])
            .argument(small_erp::pack())
            .arguments(&["--", "--passes", "in-place", "--unit-rows", rows])
            .succeed()?;
        let asked = asked_of_etcd(&cluster)? - before;
        let units: f64 = database
            .psql("SELECT count(*) FROM upshift.unit")?
            .trim()
            .parse()?;
        cost.push((units, asked));
    }
    let ((units_of_few, asked_for_few), (units_of_many, asked_for_many)) = (cost[0], cost[1]);
    eprintln!("units and requests: {cost:?}");
    ensure!(units_of_many >= 3.0 * units_of_few, "{cost:?}");
    ensure!(asked_for_many - asked_for_few <= 5.0, "{cost:?}");
    Ok(())
}

/// What the coordinator shows.
fn shown(figures: &str, name: &str) -> Result<f64> {
    let all = scrape(figures)?;
    all.get(name)
        .copied()
        .with_context(|| format!("{name} is missing: {all:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_health_and_services_are_shown() -> Result<()> {
    let database = small_erp::database().await?;
    let cluster = Cluster::new(1, &[("erp", &database)], "")?;
    let mut leader = cluster
        .coordinator()
        .arguments(&["--metrics", "127.0.0.1:0"])
        .start()?;
    let figures = {
        let mut address = None;
        let mut listens = None;
        leader.read_until(|line| {
            let after = |words: &str| {
                let (_, rest) = line.split_once(words)?;
                rest.split([',', '/']).next().map(str::to_owned)
            };
            address = address.take().or_else(|| after("served on http://"));
            listens = listens.take().or_else(|| after("listens on "));
            line.ends_with(" leads")
        })?;
        (
            address.context("it serves metrics")?,
            listens.context("it listens")?,
        )
    };
    let (figures, address) = figures;
    let run = cluster.submit(&small_erp::pack(), "erp", &["--unit-rows", "100"])?;
    eventually("units wait for a worker", DEADLINE, || {
        Ok(shown(&figures, "upshift_units_ready")? > 0.0)
    })?;
    ensure!(shown(&figures, "upshift_runs")? == 1.0, "one run");
    ensure!(shown(&figures, "upshift_leads")? == 1.0, "it leads");
    ensure!(shown(&figures, "upshift_workers")? == 0.0, "nobody works");
    let worker = Labelled::start(&cluster, "region=eu")?;
    cluster.expect(&run, "prepared")?;
    ensure!(
        shown(&figures, "upshift_units_ready")? == 0.0,
        "none is left"
    );
    ensure!(shown(&figures, "upshift_workers")? == 1.0, "one works");
    ensure!(shown(&figures, "upshift_slots")? == 2.0, "with two slots");
    let units = shown(&figures, "upshift_units_total")?;
    ensure!(
        units > 0.0 && units == worker.units()?,
        "both have counted the same"
    );
    ensure!(
        shown(&figures, "upshift_rows_total")? > 1_000.0,
        "rows are counted"
    );
    ensure!(
        shown(&worker.figures, "upshift_worker_connected")? == 1.0,
        "it is connected"
    );
    ensure!(
        shown(&worker.figures, "upshift_worker_units_in_flight")? == 0.0,
        "nothing runs"
    );
    eventually("idle connections are closed", DEADLINE, || {
        Ok(shown(&worker.figures, "upshift_worker_connections")? == 0.0)
    })?;
    healthy(&address).await?;
    let services = listed(&address).await?;
    for service in ["upshift.v1.Session", "upshift.v1.Operator"] {
        ensure!(services.iter().any(|name| name == service), "{services:?}");
    }
    Ok(())
}

async fn line(address: &str) -> Result<tonic::transport::Channel> {
    Ok(
        tonic::transport::Endpoint::try_from(format!("http://{address}"))?
            .connect()
            .await?,
    )
}

async fn healthy(address: &str) -> Result<()> {
    use tonic_health::pb::{
        HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
    };
    let mut client = HealthClient::new(line(address).await?);
    for service in ["", "upshift.v1.Session", "upshift.v1.Operator"] {
        let service = service.to_owned();
        let answer = client
            .check(HealthCheckRequest { service })
            .await?
            .into_inner();
        ensure!(answer.status() == ServingStatus::Serving, "{answer:?}");
    }
    Ok(())
}

async fn listed(address: &str) -> Result<Vec<String>> {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(line(address).await?);
    let asked = client
        .server_reflection_info(tokio_stream::once(request))
        .await?;
    let answer = asked.into_inner().message().await?.context("it answers")?;
    match answer.message_response {
        Some(MessageResponse::ListServicesResponse(list)) => Ok(list
            .service
            .into_iter()
            .map(|service| service.name)
            .collect()),
        other => anyhow::bail!("another answer: {other:?}"),
    }
}

/// What a process has logged, each line of it as JSON.
fn logged(process: Running) -> Result<Vec<Value>> {
    process.signal(Signal::SIGTERM)?;
    let outcome = process.wait()?.expect_code(0)?;
    let lines = outcome.stderr.lines();
    lines
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_can_be_json() -> Result<()> {
    let database = small_erp::database().await?;
    let cluster = Cluster::new(1, &[("erp", &database)], "")?;
    let json = |call: Upshift| call.variable("UPSHIFT_LOG_FORMAT", "json");
    let mut leader = json(cluster.upshift(&["coordinator"])).start()?;
    leads(&mut leader)?;
    let worker = json(cluster.upshift(&["worker", "--slots", "1"])).start()?;
    let run = cluster.submit(&small_erp::pack(), "erp", &[])?;
    cluster.expect(&run, "prepared")?;
    let command = json(cluster.upshift(&["cluster", "status"])).succeed()?;
    ensure!(
        command.stderr.is_empty(),
        "commands log errors alone: {}",
        command.stderr
    );
    let says = |lines: &[Value], message: &str| {
        let said = |line: &Value| line["message"] == message && line["level"] == "INFO";
        lines.iter().any(said)
    };
    let of_worker = logged(worker)?;
    ensure!(says(&of_worker, "connected"), "{of_worker:?}");
    let of_leader = logged(leader)?;
    ensure!(says(&of_leader, "a worker has joined"), "{of_leader:?}");
    ensure!(
        of_leader.iter().any(|line| line["audit"] == "submit"),
        "{of_leader:?}"
    );
    Ok(())
}
