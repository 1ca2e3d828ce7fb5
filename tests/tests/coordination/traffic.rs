//! How much is asked of etcd: a request for each thing that is done, a few a second for each process
//! whatever it holds.

use anyhow::{Result, ensure};
use upshift_coordinator::coordination::{Coordination, Held, Topic};
use upshift_shared::clock::Stopwatch;
use upshift_tests::{eventually_async, harness::EtcdCluster};

use crate::{DEADLINE, LEASE, member, prefix, run};

/// Requests with one answer, as etcd counts them.
fn requests(cluster: &EtcdCluster) -> Result<f64> {
    cluster.counted("grpc_server_started_total", &["\"unary\""])
}

fn streams(cluster: &EtcdCluster) -> Result<f64> {
    cluster.counted("grpc_server_started_total", &["\"bidi_stream\""])
}

fn renewals(cluster: &EtcdCluster) -> Result<f64> {
    cluster.counted("grpc_server_msg_received_total", &["LeaseKeepAlive"])
}

#[tokio::test(flavor = "multi_thread")]
async fn each_thing_done_is_one_request() -> Result<()> {
    let cluster = EtcdCluster::start(1)?;
    let client = cluster.client(&prefix(), LEASE).await?;
    let leads = client.campaign(&member("a")).await?;
    let runs: Vec<_> = (0..20).map(|number| run(&format!("db {number}"))).collect();
    let before = requests(&cluster)?;
    for entry in &runs {
        client.put_run(entry).await?;
        client.lock_database(&entry.database, &member("a")).await?;
        client.decide(&entry.database, "commit").await?;
        client.decision(&entry.database).await?;
    }
    client.runs().await?;
    client.leader().await?;
    // The locks were dropped as soon as they were granted: each is a deletion.
    let wanted = 20.0 * 5.0 + 2.0;
    eventually_async("requests", DEADLINE, async || {
        Ok(requests(&cluster)? >= before + wanted)
    })
    .await?;
    leads.release().await;
    let asked = requests(&cluster)? - before;
    ensure!(
        asked < wanted + 1.5,
        "{asked} requests instead of {wanted} and one"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_holds_costs_nothing_while_it_is_held() -> Result<()> {
    let cluster = EtcdCluster::start(1)?;
    let client = cluster.client(&prefix(), LEASE).await?;
    let _runs = client.watch(Topic::Runs).await?;
    let leads = client.campaign(&member("a")).await?;
    let mut held: Vec<Box<dyn Held>> = vec![leads];
    for many in [10, 200] {
        while held.len() < many {
            held.push(client.register_worker(&member("w")).await?);
        }
        let (begun, before) = (Stopwatch::start(), renewals(&cluster)?);
        let (asked, opened) = (requests(&cluster)?, streams(&cluster)?);
        eventually_async("renewals", DEADLINE, async || {
            Ok(renewals(&cluster)? >= before + 6.0)
        })
        .await?;
        let passed = begun.elapsed().as_secs_f64();
        let at_most = 3.0 * passed / LEASE.as_secs_f64() + 2.0;
        let renewed = renewals(&cluster)? - before;
        ensure!(
            renewed <= at_most,
            "{renewed} renewals in {passed} s, with {many} keys"
        );
        let more = requests(&cluster)? - asked;
        ensure!(
            more < 0.5,
            "{more} requests for {many} keys that are only held"
        );
        let more = streams(&cluster)? - opened;
        ensure!(
            more < 0.5,
            "{more} streams for {many} keys that are only held"
        );
    }
    for key in held {
        key.release().await;
    }
    Ok(())
}
