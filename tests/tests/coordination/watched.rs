//! Watches: cut off, compacted away, silent.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::timeout;
use upshift_coordinator::coordination::{Coordination, Etcd, Topic};
use upshift_tests::{
    eventually_async,
    harness::{EtcdCluster, Relay},
};

use crate::{DEADLINE, LEASE, granted, member, prefix, run};

/// Twenty seconds have passed long before, by the count of renewals.
const PASSES: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_was_cut_off_is_told_what_was_compacted_away() -> Result<()> {
    let cluster = EtcdCluster::start(1)?;
    let prefix = prefix();
    let relay = Relay::to(cluster.client_port(0)).await?;
    let mut options = cluster.options(&prefix, LEASE);
    options.endpoints = vec![format!("http://{}", relay.address())];
    let watcher = Etcd::connect(&options).await?;
    let mut runs = watcher.watch(Topic::Runs).await?;
    let mut workers = watcher.watch(Topic::Workers).await?;
    let writer = cluster.client(&prefix, LEASE).await?;
    writer.put_run(&run("one")).await?;
    timeout(DEADLINE, runs.recv()).await?.context("it ended")?;
    relay.cut();
    writer.put_run(&run("two")).await?;
    writer.put_run(&run("three")).await?;
    let mut operator = cluster.operator(None).await?;
    // So that what is watched did not change at the revision that remains.
    operator.put("any", "", None).await?;
    let now = operator.get("any", None).await?;
    let now = now.header().context("no header")?.revision();
    operator.compact(now, None).await?;
    ensure!(runs.try_recv().is_err(), "it was not cut off");
    relay.heal();
    // History is gone: the reader is told to ask for what is.
    timeout(DEADLINE, runs.recv()).await?.context("it ended")?;
    ensure!(watcher.runs().await?.len() == 3, "not all runs are seen");
    // And from then on, of what changes.
    let held = writer.register_worker(&member("w")).await?;
    eventually_async("to hear of a worker", DEADLINE, async || {
        Ok(watcher.workers().await?.len() == 1)
    })
    .await?;
    timeout(DEADLINE, workers.recv())
        .await?
        .context("it ended")?;
    writer.put_run(&run("four")).await?;
    timeout(DEADLINE, runs.recv()).await?.context("it ended")?;
    held.release().await;
    // Each watch was opened, tried where history was gone, and opened after that.
    let before = cluster.counted("grpc_server_msg_received_total", &["LeaseKeepAlive"])?;
    eventually_async("renewals", DEADLINE, async || {
        let now = cluster.counted("grpc_server_msg_received_total", &["LeaseKeepAlive"])?;
        Ok(now >= before + 3.0)
    })
    .await?;
    let opened = cluster.counted("grpc_server_started_total", &["\"Watch\""])?;
    ensure!(opened < 6.5, "two watches were opened {opened} times");
    Ok(())
}

/// etcd ends the connections of clients that ask too often whether they still stand.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_with_nothing_to_tell_stays_open() -> Result<()> {
    let cluster = EtcdCluster::start(1)?;
    let prefix = prefix();
    let watcher = cluster.client(&prefix, LEASE).await?;
    let mut runs = watcher.watch(Topic::Runs).await?;
    let other = cluster.client(&prefix, LEASE).await?;
    let held = granted(&other, "a").await?;
    // A lease of two seconds is renewed three times in them: this takes twenty seconds.
    eventually_async("time to pass", PASSES, async || {
        Ok(cluster.counted("grpc_server_msg_received_total", &["LeaseKeepAlive"])? > 30.0)
    })
    .await?;
    let opened = cluster.counted("grpc_server_started_total", &["\"Watch\""])?;
    ensure!(opened < 1.5, "the watch was opened {opened} times");
    other.put_run(&run("db")).await?;
    timeout(DEADLINE, runs.recv()).await?.context("it ended")?;
    held.release().await;
    Ok(())
}
