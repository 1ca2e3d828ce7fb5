//! Requests whose answers are lost or that are given up: what etcd makes of them later has no effect.

use anyhow::{Context, Result, ensure};
use etcd_client::{Compare, CompareOp, GetOptions, Txn, TxnOp};
use tokio::time::timeout;
use upshift_coordinator::coordination::{Coordination, Etcd, Locked};
use upshift_tests::{
    eventually_async,
    harness::{EtcdCluster, Relay},
};

use crate::{DEADLINE, LEASE, granted, member, prefix, run};

/// Longer than anything here takes: nothing ends because a lease did.
const LONG: std::time::Duration = LEASE.saturating_mul(60);

/// A client behind a relay, with a lease.
async fn relayed(cluster: &EtcdCluster, prefix: &str) -> Result<(Etcd, Relay)> {
    let relay = Relay::to(cluster.client_port(0)).await?;
    let mut options = cluster.options(prefix, LONG);
    options.endpoints = vec![format!("http://{}", relay.address())];
    let client = Etcd::connect(&options).await?;
    let worker = client.register_worker(&member("w")).await?;
    worker.release().await;
    Ok((client, relay))
}

/// Returns when etcd has been asked so often more.
async fn asked(cluster: &EtcdCluster, before: f64, more: f64) -> Result<()> {
    eventually_async("to be asked", DEADLINE, async || {
        Ok(txns(cluster)? >= before + more)
    })
    .await
}

fn txns(cluster: &EtcdCluster) -> Result<f64> {
    cluster.counted("grpc_server_started_total", &["grpc_method=\"Txn\""])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_given_up_holds_nothing() -> Result<()> {
    let cluster = EtcdCluster::start(1)?;
    let prefix = prefix();
    let (client, relay) = relayed(&cluster, &prefix).await?;
    let operator = cluster.operator(None).await?;
    let before = txns(&cluster)?;
    let holder = member("a");
    relay.mute();
    tokio::select! {
        answered = client.lock_database("db", &holder) => {
            answered?;
            anyhow::bail!("an answer got through");
        }
        granted = eventually_async("the request to be carried out", DEADLINE, async || {
            let key = format!("{prefix}/locks/db");
            Ok(operator.kv_client().get(key, None).await?.count() == 1)
        }) => granted?,
    }
    ensure!(txns(&cluster)? > before, "nothing was counted");
    relay.heal();
    let other = cluster.client(&prefix, LEASE).await?;
    let lock = timeout(DEADLINE, async {
        loop {
            if let Ok(lock) = granted(&other, "b").await {
                return lock;
            }
        }
    });
    lock.await
        .context("a lock that nobody holds stayed")?
        .release()
        .await;
    drop(client);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_request_that_comes_late_takes_nothing() -> Result<()> {
    let cluster = EtcdCluster::start(1)?;
    let prefix = prefix();
    let (client, relay) = relayed(&cluster, &prefix).await?;
    let mut operator = cluster.operator(None).await?;
    let before = txns(&cluster)?;
    relay.mute();
    let holder = member("a");
    let (locked, healed) = futures::join!(client.lock_database("db", &holder), async {
        asked(&cluster, before, 2.0).await?;
        relay.heal();
        anyhow::Ok(())
    });
    healed?;
    let Locked::Granted(held) = locked? else {
        anyhow::bail!("it was locked by its own first copy");
    };
    let key = format!("{prefix}/locks/db");
    let record = operator.get(key.clone(), None).await?;
    let record = record.kvs().first().context("no lock")?.clone();
    let parsed: serde_json::Value = serde_json::from_slice(record.value())?;
    let token = parsed["token"].as_str().context("no token")?;
    held.release().await;
    // What the client has sent, once more.
    let spent = format!("{prefix}/spent/{token}");
    let free = |key: &str| Compare::create_revision(key, CompareOp::Equal, 0);
    let copy = Txn::new()
        .when([free(&key), free(&spent)])
        .and_then([TxnOp::put(key.clone(), record.value(), None)]);
    let answer = operator.txn(copy).await?;
    ensure!(!answer.succeeded(), "the copy was carried out");
    // A request that was answered at once leaves nothing.
    granted(&client, "a").await?.release().await;
    let all = GetOptions::new().with_prefix().with_count_only();
    let spent = operator.get(format!("{prefix}/spent/"), Some(all)).await?;
    ensure!(spent.count() == 1, "{} tokens are kept", spent.count());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_write_does_not_undo_a_later_one() -> Result<()> {
    let cluster = EtcdCluster::start(1)?;
    let prefix = prefix();
    let (client, relay) = relayed(&cluster, &prefix).await?;
    let leads = client.campaign(&member("a")).await?;
    let mut entry = run("db");
    let before = txns(&cluster)?;
    relay.mute();
    let (written, healed) = futures::join!(client.put_run(&entry), async {
        asked(&cluster, before, 2.0).await?;
        relay.heal();
        anyhow::Ok(())
    });
    healed?;
    written?;
    ensure!(
        client.runs().await? == [entry.clone()],
        "it was not written"
    );
    let key = format!("{prefix}/runs/{}", entry.run);
    let mut operator = cluster.operator(None).await?;
    let found = operator.get(key.clone(), None).await?;
    let found = found.kvs().first().context("no run")?.clone();
    ensure!(found.version() == 1, "it was written twice");
    // Another wrote it, as the leader before did: that is seen, and written over.
    operator.put(key.clone(), "{}", None).await?;
    "prepared".clone_into(&mut entry.state);
    client.put_run(&entry).await?;
    ensure!(
        client.runs().await? == [entry],
        "the later one does not stand"
    );
    leads.release().await;
    Ok(())
}

/// A run that was forgotten and is there anew: a copy of the first request does not take it out.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_removal_does_not_take_out_what_is_there_anew() -> Result<()> {
    let cluster = EtcdCluster::start(1)?;
    let prefix = prefix();
    let client = cluster.client(&prefix, LONG).await?;
    let leads = client.campaign(&member("a")).await?;
    let entry = run("db");
    client.put_run(&entry).await?;
    let key = format!("{prefix}/runs/{}", entry.run);
    let mut operator = cluster.operator(None).await?;
    let answer = operator.get(key.clone(), None).await?;
    let seen = answer.header().context("no header")?.revision();
    let first = operator.get(format!("{prefix}/leader"), None).await?;
    let since = first
        .kvs()
        .first()
        .context("nobody leads")?
        .create_revision();
    client.forget_run(entry.run).await?;
    client.put_run(&entry).await?;
    // What the client has sent, once more.
    let copy = Txn::new()
        .when([
            Compare::mod_revision(key.clone(), CompareOp::Less, seen + 1),
            Compare::create_revision(format!("{prefix}/leader"), CompareOp::Equal, since),
        ])
        .and_then([TxnOp::delete(key.clone(), None)]);
    let answer = operator.txn(copy).await?;
    ensure!(!answer.succeeded(), "the copy was carried out");
    ensure!(client.runs().await? == [entry.clone()], "it was taken out");
    // Twice is as good as once.
    client.forget_run(entry.run).await?;
    client.forget_run(entry.run).await?;
    ensure!(client.runs().await?.is_empty(), "it stayed");
    leads.release().await;
    Ok(())
}
