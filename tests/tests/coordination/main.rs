//! Coordination by etcd: the suite that the embedded backend passes, and what only a store with members
//! can do: lose one, or keep its clients waiting. `UPSHIFT_ETCD_BIN` names the programs of the etcd that
//! is tested, where it is not the distribution's.

mod late;
mod secured;
mod traffic;
mod watched;

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::timeout;
use upshift_coordinator::coordination::{Coordination, Etcd, Held, Locked, suite};
use upshift_tests::{
    cluster::{member, prefix, run},
    eventually,
    harness::EtcdCluster,
};

const LEASE: Duration = Duration::from_secs(2);
/// Nothing that must happen may take longer.
const DEADLINE: Duration = Duration::from_secs(30);

/// More than one answer of etcd holds.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_index_is_read_whole() -> Result<()> {
    let cluster = EtcdCluster::start(1)?;
    let client = cluster.client(&prefix(), LEASE).await?;
    let mut entries: Vec<_> = (0..2_100)
        .map(|n| {
            let mut entry = run(&format!("db{n}"));
            entry.message = "x".repeat(3_000);
            entry
        })
        .collect();
    for some in entries.chunks(100) {
        futures::future::try_join_all(some.iter().map(|entry| client.put_run(entry))).await?;
    }
    entries.sort_by_key(|entry| entry.run);
    ensure!(client.runs().await? == entries, "some are missing");
    Ok(())
}

async fn granted(etcd: &Etcd, name: &str) -> Result<Box<dyn Held>> {
    match etcd.lock_database("db", &member(name)).await? {
        Locked::Granted(held) => Ok(held),
        Locked::Taken { by } => anyhow::bail!("{by} holds it"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_passes_the_suite() -> Result<()> {
    let cluster = EtcdCluster::start(1)?;
    suite::run(async || {
        let client = cluster.client(&prefix(), LEASE).await;
        client.expect("etcd answers")
    })
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_member_does_not_matter() -> Result<()> {
    let mut cluster = EtcdCluster::start(3)?;
    let lease = LEASE * 2;
    let client = cluster.client(&prefix(), lease).await?;
    let held = granted(&client, "a").await?;
    let leads = client.campaign(&member("a")).await?;
    for lost in 0..3 {
        cluster.kill_member(lost);
        let entry = run(&format!("db {lost}"));
        // A client may come while a member is away.
        let late = timeout(DEADLINE, cluster.client(&prefix(), lease)).await??;
        ensure!(late.leader().await?.is_none(), "somebody leads");
        timeout(DEADLINE, client.put_run(&entry)).await??;
        ensure!(
            client.runs().await?.contains(&entry),
            "the index lost a run"
        );
        // What is held outlives the member that the stream of the lease went to.
        let is_lost = timeout(lease + LEASE / 2, held.lost()).await;
        ensure!(is_lost.is_err(), "the lock was lost: {is_lost:?}");
        cluster.start_member(lost)?;
        eventually("etcd is whole", DEADLINE, || Ok(cluster.is_whole()))?;
    }
    ensure!(client.leader().await? == Some(member("a")), "nobody leads");
    leads.release().await;
    held.release().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_dies_with_its_holder() -> Result<()> {
    let cluster = EtcdCluster::start(1)?;
    let prefix = prefix();
    let options = cluster.options(&prefix, LEASE);
    // A process of its own would be killed; its runtime is all that keeps a lease alive.
    let doomed = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let held = doomed
        .spawn(async move {
            let client = Etcd::connect(&options).await?;
            granted(&client, "doomed").await
        })
        .await??;
    let survivor = cluster.client(&prefix, LEASE).await?;
    match survivor.lock_database("db", &member("b")).await? {
        Locked::Taken { by } => ensure!(by == "doomed", "{by} has it"),
        Locked::Granted(_) => anyhow::bail!("two hold it"),
    }
    std::mem::forget(held);
    doomed.shutdown_background();
    timeout(DEADLINE, async {
        while granted(&survivor, "b").await.is_err() {}
    })
    .await?;
    Ok(())
}

/// A leader of etcd that was paused and has not noticed yet that it leads no more ends leases that hold
/// (etcd's issue 15247): whoever asks for a key then does so with another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_etcd_ends_before_its_time_is_replaced() -> Result<()> {
    let cluster = EtcdCluster::start(1)?;
    let client = cluster.client(&prefix(), LEASE * 3).await?;
    let held = granted(&client, "a").await?;
    let by_hand = etcd_client::Client::connect(cluster.endpoints(), None).await?;
    let mut leases = by_hand.lease_client();
    for lease in leases.leases().await?.leases() {
        leases.revoke(lease.id()).await?;
    }
    let again = granted(&client, "b").await?;
    let leads = client.campaign(&member("a")).await?;
    ensure!(client.leader().await? == Some(member("a")), "nobody leads");
    leads.release().await;
    again.release().await;
    let why = timeout(DEADLINE, held.lost()).await?;
    ensure!(why.contains("ended"), "{why}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_lost_the_lead_writes_nothing() -> Result<()> {
    let cluster = EtcdCluster::start(1)?;
    let prefix = prefix();
    let old = cluster.client(&prefix, LEASE).await?;
    let leads = old.campaign(&member("old")).await?;
    cluster.pause(true)?;
    // By its own clock, before etcd can have given the lead to anybody else.
    let why = timeout(DEADLINE, leads.lost()).await?;
    ensure!(why.contains("lease"), "{why}");
    cluster.pause(false)?;
    let new = cluster.client(&prefix, LEASE).await?;
    let follows = timeout(DEADLINE, new.campaign(&member("new"))).await??;
    let entry = run("db");
    let refused = old.put_run(&entry).await;
    ensure!(refused.is_err(), "the old leader wrote");
    let refused = old.decide("q", "old").await;
    ensure!(refused.is_err(), "the old leader decided: {refused:?}");
    new.put_run(&entry).await?;
    ensure!(new.decide("q", "new").await? == "new", "another decided");
    // Released, and nobody has it: what was under way is fenced all the same.
    follows.release().await;
    ensure!(new.leader().await?.is_none(), "somebody leads");
    for client in [&old, &new] {
        let refused = client.put_run(&entry).await;
        ensure!(refused.is_err(), "who has released the lead wrote");
        let refused = client.decide("p", "late").await;
        ensure!(
            refused.is_err(),
            "who has released the lead decided: {refused:?}"
        );
    }
    let leads = timeout(DEADLINE, old.campaign(&member("old"))).await??;
    old.put_run(&entry).await?;
    ensure!(old.decide("p", "old").await? == "old", "another decided");
    leads.release().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_given_back_the_lead_writes_nothing() -> Result<()> {
    let cluster = EtcdCluster::start(1)?;
    let prefix = prefix();
    let client = cluster.client(&prefix, LEASE).await?;
    let entry = run("db");
    // Whoever never led is not fenced: a command that runs alone.
    client.put_run(&entry).await?;
    let leads = client.campaign(&member("a")).await?;
    client.put_run(&entry).await?;
    leads.release().await;
    for term in 0..2 {
        let refused = client.put_run(&run("db")).await;
        ensure!(refused.is_err(), "it wrote without leading, {term}");
        let refused = client.decide("q", "commit").await;
        ensure!(refused.is_err(), "it decided without leading, {term}");
        let refused = granted(&client, "a").await;
        ensure!(refused.is_err(), "it locked without leading, {term}");
        let refused = client.register_worker(&member("w")).await;
        ensure!(refused.is_err(), "it registered without leading, {term}");
        let other = cluster.client(&prefix, LEASE).await?;
        let leads = timeout(DEADLINE, other.campaign(&member("b"))).await??;
        leads.release().await;
    }
    ensure!(client.runs().await? == [entry], "a run was written");
    ensure!(client.decision("q").await?.is_none(), "it was decided");
    let leads = timeout(DEADLINE, client.campaign(&member("a"))).await??;
    client.put_run(&run("db")).await?;
    granted(&client, "a").await?.release().await;
    leads.release().await;
    Ok(())
}
