//! `scale sessions`: a real coordinator process (with etcd and PostgreSQL) and many sessions of workers over
//! real gRPC on loopback. Their units do nothing: the workers report each as done at once, or after a pause,
//! and no database hears of it. So what is measured is the coordinator: its sessions, its loop, the engine, cuts
//! and the event log.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use tokio::task::JoinSet;
use upshift_coordinator::coordination::Coordination;
use upshift_shared::{
    clock::Stopwatch,
    config::{ClusterSettings, Environment},
};
use upshift_worker::link::Link;

use super::idler::{Idler, Tally};
use crate::{
    cluster::{Cluster, leads},
    harness::{Database, Running, Usage, one_module},
};

/// Nothing may take longer.
const DEADLINE: Duration = Duration::from_secs(600);
/// No run takes more workers.
const MOST_UNITS: u32 = 256;

/// How many sessions, and what they do.
#[derive(Debug, Args)]
pub struct Options {
    /// Sessions, a worker each.
    #[arg(long, default_value_t = 200)]
    sessions: u32,
    /// Units that each runs at once.
    #[arg(long, default_value_t = 4)]
    slots: u32,
    /// Databases, with one run each; 0 for as many as it takes to give every slot a unit.
    #[arg(long, default_value_t = 0)]
    databases: u32,
    /// Units to be done in all.
    #[arg(long, default_value_t = 200_000)]
    units: u32,
    /// Milliseconds that a worker takes for a unit, without doing anything.
    #[arg(long, default_value_t = 0)]
    pause: u64,
}

/// Prints what the coordinator took.
///
/// # Errors
/// Where something does not start, or stands still.
pub async fn run(options: &Options) -> Result<()> {
    let slots = options.sessions * options.slots;
    let databases = match options.databases {
        0 => slots.div_ceil(MOST_UNITS),
        databases => databases,
    };
    // More than will be done: the end of a run is not measured.
    let rows = options.units / databases + 4 * MOST_UNITS;
    let created: Vec<(String, Database)> = (0..databases)
        .map(|number| Ok((format!("d{number}"), database(rows)?)))
        .collect::<Result<_>>()?;
    let named: Vec<(&str, &Database)> = (created.iter())
        .map(|(name, database)| (name.as_str(), database))
        .collect();
    let cluster = Cluster::new(1, &named, "")?;
    let mut coordinator = cluster.coordinator().start()?;
    leads(&mut coordinator)?;
    let pack = one_module(&[("pre-a.sql", "UPDATE wide SET a = a + 1;\n")])?;
    let at_once = slots.div_ceil(databases).min(MOST_UNITS).to_string();
    for (name, _) in &named {
        let options = [
            "--unit-rows",
            "1",
            "--passes",
            "in-place",
            "--workers",
            &at_once,
        ];
        cluster.submit(pack.path(), name, &options)?;
    }
    println!(
        "{} sessions x {} slots, {databases} databases, {} ms a unit",
        options.sessions, options.slots, options.pause
    );
    measure(options, &cluster, &coordinator).await
}

/// A table with a row for each unit.
fn database(rows: u32) -> Result<Database> {
    let database = Database::create()?;
    database.psql(&format!(
        "CREATE TABLE wide (id serial PRIMARY KEY, a integer);
         INSERT INTO wide (a) SELECT i FROM generate_series(1, {rows}) AS i;
         ANALYZE wide"
    ))?;
    Ok(database)
}

async fn measure(options: &Options, cluster: &Cluster, coordinator: &Running) -> Result<()> {
    let prefix = ClusterSettings {
        name: "test".to_owned(),
        ..ClusterSettings::default()
    };
    let etcd = cluster
        .etcd
        .client(&prefix.prefix(), Duration::from_secs(5))
        .await?;
    let leader = etcd.leader().await?.context("it leads")?;
    let link = Link::new(&ClusterSettings::default(), &Environment::capture())?;
    let process = Usage::of(coordinator.id());
    let before = process.memory()?;
    let mut sessions = JoinSet::new();
    let tally = Tally::until(u64::from(options.units));
    // All are there before the first has work.
    let gate = tokio_util::sync::CancellationToken::new();
    for number in 0..options.sessions {
        let idler = Idler {
            number,
            slots: options.slots,
            pause: Duration::from_millis(options.pause),
            tally: tally.clone(),
        };
        let line = link.connect(&leader.address).await?;
        let opened = idler.open(line).await?;
        let gate = gate.clone();
        sessions.spawn(async move {
            gate.cancelled().await;
            idler.work(opened).await
        });
    }
    let (busy, watch) = (process.processor()?, Stopwatch::start());
    gate.cancel();
    let ended = tokio::time::timeout(DEADLINE, tally.reached()).await;
    let (real, busy) = (watch.elapsed(), process.processor()? - busy);
    ensure!(ended.is_ok(), "only {} units in {real:?}", tally.done());
    let done = tally.done();
    let (after, peak) = (process.memory()?, process.peak()?);
    let mut micros = Vec::new();
    while let Some(session) = sessions.join_next().await {
        micros.extend(session??);
    }
    micros.sort_unstable();
    let at = |part: f64| -> f64 {
        let place = (micros.len() as f64 * part) as usize;
        micros
            .get(place)
            .map_or(0.0, |micros| f64::from(*micros) / 1e3)
    };
    println!(
        "{done} units in {:.1} s: {:.0} units/s; from credit to unit: p50 {:.2} ms, p99 {:.2} ms, longest \
         {:.2} ms",
        real.as_secs_f64(),
        done as f64 / real.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(0.999_999),
    );
    println!(
        "coordinator: {:.2} s of processors for 100,000 units; {} MB before the sessions, {} MB after, {} MB \
         at the most",
        busy.as_secs_f64() * 1e5 / done as f64,
        before / 1_000_000,
        after / 1_000_000,
        peak / 1_000_000
    );
    Ok(())
}
