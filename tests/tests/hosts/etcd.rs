//! etcd on three hosts, and clients on others.

use std::{process::Stdio, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::ChildStdout,
    sync::oneshot,
    time::timeout,
};
use upshift_coordinator::coordination::{Coordination, Etcd, EtcdOptions};
use upshift_shared::clock::Stopwatch;
use upshift_tests::{
    cluster::{member, prefix, run},
    harness::{EtcdCluster, Network, Slowness},
};

use crate::DEADLINE;

const MEMBERS: [&str; 3] = ["etcd1", "etcd2", "etcd3"];
/// Longer than it takes in the worst case until a leader that hears nobody steps down (an election timeout of
/// etcd, up to two seconds) and another one is elected (as long again).
const LONG_LEASE: Duration = Duration::from_secs(8);
const WHOLE_FOR: Duration = Duration::from_secs(2);
const LEASE: Duration = Duration::from_secs(4);
/// What a takeover may take besides the lease: etcd looks twice a second which leases have run out, and may
/// have just elected another leader, who gives every lease its whole time again.
const TAKEOVER: Duration = Duration::from_secs(10);

/// Three hosts with etcd, and these besides.
struct Scene {
    // Dropped first: the members end before their hosts do.
    etcd: EtcdCluster,
    network: Network,
    prefix: String,
}

impl Scene {
    fn or_skip(clients: &[&str]) -> Result<Option<Self>> {
        let names: Vec<&str> = MEMBERS.iter().chain(clients).copied().collect();
        let Some(network) = Network::or_skip(&names)? else {
            return Ok(None);
        };
        let hosts = MEMBERS.map(|name| network.host(name));
        Ok(Some(Self {
            etcd: EtcdCluster::start_on(&hosts)?,
            prefix: prefix(),
            network,
        }))
    }

    fn options(&self, lease: Duration) -> EtcdOptions {
        self.etcd.options(&self.prefix, lease)
    }
}

/// Returns the one member that leads the others, once the last fault is over for all of them: one that was
/// cut off opens its streams anew, which takes etcd up to some seconds, and a member says that it is in touch
/// with another one where one direction of two is open, so the look is repeated for [`WHOLE_FOR`].
async fn leader(etcd: &EtcdCluster) -> Result<usize> {
    let found = timeout(DEADLINE, async {
        let mut whole_since = Stopwatch::start();
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if !etcd.is_whole() {
                whole_since = Stopwatch::start();
            } else if whole_since.elapsed() > WHOLE_FOR
                && let [leader] = etcd.leaders()[..]
            {
                return leader;
            }
        }
    });
    found.await.context("etcd does not become whole")
}

/// Cuts the host of whoever leads off from etcd in one direction: it knows that it leads no more before
/// anybody else leads, somebody else does soon, and what it writes then is refused.
async fn a_leader_is_cut_off(its_words: bool) -> Result<()> {
    let Some(scene) = Scene::or_skip(&["old", "new"])? else {
        return Ok(());
    };
    let (network, options) = (&scene.network, scene.options(LEASE));
    let (old_host, new_host) = (network.host("old"), network.host("new"));
    let (on_old, on_new) = (old_host.tasks()?, new_host.tasks()?);
    let connecting = options.clone();
    let (old, leads) = on_old
        .run(async move {
            let old = Arc::new(Etcd::connect(&connecting).await?);
            let leads = old.campaign(&member("old")).await?;
            old.put_run(&run("db")).await?;
            Ok((old, leads))
        })
        .await?;
    let new = Arc::new(
        on_new
            .run(async move { Ok(Etcd::connect(&options).await?) })
            .await?,
    );
    let candidate = Arc::clone(&new);
    let waits = on_new.spawn(async move { candidate.campaign(&member("new")).await });

    for name in MEMBERS {
        let etcd = network.host(name);
        if its_words {
            network.cut_one_way(old_host, etcd)?;
        } else {
            network.cut_one_way(etcd, old_host)?;
        }
    }
    let begun = Stopwatch::start();
    let lost = on_old.spawn(async move {
        let why = leads.lost().await;
        (why, begun.elapsed())
    });
    let (why, lost_after) = timeout(DEADLINE, lost).await??;
    ensure!(why.contains("lease"), "{why}");
    ensure!(lost_after < LEASE * 2, "it took {lost_after:?}");
    let follows = timeout(DEADLINE, waits).await???;
    let led_after = begun.elapsed();
    ensure!(
        led_after > lost_after,
        "two led: {lost_after:?}, {led_after:?}"
    );
    ensure!(led_after < LEASE + TAKEOVER, "nobody led for {led_after:?}");
    let written = run("written by the new one");
    let entry = written.clone();
    let writer = Arc::clone(&new);
    on_new
        .run(async move { Ok(writer.put_run(&entry).await?) })
        .await?;

    network.heal_all()?;
    let refused = on_old.run(async move { Ok(old.put_run(&run("late")).await?) });
    let refused = timeout(DEADLINE, refused).await?;
    let refused = refused.err().context("the old one wrote")?;
    ensure!(
        format!("refused: {refused}").starts_with(NO_LONGER),
        "{refused:#}"
    );
    let runs = on_new.run(async move { Ok(new.runs().await?) }).await?;
    ensure!(runs.len() == 2 && runs.contains(&written), "{runs:?}");
    on_new.spawn(async move { follows.release().await }).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_etcd_does_not_hear_stops_in_time() -> Result<()> {
    a_leader_is_cut_off(true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_does_not_hear_etcd_stops_in_time() -> Result<()> {
    a_leader_is_cut_off(false).await
}

/// The member that leads etcd is cut off from the other ones in either direction, from the client, paused,
/// killed: what the client holds outlives it all.
///
/// Not that the paused one goes on again: it may not have noticed that it leads no more, and end every lease
/// that nobody has renewed with *it* (etcd's issue 15247, mended in 3.4.28 and 3.5.11; Debian has 3.4.23). So
/// much is tested then: the client learns of it, and leads again.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_outlives_every_fault_of_a_member() -> Result<()> {
    let Some(mut scene) = Scene::or_skip(&["client"])? else {
        return Ok(());
    };
    let options = scene.options(LONG_LEASE);
    let network = &scene.network;
    let client_host = network.host("client");
    let tasks = client_host.tasks()?;
    let client = tasks
        .run(async move { Ok(Arc::new(Etcd::connect(&options).await?)) })
        .await?;
    for fault in ["unheard", "deaf", "away", "paused", "killed"] {
        let number = leader(&scene.etcd).await?;
        let candidate = Arc::clone(&client);
        let leads = tasks.run(async move { Ok(candidate.campaign(&member("client")).await?) });
        let leads = timeout(DEADLINE, leads).await??;
        let (release, released) = oneshot::channel::<()>();
        let mut lost = tasks.spawn(async move {
            let why = tokio::select! {
                why = leads.lost() => why,
                _ = released => "it was given back".to_owned(),
            };
            leads.release().await;
            why
        });
        let leader = network.host(MEMBERS[number]);
        for name in MEMBERS.iter().filter(|name| **name != leader.name()) {
            let other = network.host(name);
            match fault {
                "unheard" => network.cut_one_way(leader, other)?,
                "deaf" => network.cut_one_way(other, leader)?,
                "away" => network.cut(leader, client_host)?,
                "paused" => leader.pause()?,
                _ => leader.kill()?,
            }
        }
        let begun = Stopwatch::start();
        while begun.elapsed() < LONG_LEASE * 3 / 2 {
            let writer = Arc::clone(&client);
            let written = tasks.run(async move { Ok(writer.put_run(&run("db")).await?) });
            timeout(DEADLINE, written)
                .await?
                .with_context(|| format!("writing while the leader is {fault}"))?;
            if lost.is_finished() {
                let (why, after) = ((&mut lost).await?, begun.elapsed());
                anyhow::bail!("the lead was lost {after:?} after one was {fault}: {why}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        network.heal_all()?;
        leader.resume()?;
        if fault == "killed" {
            scene.etcd.start_member(number)?;
        }
        let _told = release.send(());
        timeout(DEADLINE, lost).await??;
    }
    Ok(())
}

/// etcd behind links that delay every packet and lose some.
#[tokio::test(flavor = "multi_thread")]
async fn slow_links_cost_time_and_nothing_else() -> Result<()> {
    let Some(scene) = Scene::or_skip(&["client"])? else {
        return Ok(());
    };
    let (network, options) = (&scene.network, scene.options(LEASE * 2));
    let client_host = network.host("client");
    let delay = Duration::from_millis(40);
    for (name, seed) in MEMBERS.iter().zip(1..) {
        let how = Slowness {
            delay,
            loss: 0.01,
            seed,
        };
        network.slow(client_host, network.host(name), how)?;
        network.slow(network.host(name), client_host, how)?;
    }
    let tasks = client_host.tasks()?;
    let (took, lost) = tasks
        .run(async move {
            let client = Etcd::connect(&options).await?;
            let leads = client.campaign(&member("client")).await?;
            let begun = Stopwatch::start();
            for _ in 0..20 {
                client.put_run(&run("db")).await?;
            }
            let lost = timeout(LEASE * 3, leads.lost()).await;
            leads.release().await;
            Ok((begun.elapsed(), lost.ok()))
        })
        .await?;
    ensure!(took >= delay * 2 * 20, "20 round trips took {took:?}");
    ensure!(lost.is_none(), "the lead was lost: {lost:?}");
    Ok(())
}

/// What a write that comes too late is told.
const NO_LONGER: &str = "refused: this coordinator no longer leads";

const WRITER: &str = "etcd::a_leader_that_is_paused";
const WRITER_VARIABLE: &str = "UPSHIFT_TEST_WRITER";

/// Not a test: the leader that [`a_paused_leader_that_wakes_up_late_writes_nothing`] pauses. It writes run
/// after run and says what became of each.
#[tokio::test]
async fn a_leader_that_is_paused() -> Result<()> {
    let Ok(text) = std::env::var(WRITER_VARIABLE) else {
        return Ok(());
    };
    let mut words = text.split_whitespace().map(ToOwned::to_owned);
    let options = EtcdOptions {
        prefix: words.next().context("no prefix")?,
        endpoints: words.collect(),
        lease: LEASE,
        user: None,
        tls: None,
    };
    let client = Etcd::connect(&options).await?;
    let _leads = client.campaign(&member("old")).await?;
    println!("\nleads");
    // It does not even look whether it still leads.
    loop {
        match client.put_run(&run("old")).await {
            Ok(()) => println!("written"),
            Err(error) => println!("refused: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn said(lines: &mut Lines<BufReader<ChildStdout>>, word: &str) -> Result<()> {
    let heard = timeout(DEADLINE, async {
        while let Some(line) = lines.next_line().await? {
            if line.starts_with(word) {
                return Ok(());
            }
        }
        anyhow::bail!("it ended")
    });
    heard
        .await
        .with_context(|| format!("waiting for \"{word}\""))?
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_leader_that_wakes_up_late_writes_nothing() -> Result<()> {
    let Some(scene) = Scene::or_skip(&["old", "new"])? else {
        return Ok(());
    };
    let mut command = std::process::Command::new(std::env::current_exe()?);
    let words = [scene.prefix.clone()]
        .into_iter()
        .chain(scene.etcd.endpoints());
    command
        .args([WRITER, "--exact", "--nocapture"])
        .env(WRITER_VARIABLE, words.collect::<Vec<_>>().join(" "))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let old_host = scene.network.host("old");
    let mut old = old_host.spawn(command)?;
    let output = old.child().stdout.take().context("it is piped")?;
    let mut lines = BufReader::new(ChildStdout::from_std(output)?).lines();
    said(&mut lines, "leads").await?;
    said(&mut lines, "written").await?;
    old_host.pause()?;

    let (on_new, options) = (scene.network.host("new").tasks()?, scene.options(LEASE));
    let (new, _leads, before) = on_new
        .run(async move {
            let new = Arc::new(Etcd::connect(&options).await?);
            let leads = timeout(LEASE + TAKEOVER, new.campaign(&member("new"))).await??;
            let before = new.runs().await?.len();
            Ok((new, leads, before))
        })
        .await?;
    old_host.resume()?;
    said(&mut lines, NO_LONGER).await?;
    let after = on_new
        .run(async move { Ok(new.runs().await?.len()) })
        .await?;
    ensure!(after == before, "{} runs were written late", after - before);
    Ok(())
}
