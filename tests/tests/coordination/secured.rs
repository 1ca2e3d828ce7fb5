//! etcd behind TLS, with users whose roles are confined to a prefix.

use std::{fs::Permissions, os::unix::fs::PermissionsExt, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use etcd_client::Permission;
use tempfile::TempDir;
use tokio::time::timeout;
use upshift_coordinator::coordination::{Coordination, Etcd, EtcdOptions, Topic, suite};
use upshift_tests::{
    eventually_async,
    harness::{Authority, EtcdCluster},
};

use crate::{DEADLINE, LEASE, granted, member, prefix, run};

const PASSWORD: &str = "of a user of etcd, for tests only";

/// A secured member that knows a user who may use this prefix and nothing else.
async fn confined(prefix: &str) -> Result<EtcdCluster> {
    confined_with(prefix, &[]).await
}

async fn confined_with(prefix: &str, settings: &[&str]) -> Result<EtcdCluster> {
    let settings = [&["--bcrypt-cost", "4"], settings].concat();
    let cluster = EtcdCluster::start_secured(1, &settings)?;
    let mut operator = cluster.operator(None).await?;
    operator.role_add("confined").await?;
    let below = Permission::read_write(format!("{prefix}/")).with_prefix();
    operator.role_grant_permission("confined", below).await?;
    operator.user_add("upshift", PASSWORD, None).await?;
    operator.user_grant_role("upshift", "confined").await?;
    operator.user_add("root", PASSWORD, None).await?;
    operator.user_grant_role("root", "root").await?;
    operator.auth_enable().await?;
    Ok(cluster)
}

fn as_user(cluster: &EtcdCluster, prefix: &str, password: &str) -> EtcdOptions {
    let mut options = cluster.options(prefix, LEASE);
    options.user = Some(("upshift".to_owned(), password.to_owned()));
    options
}

async fn refusal(options: &EtcdOptions) -> Result<String> {
    match timeout(DEADLINE, Etcd::connect(options)).await? {
        Ok(_) => anyhow::bail!("it was let in"),
        Err(error) => Ok(format!("{:#}", anyhow::Error::from(error))),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confined_user_behind_tls_passes_the_suite() -> Result<()> {
    let prefix = prefix();
    let cluster = confined(&prefix).await?;
    let stores = std::sync::atomic::AtomicU32::new(0);
    suite::run(async || {
        let store = stores.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let options = as_user(&cluster, &format!("{prefix}/{store}"), PASSWORD);
        Etcd::connect(&options).await.expect("etcd answers")
    })
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_known_is_let_in_nowhere() -> Result<()> {
    let prefix = prefix();
    let cluster = confined(&prefix).await?;
    let wrong = refusal(&as_user(&cluster, &prefix, "another password")).await?;
    ensure!(wrong.contains("authentication failed"), "{wrong}");
    ensure!(!wrong.contains("another password"), "{wrong}");
    let outside = refusal(&as_user(&cluster, "/another", PASSWORD)).await?;
    ensure!(outside.contains("permission denied"), "{outside}");
    // etcd takes the name in the certificate for that of a user who gives none.
    let anonymous = refusal(&cluster.options(&prefix, LEASE)).await?;
    ensure!(anonymous.contains("permission denied"), "{anonymous}");

    let mut plain = as_user(&cluster, &prefix, PASSWORD);
    plain.tls = None;
    plain.endpoints = plain
        .endpoints
        .iter()
        .map(|url| url.replace("https", "http"))
        .collect();
    let mut nameless = as_user(&cluster, &prefix, PASSWORD);
    if let Some(tls) = &mut nameless.tls {
        tls.identity = None;
    }
    let mut stranger = as_user(&cluster, &prefix, PASSWORD);
    let other = Authority::new()?;
    let identity = other.identity("client", &[])?;
    if let Some(tls) = &mut stranger.tls {
        tls.identity = Some((identity.certificate, identity.key));
    }
    let mut mistrusting = as_user(&cluster, &prefix, PASSWORD);
    if let Some(tls) = &mut mistrusting.tls {
        other.certificate().clone_into(&mut tls.authority);
    }
    let refusals = futures::join!(
        refusal(&plain),
        refusal(&nameless),
        refusal(&stranger),
        refusal(&mistrusting)
    );
    for refused in [refusals.0, refusals.1, refusals.2, refusals.3] {
        let refused = refused?;
        ensure!(refused.contains("connecting to etcd at http"), "{refused}");
        ensure!(!refused.contains(PASSWORD), "{refused}");
    }
    Ok(())
}

/// A member that was started again knows none of the tokens that it gave.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_no_longer_known_are_asked_for_again() -> Result<()> {
    let prefix = prefix();
    let mut cluster = confined(&prefix).await?;
    let mut options = as_user(&cluster, &prefix, PASSWORD);
    options.lease = Duration::from_secs(20);
    let watcher = Etcd::connect(&options).await?;
    let mut runs = watcher.watch(Topic::Runs).await?;
    let holder = Etcd::connect(&options).await?;
    let held = granted(&holder, "a").await?;
    cluster.kill_member(0);
    cluster.start_member(0)?;
    // Only others write: the watch has to find out for itself.
    holder.put_run(&run("db")).await?;
    timeout(DEADLINE, runs.recv()).await?.context("it ended")?;
    let before = cluster.counted("grpc_server_msg_received_total", &["LeaseKeepAlive"])?;
    eventually_async("renewals", DEADLINE, async || {
        let now = cluster.counted("grpc_server_msg_received_total", &["LeaseKeepAlive"])?;
        Ok(now >= before + 2.0)
    })
    .await?;
    let lost = timeout(Duration::ZERO, held.lost()).await;
    ensure!(lost.is_err(), "the lock was lost: {lost:?}");
    let registered = holder.register_worker(&member("w")).await?;
    ensure!(watcher.workers().await? == [member("w")], "no worker");
    registered.release().await;
    held.release().await;
    Ok(())
}

/// A folder with a key for signing tokens, and the setting that has etcd use it.
fn signed_tokens() -> Result<(TempDir, String)> {
    let folder = TempDir::new()?;
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (private, public) = (place("token.key"), place("token.pem"));
    for words in [
        vec!["genrsa", "-traditional", "-out", &private, "2048"],
        vec!["rsa", "-in", &private, "-pubout", "-out", &public],
    ] {
        let made = Command::new("openssl").args(&words).output()?;
        let said = String::from_utf8_lossy(&made.stderr);
        ensure!(made.status.success(), "openssl {words:?}: {said}");
    }
    std::fs::set_permissions(&private, Permissions::from_mode(0o644))?;
    let tokens = format!("jwt,pub-key={public},priv-key={private},sign-method=RS256,ttl=1h");
    Ok((folder, tokens))
}

/// Signed tokens say which users and roles there were when they were given.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_older_than_a_change_of_roles_are_asked_for_again() -> Result<()> {
    let (_folder, tokens) = signed_tokens()?;
    let prefix = prefix();
    let cluster = confined_with(&prefix, &["--auth-token", &tokens]).await?;
    let mut options = as_user(&cluster, &prefix, PASSWORD);
    options.lease = Duration::from_secs(20);
    let client = Etcd::connect(&options).await?;
    let held = granted(&client, "a").await?;
    let watcher = Etcd::connect(&options).await?;

    let mut operator = cluster.operator(Some(("root", PASSWORD))).await?;
    operator.role_add("another").await?;
    client.put_run(&run("db")).await?;
    let mut runs = timeout(DEADLINE, watcher.watch(Topic::Runs)).await??;
    let mut operator = cluster.operator(Some(("root", PASSWORD))).await?;
    operator.role_delete("another").await?;
    held.release().await;
    granted(&client, "a").await?.release().await;
    client.put_run(&run("db")).await?;
    timeout(DEADLINE, runs.recv()).await?.context("it ended")?;
    let mut operator = cluster.operator(Some(("root", PASSWORD))).await?;
    operator.role_add("another").await?;
    let fresh = Etcd::connect(&options).await?;
    let held = granted(&fresh, "a").await?;
    held.release().await;
    Ok(())
}

/// etcd checks a token where a request comes in and once more where it is carried out: roles that are
/// changed in between are told of in other words.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_on_their_way_while_roles_are_changed_are_asked_for_again() -> Result<()>
{
    let (_folder, tokens) = signed_tokens()?;
    let prefix = prefix();
    let cluster = confined_with(&prefix, &["--auth-token", &tokens]).await?;
    let client = Etcd::connect(&as_user(&cluster, &prefix, PASSWORD)).await?;
    let changing = async {
        for round in 0..60 {
            let mut operator = cluster.operator(Some(("root", PASSWORD))).await?;
            operator.role_add(format!("role {round}")).await?;
        }
        anyhow::Ok(())
    };
    let writing = async {
        let begun = tokio::time::Instant::now();
        for round in 0..400 {
            client.put_run(&run(&format!("db{}", round % 8))).await?;
            if begun.elapsed() > DEADLINE {
                break;
            }
        }
        anyhow::Ok(())
    };
    let (changed, written) = futures::join!(changing, writing);
    changed?;
    written?;
    Ok(())
}
