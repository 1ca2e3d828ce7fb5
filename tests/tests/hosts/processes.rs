//! Processes of hosts: paused, killed, and gone with the test that made them.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use upshift_tests::{
    eventually,
    harness::{Network, Process},
};

use crate::DEADLINE;

/// A test that another one runs as a process of its own, to kill it.
const DOOMED: &str = "processes::a_test_that_is_killed";
const DOOMED_VARIABLE: &str = "UPSHIFT_TEST_DOOMED";

fn sleeper() -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "sleep 1000 & wait"])
        .stdin(Stdio::null());
    command
}

/// What Linux says of a process: `T` where it is stopped; `None` where it is gone.
fn state(id: u32) -> Option<char> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    text.rsplit_once(')')?.1.trim_start().chars().next()
}

fn id(process: &mut Process) -> u32 {
    process.child().id()
}

#[test]
fn all_processes_of_a_host_are_paused_and_killed_and_no_other() -> Result<()> {
    let Some(network) = Network::or_skip(&["a", "b"])? else {
        return Ok(());
    };
    let (mut one, mut two) = (
        network.spawn("a", sleeper())?,
        network.spawn("a", sleeper())?,
    );
    let mut other = network.spawn("b", sleeper())?;
    let (first, second, third) = (id(&mut one), id(&mut two), id(&mut other));
    network.host("a").pause()?;
    eventually("to be paused", DEADLINE, || {
        Ok(state(first) == Some('T') && state(second) == Some('T'))
    })?;
    ensure!(state(third) == Some('S'), "another host is paused");
    network.host("a").resume()?;
    eventually("to go on", DEADLINE, || Ok(state(first) == Some('S')))?;
    one.signal(Signal::SIGTERM)?;
    ensure!(!one.wait(DEADLINE)?.success(), "it was not ended");
    network.host("a").pause()?;
    network.host("a").kill()?;
    ensure!(!two.wait(DEADLINE)?.success(), "it was not ended");
    ensure!(state(third) == Some('S'), "another host is killed");
    // The host itself lives.
    let mut again = network.spawn("a", Command::new("true"))?;
    ensure!(again.wait(DEADLINE)?.success(), "nothing starts any more");
    Ok(())
}

/// Not a test: what [`nothing_outlives_a_test_that_is_killed`] kills.
#[test]
fn a_test_that_is_killed() -> Result<()> {
    if std::env::var_os(DOOMED_VARIABLE).is_none() {
        return Ok(());
    }
    let network = Network::new(&["a"])?;
    let mut sleeps = network.spawn("a", sleeper())?;
    println!("\nprocess {}", id(&mut sleeps));
    loop {
        thread::park();
    }
}

#[test]
fn nothing_outlives_a_test_that_is_killed() -> Result<()> {
    if Network::or_skip(&["a"])?.is_none() {
        return Ok(());
    }
    let mut doomed = Command::new(std::env::current_exe()?)
        .args([DOOMED, "--exact", "--nocapture"])
        .env(DOOMED_VARIABLE, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = doomed.stdout.take().context("it is piped")?;
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let id = lines
        .find_map(|line| line.strip_prefix("process ")?.parse::<u32>().ok())
        .context("it says no process")?;
    ensure!(
        Path::new(&format!("/proc/{id}")).exists(),
        "it does not run"
    );
    let device = || {
        let path = format!("/proc/{id}/net/dev");
        std::fs::read_to_string(path).is_ok_and(|text| text.contains("eth0"))
    };
    ensure!(device(), "it has no network");
    doomed.kill()?;
    doomed.wait()?;
    eventually("to end with its test", DEADLINE, || {
        Ok(matches!(state(id), None | Some('Z')))
    })?;
    Ok(())
}
