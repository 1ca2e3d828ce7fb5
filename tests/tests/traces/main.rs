//! Traces, from the order to the units: one trace through all processes, what its spans say and what not, how
//! many there are, and that nothing depends on them.

mod collector;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpListener,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use collector::{Arrived, Collector};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use upshift_tests::{
    cluster::{Cluster, leads},
    compare, eventually,
    fleet::Fleet,
    harness::{Authority, Database, Upshift},
    small_erp,
};

const SMALL: &[&str] = &["--unit-rows", "100", "--passes", "in-place"];
/// Nothing that has to happen may take longer.
const DEADLINE: Duration = Duration::from_secs(60);

/// All that a span may say.
const KEYS: [&str; 16] = [
    "upshift.run",
    "upshift.fleet",
    "upshift.database",
    "upshift.epoch",
    "upshift.direction",
    "upshift.checkpoint",
    "upshift.task",
    "upshift.operator",
    "upshift.module",
    "upshift.unit",
    "upshift.attempt",
    "upshift.rows",
    "upshift.units",
    "upshift.tasks_left_out",
    "upshift.outcome",
    "db.response.status_code",
];

/// Values of the small ERP's rows, and of what reaches them; `@` is in every e-mail address and every URL with
/// a password.
const SECRETS: [&str; 9] = [
    "Partner", "a note", "@", "xxxx", "draft", "posted", "UPDATE", "SELECT", "://",
];

/// Asks until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    eventually(what, DEADLINE, || Ok(is_so()))
}

/// The small ERP, reached by TCP with a password that the configuration tells where to find.
fn cluster_of(database: &Database, more: &str) -> Result<Cluster> {
    let mut cluster = Cluster::new(1, &[("erp", database)], more)?;
    let password = format!("password_command = [\"echo\", \"{}\"]", database.password());
    cluster.configure("erp", &password)?;
    cluster.replace(&database.url(), &database.loopback_url())?;
    Ok(cluster)
}

fn one<'a>(spans: &'a [Arrived], name: &str) -> Result<&'a Arrived> {
    let mut named = spans.iter().filter(|span| span.name == name);
    let first = named.next().with_context(|| format!("no span {name}"))?;
    ensure!(named.next().is_none(), "more than one {name}");
    Ok(first)
}

fn says<'a>(span: &'a Arrived, key: &str) -> Result<&'a str> {
    let said = span.says.get(key);
    Ok(said.with_context(|| format!("nothing of {key}: {span:?}"))?)
}

/// Nothing of what a database holds or is reached by is in a span.
fn expect_nothing_of_rows(spans: &[Arrived], database: &Database) -> Result<()> {
    for span in spans {
        for secret in SECRETS.into_iter().chain([database.password()]) {
            ensure!(!span.whole.contains(secret), "{secret} in {}", span.whole);
        }
        for key in span.says.keys() {
            ensure!(KEYS.contains(&key.as_str()), "{key} in {}", span.whole);
        }
        ensure!(span.whole.contains("events: []"), "{}", span.whole);
    }
    Ok(())
}

/// What the ledger has of units that are done: of each, its rows.
fn ledger(database: &Database) -> Result<BTreeMap<(u32, u32), u64>> {
    let text = database.psql("SELECT task, unit, rows FROM upshift.unit WHERE state = 'done'")?;
    let read = |line: &str| {
        let mut numbers = line.split('|').map(|text| text.trim().parse::<u64>());
        let mut next = || anyhow::Ok(numbers.next().context("three numbers")??);
        let (task, unit, rows) = (next()?, next()?, next()?);
        Ok(((u32::try_from(task)?, u32::try_from(unit)?), rows))
    };
    text.lines()
        .filter(|line| !line.is_empty())
        .map(read)
        .collect()
}

/// Of each unit, the rows that its span tells.
fn told(units: &[Arrived]) -> Result<BTreeMap<(u32, u32), u64>> {
    let number = |span: &Arrived, key| anyhow::Ok(says(span, key)?.parse::<u64>()?);
    let of = |span: &Arrived| {
        let key = (
            u32::try_from(number(span, "upshift.task")?)?,
            u32::try_from(number(span, "upshift.unit")?)?,
        );
        Ok((key, number(span, "upshift.rows")?))
    };
    units.iter().map(of).collect()
}

fn within(spans: &[Arrived], parent: &Arrived, name: &str) -> Vec<Arrived> {
    let of = |span: &&Arrived| span.name == name && span.parent == parent.id;
    spans.iter().filter(of).cloned().collect()
}

/// The spans of units that are done in a drive, each of them in its task's.
fn units_of(spans: &[Arrived], drive: &Arrived) -> Result<Vec<Arrived>> {
    let tasks = within(spans, drive, "task");
    let mut units = Vec::new();
    for task in &tasks {
        let mut of_task = within(spans, task, "unit");
        ensure!(!of_task.is_empty(), "a task without units: {task:?}");
        for unit in &of_task {
            ensure!(unit.service == "upshift-worker");
            ensure!(
                unit.is_error == (says(unit, "upshift.outcome")? != "done"),
                "{unit:?}"
            );
            ensure!(
                unit.nanos <= task.nanos,
                "{unit:?} takes longer than {task:?}"
            );
            for key in ["upshift.task", "upshift.operator"] {
                ensure!(says(unit, key)? == says(task, key)?, "{unit:?} in {task:?}");
            }
        }
        // Attempts that met a lock are tried again.
        of_task.retain(|unit| !unit.is_error);
        ensure!(says(task, "upshift.units")? == of_task.len().to_string());
        units.extend(of_task);
    }
    Ok(units)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_one_trace_from_its_order_to_its_units() -> Result<()> {
    let database = small_erp::database().await?;
    let collector = Collector::start().await?;
    let more = format!("[telemetry]\notlp = \"{}\"", collector.url());
    let cluster = cluster_of(&database, &more)?;
    let leader = cluster.leader()?;
    let worker = cluster.worker(2)?;
    let run = cluster.submit(&small_erp::pack(), "erp", SMALL)?;
    cluster.expect(&run, "prepared")?;
    let done = ledger(&database)?;
    cluster.upshift(&["cluster", "rollback", &run]).succeed()?;
    cluster.expect(&run, "rolled_back")?;
    // What is left is sent when a process ends.
    for process in [worker, leader] {
        process.signal(Signal::SIGTERM)?;
        process.wait()?.expect_code(0)?;
    }
    let spans = collector.spans();
    let submit = one(&spans, "submit")?;
    ensure!(submit.parent.is_empty() && submit.service == "upshift");
    for span in &spans {
        ensure!(span.trace == submit.trace, "another trace: {span:?}");
        ensure!(says(span, "upshift.run")? == run && says(span, "upshift.database")? == "erp");
    }
    let accept = one(&spans, "accept")?;
    ensure!(accept.parent == submit.id && accept.service == "upshift-coordinator");
    let mut of_way = BTreeMap::new();
    for span in spans.iter().filter(|span| span.name == "run") {
        ensure!(span.parent == accept.id && span.service == "upshift-coordinator");
        of_way.insert(says(span, "upshift.direction")?, span);
    }
    let (forward, back) = (of_way["forward"], of_way["back"]);
    ensure!(of_way.len() == 2 && says(forward, "upshift.outcome")? == "prepared");
    ensure!(says(back, "upshift.outcome")? == "rolled_back");
    let checkpoints = within(&spans, forward, "checkpoint");
    let names: BTreeSet<&str> = checkpoints
        .iter()
        .filter_map(|span| span.says.get("upshift.checkpoint").map(String::as_str))
        .collect();
    ensure!(
        names == BTreeSet::from(["account", "base", "sale", "stock"]),
        "{names:?}"
    );
    let units = units_of(&spans, forward)?;
    ensure!(told(&units)? == done, "{:?}\n{done:?}", told(&units)?);
    ensure!(units.len() == done.len(), "a unit has two spans");
    ensure!(says(forward, "upshift.units")? == units.len().to_string());
    ensure!(!units_of(&spans, back)?.is_empty());
    let all = 2
        + 2
        + spans
            .iter()
            .filter(|s| ["checkpoint", "task", "unit"].contains(&s.name.as_str()))
            .count();
    ensure!(all == spans.len(), "other spans");
    expect_nothing_of_rows(&spans, &database)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_one_trace_from_its_order_to_the_units_of_its_runs() -> Result<()> {
    let database = small_erp::database().await?;
    let collector = Collector::start().await?;
    let more = format!("[telemetry]\notlp = \"{}\"", collector.url());
    let cluster = cluster_of(&database, &more)?;
    let order = cluster.folder().join("night.toml");
    let pack = small_erp::pack();
    let text = format!(
        "pack = \"{}\"\n[[members]]\ndatabases = [\"erp\"]",
        pack.display()
    );
    std::fs::write(&order, text)?;
    let leader = cluster.leader()?;
    let worker = cluster.worker(2)?;
    let run = cluster.upshift(&["fleet", "run", "--cluster", "--watch"]);
    let run = run.argument(&order).argument("--").arguments(SMALL);
    run.succeed()?;
    for process in [worker, leader] {
        process.signal(Signal::SIGTERM)?;
        process.wait()?.expect_code(0)?;
    }
    let spans = collector.spans();
    let submit = one(&spans, "submit")?;
    ensure!(submit.parent.is_empty() && says(submit, "upshift.fleet")? == "night");
    let strangers = spans.iter().find(|span| span.trace != submit.trace);
    ensure!(strangers.is_none(), "{strangers:?}");
    let accept = one(&spans, "accept")?;
    ensure!(accept.parent == submit.id && says(accept, "upshift.fleet")? == "night");
    let drive = one(&spans, "run")?;
    ensure!(drive.parent == accept.id && says(drive, "upshift.database")? == "erp");
    ensure!(says(drive, "upshift.outcome")? == "prepared");
    ensure!(!units_of(&spans, drive)?.is_empty());
    expect_nothing_of_rows(&spans, &database)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_alone_is_part_of_what_started_it() -> Result<()> {
    let collector = Collector::start().await?;
    let template = small_erp::database().await?;
    let fleet = Fleet::of(&[&template], 2, "")?;
    fleet
        .say("run")
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .variable(
            "TRACEPARENT",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )
        .succeed()?;
    let runs = collector.named("run");
    ensure!(runs.len() == 2, "{runs:?}");
    for run in &runs {
        ensure!(run.parent == "00f067aa0ba902b7" && says(run, "upshift.outcome")? == "prepared");
    }
    expect_nothing_of_rows(&collector.spans(), &template)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_leader_goes_on_in_the_same_trace() -> Result<()> {
    let database = small_erp::database().await?;
    let collector = Collector::start().await?;
    let more = format!("[telemetry]\notlp = \"{}\"", collector.url());
    let cluster = cluster_of(&database, &more)?;
    let mut first = cluster
        .coordinator()
        .variable("UPSHIFT_FAILPOINT", "before_checkpoint:1")
        .variable("OTEL_BSP_SCHEDULE_DELAY", "50")
        .start()?;
    leads(&mut first)?;
    let run = cluster.submit(&small_erp::pack(), "erp", SMALL)?;
    until("the order is told of", || {
        !collector.named("accept").is_empty()
    })?;
    let _worker = cluster
        .upshift(&["worker", "--slots", "2"])
        .variable("OTEL_BSP_SCHEDULE_DELAY", "50")
        .start()?;
    first.wait()?;
    let second = cluster.leader()?;
    cluster.expect(&run, "prepared")?;
    second.signal(Signal::SIGTERM)?;
    second.wait()?.expect_code(0)?;
    let spans = collector.spans();
    let (submit, accept) = (one(&spans, "submit")?, one(&spans, "accept")?);
    // That of the leader that died went with it.
    let drive = one(&spans, "run")?;
    ensure!(
        drive.trace == submit.trace && drive.parent == accept.id,
        "{drive:?}"
    );
    ensure!(says(drive, "upshift.outcome")? == "prepared");
    let strangers = spans.iter().find(|span| span.trace != submit.trace);
    ensure!(strangers.is_none(), "{strangers:?}");
    let tasks: BTreeSet<&str> = spans
        .iter()
        .filter(|span| span.name == "task" && span.parent == drive.id)
        .map(|span| span.id.as_str())
        .collect();
    let with_second = |span: &&Arrived| span.name == "unit" && tasks.contains(span.parent.as_str());
    until("units of the second leader's tasks arrive", || {
        collector.spans().iter().any(|span| with_second(&span))
    })
}

/// A run in a process of its own, with this of `[telemetry]`.
struct Embedded {
    database: Database,
    _folder: TempDir,
    config: PathBuf,
}

impl Embedded {
    async fn new(telemetry: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let config = folder.path().join("upshift.toml");
        fs::write(&config, format!("[telemetry]\n{telemetry}\n"))?;
        Ok(Self {
            database: small_erp::database().await?,
            _folder: folder,
            config,
        })
    }

    fn upgrade(&self) -> Upshift {
        // A password on the command line is no name of a database.
        let url = self.database.loopback_url();
        let password = self.database.password();
        Upshift::new([
            "run",
            "--workers",
            "2",
            "--unit-rows",
            "20",
            "--passes",
            "in-place",
        ])
        .arguments(&["--yes", "--database", &url, "--config"])
        .argument(&self.config)
        .variable("PGPASSWORD", password)
        .argument(small_erp::pack())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_alone_is_part_of_what_started_it() -> Result<()> {
    let collector = Collector::start().await?;
    let alone = Embedded::new("").await?;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    alone
        .upgrade()
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .variable("OTEL_SERVICE_NAME", "night")
        .variable("TRACEPARENT", parent)
        .argument("--commit")
        .succeed()?;
    let spans = collector.spans();
    let runs = collector.named("run");
    let (forward, commit): (Vec<&Arrived>, Vec<&Arrived>) = runs
        .iter()
        .partition(|run| run.says["upshift.direction"] == "forward");
    ensure!(forward.len() == 1 && commit.len() == 1, "{runs:?}");
    ensure!(says(commit[0], "upshift.outcome")? == "committed");
    let run = forward[0];
    ensure!(
        runs.iter().all(|run| run.parent == "00f067aa0ba902b7"),
        "{runs:?}"
    );
    for span in &spans {
        ensure!(span.trace == "4bf92f3577b34da6a3ce929d0e0e4736" && span.service == "night");
    }
    let mut units = collector.named("unit");
    units.retain(|unit| !unit.is_error);
    let done = ledger(&alone.database)?;
    ensure!(told(&units)? == done, "{:?}\n{done:?}", told(&units)?);
    ensure!(says(run, "upshift.units")? == done.len().to_string());
    expect_nothing_of_rows(&spans, &alone.database)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_has_no_more_spans_than_it_may() -> Result<()> {
    let collector = Collector::start().await?;
    let alone = Embedded::new(&format!("otlp = \"{}\"\nmax_spans = 200", collector.url())).await?;
    alone.upgrade().succeed()?;
    let done = ledger(&alone.database)?;
    let mut of_task: BTreeMap<u32, usize> = BTreeMap::new();
    for unit in collector.named("unit") {
        *of_task
            .entry(says(&unit, "upshift.task")?.parse()?)
            .or_default() += 1;
    }
    let most_in_ledger = done
        .keys()
        .filter(|(task, _)| of_task.get(task) == Some(&2))
        .count();
    ensure!(most_in_ledger > 100, "the run is too small: {done:?}");
    ensure!(
        of_task.values().all(|units| (1..=2).contains(units)),
        "{of_task:?}"
    );
    let run = one(&collector.spans(), "run")?.clone();
    ensure!(
        says(&run, "upshift.units")? == done.len().to_string(),
        "{run:?}"
    );
    // And none where nobody wants any.
    let before = collector.spans().len();
    let alone = Embedded::new(&format!("otlp = \"{}\"", collector.url())).await?;
    let off = alone
        .upgrade()
        .variable("OTEL_TRACES_SAMPLER", "always_off");
    off.succeed()?;
    ensure!(collector.spans().len() == before);
    // Few in all: the first tasks have them, and the run tells how many have none.
    let few = Embedded::new(&format!("otlp = \"{}\"\nmax_spans = 6", collector.url())).await?;
    few.upgrade().succeed()?;
    let spans = &collector.spans()[before..];
    let many = spans
        .iter()
        .filter(|s| ["task", "unit"].contains(&s.name.as_str()))
        .count();
    ensure!((2..=6).contains(&many), "{many}");
    says(one(spans, "run")?, "upshift.tasks_left_out").map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_known_by_its_certificate() -> Result<()> {
    let (authority, other) = (Authority::new()?, Authority::new()?);
    let own = authority.identity("collector", &["127.0.0.1"])?;
    let collector = Collector::start_with_tls(&own, &authority).await?;
    let folder = TempDir::new()?;
    let shown = authority.identity("upshift", &["127.0.0.1"])?;
    for (name, text) in [
        ("ca.pem", authority.certificate()),
        ("other.pem", other.certificate()),
        ("own.pem", &shown.certificate),
        ("own.key", &shown.key),
    ] {
        fs::write(folder.path().join(name), text)?;
    }
    let file = |name: &str| folder.path().join(name).display().to_string();
    for (ca, is_known) in [("other.pem", false), ("ca.pem", true)] {
        let telemetry = format!(
            "otlp = \"{}\"\n[telemetry.tls]\nca = \"{}\"\ncertificate = \"{}\"\nkey = \"{}\"",
            collector.url(),
            file(ca),
            file("own.pem"),
            file("own.key")
        );
        let alone = Embedded::new(&telemetry).await?;
        alone.upgrade().succeed()?;
        ensure!(
            collector.named("run").len() == usize::from(is_known),
            "{ca}"
        );
    }
    // The field's own variables say the same.
    let plain = Embedded::new("").await?;
    plain
        .upgrade()
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .variable("OTEL_EXPORTER_OTLP_CERTIFICATE", &file("ca.pem"))
        .variable("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &file("own.pem"))
        .variable("OTEL_EXPORTER_OTLP_CLIENT_KEY", &file("own.key"))
        .succeed()?;
    ensure!(collector.named("run").len() == 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_depends_on_the_collector() -> Result<()> {
    let plain = Embedded::new("").await?;
    plain.upgrade().argument("--commit").succeed()?;
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let closed = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    for (what, address) in [("hangs", silent.local_addr()?), ("is not there", closed)] {
        let traced = Embedded::new(&format!("otlp = \"http://{address}\"")).await?;
        let outcome = traced
            .upgrade()
            .argument("--commit")
            .variable("OTEL_BSP_SCHEDULE_DELAY", "20")
            .variable("OTEL_BSP_MAX_QUEUE_SIZE", "16")
            .variable("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
            .variable("UPSHIFT_LOG", "warn")
            .succeed()?;
        // It is said, once, and then again where the process could not wait any longer.
        let said = outcome.stderr.matches("collector").count();
        ensure!((1..=2).contains(&said), "{what}: {}", outcome.stderr);
        ensure!(ledger(&traced.database)?.len() > 100, "{what}");
        compare::expect_same(&plain.database, &traced.database, what).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_heeded_is_said_before_anything_is_touched() -> Result<()> {
    for (telemetry, words) in [
        (
            "otlp = \"http://collector.example:4317\"",
            "insecure = true of [telemetry]",
        ),
        (
            "otlp = \"http://who:hush@127.0.0.1:4317\"",
            "expected https://HOST:PORT",
        ),
        ("otpl = \"http://127.0.0.1:4317\"", "did you mean \"otlp\"?"),
    ] {
        let alone = Embedded::new(telemetry).await?;
        let refused = alone.upgrade().run()?.expect_code(2)?;
        ensure!(refused.stderr.contains(words), "{}", refused.stderr);
        let untouched = alone
            .database
            .psql("SELECT to_regclass('upshift.run') IS NULL")?;
        ensure!(untouched.trim() == "t", "{untouched}");
    }
    Ok(())
}
