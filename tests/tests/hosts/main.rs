//! Hosts on one machine: that links are cut and slowed down as is said, that nothing is left over, and what
//! becomes of etcd's clients and of PostgreSQL's behind such links.

mod etcd;
mod postgres;
mod processes;

use std::{
    net::UdpSocket,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use upshift_shared::clock::Stopwatch;
use upshift_tests::harness::{Host, Network, Slowness};

/// Nothing that must happen may take longer.
const DEADLINE: Duration = Duration::from_secs(60);
/// So long a datagram is waited for that is not to arrive.
const SILENCE: Duration = Duration::from_millis(300);

/// A socket on a host.
fn socket(host: &Host) -> Result<UdpSocket> {
    let address = (host.address(), 0);
    let socket = host.inside(|| Ok(UdpSocket::bind(address)?))?;
    socket.set_read_timeout(Some(SILENCE))?;
    Ok(socket)
}

/// The numbers of words that have reached it, as long as there is less than a silence between them.
fn heard(at: &UdpSocket) -> impl Iterator<Item = u64> {
    std::iter::from_fn(|| {
        let mut word = [0; 8];
        let length = at.recv(&mut word).ok()?;
        (length == word.len()).then(|| u64::from_be_bytes(word))
    })
}

/// Whether what one says reaches the other, and after how long.
fn reaches(from: &UdpSocket, to: &UdpSocket) -> Result<Option<Duration>> {
    // What was said before may be late.
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    let begun = Stopwatch::start();
    from.send_to(&number.to_be_bytes(), to.local_addr()?)?;
    let arrived = heard(to).any(|word| word == number);
    Ok(arrived.then(|| begun.elapsed()))
}

#[test]
fn links_are_cut_slowed_down_and_healed() -> Result<()> {
    let Some(network) = Network::or_skip(&["a", "b", "c"])? else {
        return Ok(());
    };
    let [host_a, host_b, host_c] = ["a", "b", "c"].map(|name| network.host(name));
    let (a, b, c) = (socket(host_a)?, socket(host_b)?, socket(host_c)?);
    let all = || -> Result<[bool; 3]> {
        Ok([
            reaches(&a, &b)?.is_some(),
            reaches(&b, &a)?.is_some(),
            reaches(&a, &c)?.is_some(),
        ])
    };
    ensure!(all()? == [true, true, true], "{:?}", all()?);
    network.cut_one_way(host_a, host_b)?;
    ensure!(all()? == [false, true, true], "{:?}", all()?);
    network.cut(host_a, host_b)?;
    ensure!(all()? == [false, false, true], "{:?}", all()?);
    network.heal(host_a, host_b)?;
    network.isolate(host_a)?;
    ensure!(all()? == [false, false, false], "{:?}", all()?);
    ensure!(reaches(&b, &c)?.is_some(), "others are cut off too");
    network.heal_all()?;
    ensure!(all()? == [true, true, true], "{:?}", all()?);

    let delay = Duration::from_secs(1);
    let mut how = Slowness {
        delay,
        loss: 0.0,
        seed: 1,
    };
    network.slow(host_a, host_b, how)?;
    b.set_read_timeout(Some(DEADLINE))?;
    let took = reaches(&a, &b)?.context("it does not arrive")?;
    ensure!(took >= delay, "it took {took:?}");
    ensure!(
        reaches(&b, &a)?.context("it does not arrive")? < delay,
        "back too"
    );
    how = Slowness {
        delay: Duration::ZERO,
        loss: 0.5,
        seed: 2,
    };
    network.slow(host_a, host_b, how)?;
    b.set_read_timeout(Some(SILENCE))?;
    let hundred = u64::MAX - 100..u64::MAX;
    for number in hundred.clone() {
        a.send_to(&number.to_be_bytes(), b.local_addr()?)?;
    }
    let arrived = heard(&b).filter(|word| hundred.contains(word)).count();
    ensure!((20..80).contains(&arrived), "{arrived} of 100 arrive");
    network.heal(host_a, host_b)?;
    ensure!(all()? == [true, true, true], "{:?}", all()?);
    Ok(())
}

/// Tests run beside each other, with the same addresses.
#[test]
fn networks_do_not_see_each_other() -> Result<()> {
    let Some(one) = Network::or_skip(&["a", "b"])? else {
        return Ok(());
    };
    let other = Network::new(&["a", "b"])?;
    let (a, b) = (socket(one.host("a"))?, socket(one.host("b"))?);
    let (stranger, theirs) = (socket(other.host("a"))?, socket(other.host("b"))?);
    one.isolate(one.host("a"))?;
    ensure!(
        reaches(&stranger, &theirs)?.is_some(),
        "a cut reaches further"
    );
    ensure!(reaches(&a, &b)?.is_none(), "it is not cut");
    drop(other);
    one.heal_all()?;
    ensure!(reaches(&a, &b)?.is_some(), "it is not healed");
    let mut command = Command::new("hostname");
    command.stdout(std::process::Stdio::piped());
    let mut process = one.spawn("b", command)?;
    let mut said = String::new();
    let output = process.child().stdout.take().context("it is piped")?;
    std::io::Read::read_to_string(&mut { output }, &mut said)?;
    ensure!(said.trim() == "b", "its name is {said}");
    Ok(())
}
