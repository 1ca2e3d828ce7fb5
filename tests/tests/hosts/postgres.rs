//! PostgreSQL servers on hosts of their own.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Result, ensure};
use upshift_coordinator::demo::cluster::find_client;
use upshift_tests::harness::{Host, HostPostgres, Network, Slowness, Upshift, one_module};

use crate::DEADLINE;

/// Asks a server from a host.
fn ask(from: &Host, server: &HostPostgres, sql: &str) -> Result<Output> {
    let mut psql = Command::new(find_client(server.cluster().binaries(), "psql"));
    psql.args(["-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d"])
        .args([&server.url("postgres"), "-c", sql])
        .env("PGCONNECT_TIMEOUT", "2")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = from.spawn(psql)?;
    let status = process.wait(DEADLINE)?;
    let child = process.child();
    let read = |from: &mut dyn std::io::Read| -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let stdout = child
        .stdout
        .as_mut()
        .map_or(Ok(Vec::new()), |pipe| read(pipe))?;
    let stderr = child
        .stderr
        .as_mut()
        .map_or(Ok(Vec::new()), |pipe| read(pipe))?;
    Ok(Output {
        status,
        stdout,
        stderr,
    })
}

fn answers(from: &Host, server: &HostPostgres) -> Result<bool> {
    Ok(ask(from, server, "SELECT 1")?.stdout == b"1\n")
}

#[test]
fn servers_are_reached_cut_off_and_killed_one_by_one() -> Result<()> {
    let Some(network) = Network::or_skip(&["db1", "db2", "worker"])? else {
        return Ok(());
    };
    let worker = network.host("worker");
    let mut first = HostPostgres::start(network.host("db1"))?;
    let second = HostPostgres::start(network.host("db2"))?;
    for server in [&first, &second] {
        let said = ask(worker, server, "SELECT inet_server_addr()")?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        ensure!(said.trim() == server.host().address().to_string(), "{said}");
        // Nobody gets in without the password.
        let mut nameless = Command::new(find_client(server.cluster().binaries(), "psql"));
        let url = server
            .url("postgres")
            .replace(server.cluster().password(), "wrong");
        nameless
            .args([&url, "-X", "-c", "SELECT 1"])
            .env("PGPASSFILE", "/dev/null");
        nameless
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let status = worker.spawn(nameless)?.wait(DEADLINE)?;
        ensure!(!status.success(), "it was let in with a wrong password");
    }
    network.cut_one_way(worker, first.host())?;
    ensure!(!answers(worker, &first)?, "it is not cut off");
    ensure!(answers(worker, &second)?, "the other is cut off too");
    network.heal_all()?;
    network.cut_one_way(first.host(), worker)?;
    ensure!(!answers(worker, &first)?, "its answers are not cut off");
    // The test itself sees what happens there.
    ensure!(first.psql("postgres", "SELECT 1")? == "1", "it is gone");
    network.heal_all()?;
    ensure!(answers(worker, &first)?, "it is not healed");

    first.psql("postgres", "CREATE TABLE kept AS SELECT 7 AS x")?;
    // Servers of tests commit asynchronously.
    first.psql("postgres", "CHECKPOINT")?;
    first.host().kill()?;
    ensure!(!answers(worker, &first)?, "it lives");
    ensure!(answers(worker, &second)?, "the other was killed too");
    first.start_again()?;
    let said = ask(worker, &first, "SELECT x FROM kept")?;
    ensure!(
        said.stdout == b"7\n",
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
    first.crash()?;
    ensure!(!answers(worker, &first)?, "it lives");
    first.start_again()?;
    first.host().pause()?;
    ensure!(!answers(worker, &first)?, "it is not paused");
    first.host().resume()?;
    ensure!(answers(worker, &first)?, "it does not go on");

    let directory = first.cluster().data_directory();
    first.host().pause()?;
    drop(first);
    ensure!(!Path::new(&directory).exists(), "its files are left");
    Ok(())
}

/// A run whose database is on another host, over slow links that are cut in either direction for a while.
#[test]
fn a_run_over_links_that_fail_ends_as_over_whole_ones() -> Result<()> {
    let Some(network) = Network::or_skip(&["db", "worker"])? else {
        return Ok(());
    };
    let (db, worker) = (network.host("db"), network.host("worker"));
    let server = HostPostgres::start(db)?;
    server.psql(
        "postgres",
        "CREATE TABLE t AS SELECT n AS id, n AS value FROM generate_series(1, 4000) n; \
         ALTER TABLE t ADD PRIMARY KEY (id)",
    )?;
    let pack = one_module(&[("post-t.sql", "UPDATE t SET value = value + 1;\n")])?;
    let database = format!("postgresql://postgres@{}/postgres", server.place());
    let upshift = |words: &[&str]| {
        Upshift::new(words)
            .arguments(&["--database", &database])
            .variable("PGPASSWORD", server.cluster().password())
            .on_host(worker)
    };
    for (from, to, seed) in [(db, worker, 1), (worker, db, 2)] {
        let delay = Duration::from_millis(5);
        let how = Slowness {
            delay,
            loss: 0.005,
            seed,
        };
        network.slow(from, to, how)?;
    }
    let workers = ["--workers", "2", "--unit-rows", "20", "--json"];
    let mut running = upshift(&["run"])
        .arguments(&workers)
        .arguments(&["--passes", "in-place"])
        .argument(pack.path())
        .start()?;
    for (from, to) in [(db, worker), (worker, db)] {
        running.units_done(5)?;
        network.cut_one_way(from, to)?;
        // A fault that lasts: there is nothing to wait for but time.
        std::thread::sleep(Duration::from_secs(3));
        network.heal_all()?;
    }
    if running.wait()?.code != Some(0) {
        upshift(&["resume"]).succeed()?;
    }
    upshift(&["commit"]).succeed()?;
    let wrong = "SELECT count(*), count(*) FILTER (WHERE value <> id + 1) FROM t";
    let found = server.psql("postgres", wrong)?;
    ensure!(found == "4000|0", "{found}");
    Ok(())
}
