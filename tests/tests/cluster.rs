//! A cluster on loopback: what operators ask of it, coordinators that end in the middle of a run, workers
//! that come and go, who is let in.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use upshift_tests::{
    cluster::{Cluster, leads},
    compare::{self, Snapshot},
    harness::Database,
    oracle, small_erp,
};

/// The small ERP, and the same after its pack by `psql`.
async fn databases() -> Result<(Database, Database)> {
    let database = small_erp::database().await?;
    let naive = database.copy()?;
    oracle::upgrade(&naive, &small_erp::pack()).await?;
    Ok((database, naive))
}

const SMALL: &[&str] = &["--unit-rows", "100", "--passes", "in-place"];

#[tokio::test]
async fn a_run_goes_through_the_cluster_and_back() -> Result<()> {
    let (database, naive) = databases().await?;
    let before = Snapshot::take(&database).await?;
    let cluster = Cluster::new(1, &[("erp", &database)], "")?;
    let _leader = cluster.leader()?;
    let _workers = [cluster.worker(2)?, cluster.worker(1)?];
    let run = cluster.submit(&small_erp::pack(), "erp", SMALL)?;
    cluster.expect(&run, "prepared")?;
    cluster.upshift(&["cluster", "rollback", &run]).succeed()?;
    cluster.expect(&run, "rolled_back")?;
    before.expect_same(&Snapshot::take(&database).await?, "rolled back")?;
    let watched = cluster
        .upshift(&["cluster", "submit", "--watch", "--database", "erp"])
        .argument(small_erp::pack())
        .arguments(&["--", "--commit", "--unit-rows", "100"])
        .succeed()?;
    ensure!(
        watched.stdout.contains("is committed"),
        "{}",
        watched.stdout
    );
    ensure!(watched.stdout.contains("task_done"), "{}", watched.stdout);
    compare::expect_same(&naive, &database, "committed").await?;
    let again = cluster
        .upshift(&["cluster", "submit", "--database", "erp"])
        .argument(small_erp::pack())
        .succeed()?;
    ensure!(again.stdout.contains("nothing to do"), "{}", again.stdout);
    for (refused, code) in [
        (vec!["cluster", "commit", &run], 3),
        (vec!["cluster", "pause", &run], 3),
        (vec!["cluster", "resume", &run], 3),
    ] {
        cluster.upshift(&refused).run()?.expect_code(code)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_standby_goes_on_where_the_leader_died() -> Result<()> {
    for point in ["after_checkpoint:1", "before_record:3", "before_end:1"] {
        let (database, naive) = databases().await?;
        let cluster = Cluster::new(1, &[("erp", &database)], "")?;
        let mut first = cluster
            .coordinator()
            .variable("UPSHIFT_FAILPOINT", point)
            .start()?;
        leads(&mut first)?;
        let _worker = cluster.worker(2)?;
        let run = cluster.submit(&small_erp::pack(), "erp", SMALL)?;
        let mut second = cluster.coordinator().start()?;
        leads(&mut second)?;
        ensure!(first.has_ended()?, "it was to die at {point}");
        cluster.expect(&run, "prepared")?;
        cluster.upshift(&["cluster", "commit", &run]).succeed()?;
        cluster.expect(&run, "committed")?;
        compare::expect_same(&naive, &database, point).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_leader_that_is_told_to_stop_hands_its_runs_over() -> Result<()> {
    let (database, naive) = databases().await?;
    let cluster = Cluster::new(1, &[("erp", &database)], "")?;
    let first = cluster.leader()?;
    let mut second = cluster.coordinator().start()?;
    let worker = cluster.worker(1)?;
    let run = cluster.submit(&small_erp::pack(), "erp", &["--unit-rows", "20"])?;
    first.signal(Signal::SIGTERM)?;
    first.wait()?.expect_code(0)?;
    leads(&mut second)?;
    cluster.expect(&run, "prepared")?;
    // It never stood still as failed.
    let events = upshift_tests::harness::Upshift::on(&database, ["events", "--json"]).succeed()?;
    ensure!(!events.stdout.contains("\"failed\""), "{}", events.stdout);
    worker.signal(Signal::SIGTERM)?;
    worker.wait()?.expect_code(0)?;
    compare::expect_same(&naive, &database, "prepared").await?;
    Ok(())
}

#[tokio::test]
async fn workers_come_and_go() -> Result<()> {
    let (database, naive) = databases().await?;
    let cluster = Cluster::new(1, &[("erp", &database)], "")?;
    let _leader = cluster.leader()?;
    let run = cluster.submit(&small_erp::pack(), "erp", &["--unit-rows", "20"])?;
    let doomed = cluster.worker(1)?;
    std::thread::sleep(Duration::from_millis(1500));
    doomed.kill()?;
    let drained = cluster.worker(1)?;
    std::thread::sleep(Duration::from_millis(1000));
    let listed = cluster
        .upshift(&["cluster", "workers", "--json"])
        .succeed()?;
    let workers: serde_json::Value = serde_json::from_str(&listed.stdout)?;
    let newest = workers
        .as_array()
        .and_then(|all| all.last())
        .map(|worker| worker["worker"].to_string());
    let newest = newest.unwrap_or_default();
    cluster.upshift(&["cluster", "drain", &newest]).succeed()?;
    drained.wait()?.expect_code(0)?;
    let _last = cluster.worker(4)?;
    cluster.expect(&run, "prepared")?;
    cluster.upshift(&["cluster", "commit", &run]).succeed()?;
    cluster.expect(&run, "committed")?;
    compare::expect_same(&naive, &database, "committed").await
}

#[tokio::test]
async fn a_pause_holds_until_the_run_is_resumed() -> Result<()> {
    let (database, _) = databases().await?;
    let before = Snapshot::take(&database).await?;
    let cluster = Cluster::new(1, &[("erp", &database)], "")?;
    let leader = cluster.leader()?;
    // Nobody works yet: it cannot end before it is paused.
    let run = cluster.submit(&small_erp::pack(), "erp", SMALL)?;
    cluster
        .upshift(&["cluster", "pause", &run, "--reason", "month end"])
        .succeed()?;
    let _worker = cluster.worker(2)?;
    let paused = |status: &serde_json::Value| status["message"] == "paused: month end";
    let mut status = cluster.status(&run)?;
    for _ in 0..100 {
        if paused(&status) {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
        status = cluster.status(&run)?;
    }
    ensure!(paused(&status), "{status}");
    // Another leader knows of it.
    leader.kill()?;
    let _second = cluster.leader()?;
    for _ in 0..100 {
        status = cluster.status(&run)?;
        if paused(&status) {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    ensure!(paused(&status), "{status}");
    cluster.upshift(&["cluster", "resume", &run]).succeed()?;
    cluster.expect(&run, "prepared")?;
    cluster.upshift(&["cluster", "rollback", &run]).succeed()?;
    cluster.expect(&run, "rolled_back")?;
    before.expect_same(&Snapshot::take(&database).await?, "rolled back")
}

#[tokio::test]
async fn only_who_shows_a_certificate_of_the_right_role_is_let_in() -> Result<()> {
    let (database, _) = databases().await?;
    let secret = "s3cret-token";
    let digest = sha256(secret);
    let more = format!(
        "max_pack = \"1MB\"\n[cluster.tls]\nca = \"CERTS/ca.pem\"\ncertificate = \"CERTS/ROLE.pem\"\nkey = \
         \"CERTS/ROLE.key\"\n[cluster.tokens.screen]\nrole = \"viewer\"\nsha256 = \"{digest}\"\n"
    );
    let cluster = Cluster::new(1, &[("erp", &database)], &more)?;
    let certs = cluster.folder().join("certs");
    let certs_command = || upshift_tests::harness::Upshift::new(["certs"]).argument(&certs);
    certs_command().succeed()?;
    // Nothing is written over.
    certs_command().run()?.expect_code(3)?;
    let text = fs::read_to_string(cluster.file())?;
    let of_role = |role: &str| -> Result<std::path::PathBuf> {
        let file = cluster.folder().join(format!("{role}.toml"));
        let text = text
            .replace("CERTS", &certs.display().to_string())
            .replace("ROLE", role);
        fs::write(&file, text)?;
        Ok(file)
    };
    let call = |role: &str, arguments: &[&str]| -> Result<upshift_tests::harness::Upshift> {
        Ok(upshift_tests::harness::Upshift::new(["--config"])
            .argument(of_role(role)?)
            .arguments(arguments))
    };
    let mut leader = call("coordinator", &["coordinator"])?.start()?;
    leads(&mut leader)?;
    let worker = call("worker", &["worker", "--slots", "2"])?.start()?;
    call("viewer", &["cluster", "status"])?.succeed()?;
    let submit = |role: &str| -> Result<upshift_tests::harness::Upshift> {
        let submit = call(role, &["cluster", "submit", "--watch", "--database", "erp"])?;
        Ok(submit.argument(small_erp::pack()))
    };
    for role in ["viewer", "worker"] {
        let refused = submit(role)?.run()?.expect_code(2)?;
        ensure!(
            refused.stderr.contains("is for operator"),
            "{}",
            refused.stderr
        );
    }
    let refused = call("operator", &["worker"])?.run()?.expect_code(3)?;
    ensure!(
        refused.stderr.contains("is for worker"),
        "{}",
        refused.stderr
    );
    submit("operator")?.succeed()?;
    // A certificate of another CA is nobody's.
    let strangers = cluster.folder().join("strangers");
    upshift_tests::harness::Upshift::new(["certs"])
        .argument(&strangers)
        .succeed()?;
    let file = of_role("stranger")?;
    let text = fs::read_to_string(&file)?.replace("certs/stranger", "strangers/operator");
    fs::write(&file, text)?;
    let refused = upshift_tests::harness::Upshift::new(["--config"])
        .argument(&file)
        .arguments(&["cluster", "status"])
        .run()?
        .expect_code(1)?;
    ensure!(!refused.stderr.contains(secret), "{}", refused.stderr);
    // A token does without a certificate, for what its role may do.
    let file = of_role("token")?;
    let text = fs::read_to_string(&file)?;
    let text: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("/token."))
        .collect();
    let text = text
        .join("\n")
        .replace("lease = ", "token_env = \"SCREEN_TOKEN\"\nlease = ");
    fs::write(&file, text)?;
    let with_token = |token: &str, arguments: &[&str]| {
        upshift_tests::harness::Upshift::new(["--config"])
            .argument(&file)
            .arguments(arguments)
            .variable("SCREEN_TOKEN", token)
    };
    with_token(secret, &["cluster", "workers"]).succeed()?;
    let run = "01900000-0000-7000-8000-000000000000";
    let refused = with_token(secret, &["cluster", "pause", run]).run()?;
    ensure!(refused.stderr.contains("is viewer"), "{}", refused.stderr);
    with_token("another", &["cluster", "workers"])
        .run()?
        .expect_code(2)?;
    worker.signal(Signal::SIGTERM)?;
    worker.wait()?.expect_code(0)?;
    leader.signal(Signal::SIGTERM)?;
    let said = leader.wait()?.expect_code(0)?;
    ensure!(
        said.stderr.contains("\"audit\":\"submit\""),
        "{}",
        said.stderr
    );
    ensure!(!said.stderr.contains(secret), "{}", said.stderr);
    Ok(())
}

fn sha256(text: &str) -> String {
    use sha2::{Digest, Sha256};
    use std::fmt::Write;
    Sha256::digest(text)
        .iter()
        .fold(String::new(), |mut all, byte| {
            let _never = write!(all, "{byte:02x}");
            all
        })
}

#[tokio::test]
async fn plain_text_off_loopback_has_to_be_said_in_words() -> Result<()> {
    let (database, _) = databases().await?;
    let cluster = Cluster::new(1, &[("erp", &database)], "")?;
    let text = fs::read_to_string(cluster.file())?;
    fs::write(cluster.file(), text.replace("127.0.0.1:0", "0.0.0.0:0"))?;
    let refused = cluster.coordinator().run()?.expect_code(2)?;
    ensure!(
        refused.stderr.contains("insecure = true"),
        "{}",
        refused.stderr
    );
    Ok(())
}
