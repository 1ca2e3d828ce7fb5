//! Every kind of operator meets every fault: see `upshift_tests::faults`, where cases, points and faults are
//! listed and added.
//!
//! What runs of itself: every case killed at every point that it passes, each of the other faults for a
//! share of the kinds that changes with the seed. What ran is printed. More of it:
//!
//! ```text
//! UPSHIFT_FAULTS=all target/debug/upshift-test-server \
//!     cargo test -p upshift-tests --test faults -- --exact the_matrix --nocapture
//! ```
//!
//! `UPSHIFT_FAULTS="pass: shadow swap: kill"` instead runs the trials whose line begins so (case, kind,
//! fault), `UPSHIFT_SEED` another share.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use upshift_shared::{clock::Stopwatch, plan::Operator};
use upshift_tests::{
    faults::{CASES, Case, Fault, Ready, Trial, Way, killed_at_every_point, trials},
    harness::Server,
};
use upshift_worker::failpoint;

/// Chooses the share.
const SEED: u64 = 1;
/// Of so many trials of the quicker kinds, one runs; of restarts and full disks.
const ONE_OF: u64 = 24;
const ONE_OF_THE_SLOW: u64 = 60;

fn seed() -> u64 {
    let seed = std::env::var("UPSHIFT_SEED").ok();
    seed.and_then(|text| text.parse().ok()).unwrap_or(SEED)
}

/// How to see it again.
fn reproduce(case: &Case, trial: &Trial) -> String {
    format!(
        "UPSHIFT_FAULTS='{}: {trial}' target/debug/upshift-test-server \
         cargo test -p upshift-tests --test faults -- --exact the_matrix --nocapture",
        case.name
    )
}

/// Runs those of a case's trials that are wanted, and prints what came of each.
async fn run(
    ready: &Ready,
    mut wanted: impl FnMut(&Trial) -> bool,
) -> Result<(usize, Vec<String>)> {
    let mut failures = Vec::new();
    let mut ran = 0;
    for trial in trials(ready) {
        if !wanted(&trial) {
            continue;
        }
        ran += 1;
        let watch = Stopwatch::start();
        match trial.run(ready).await {
            Ok(came) => {
                let seconds = watch.elapsed().as_secs_f64();
                println!("{}: {trial}: {came} ({seconds:.1} s)", ready.case.name);
            }
            Err(error) => {
                println!("{}: {trial}: FAILED", ready.case.name);
                let again = reproduce(ready.case, &trial);
                failures.push(format!("{error:#}\nagain: {again}"));
            }
        }
    }
    Ok((ran, failures))
}

fn expect_none(ran: usize, failures: &[String]) -> Result<()> {
    println!("{ran} trials, {} failed", failures.len());
    ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
    ensure!(ran > 0, "nothing ran");
    Ok(())
}

/// One of so many, another one with each seed, spread over kinds and faults.
fn share(case: &Case, trial: &Trial, one_of: u64) -> bool {
    let text = format!("{}: {trial}", case.name);
    // FNV-1a: the same on every machine.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    ((hash >> 17).wrapping_add(seed())).is_multiple_of(one_of)
}

fn is_slow(fault: &Fault) -> bool {
    matches!(fault, Fault::Restart(..) | Fault::Full(_))
}

/// Of so many shards of the cases, this one is killed at every point.
async fn kill(shard: usize, of: usize) -> Result<()> {
    for case in CASES.iter().skip(shard).step_by(of) {
        let ready = Ready::make(case, Server::shared()).await?;
        for way in Way::ALL {
            let deaths = killed_at_every_point(&ready, way).await?;
            println!("{}: {way}: killed at {deaths} points", case.name);
        }
    }
    Ok(())
}

#[test]
fn every_kind_of_operator_has_a_case() {
    let cases: BTreeSet<&str> = CASES.iter().flat_map(|case| case.kinds).copied().collect();
    assert_eq!(cases, Operator::KINDS.into());
}

#[tokio::test]
async fn killed_at_every_point_one() -> Result<()> {
    kill(0, 4).await
}

#[tokio::test]
async fn killed_at_every_point_two() -> Result<()> {
    kill(1, 4).await
}

#[tokio::test]
async fn killed_at_every_point_three() -> Result<()> {
    kill(2, 4).await
}

#[tokio::test]
async fn killed_at_every_point_four() -> Result<()> {
    kill(3, 4).await
}

/// Cancelled, locked out, ordered twice, taken back and done again.
#[tokio::test]
async fn disturbed() -> Result<()> {
    let (mut ran, mut failures) = (0, Vec::new());
    for case in CASES {
        let ready = Ready::make(case, Server::shared()).await?;
        let (count, failed) = run(&ready, |trial| {
            let kill = matches!(trial.fault, Fault::Kill(..));
            !kill && !is_slow(&trial.fault) && share(case, trial, ONE_OF)
        })
        .await?;
        ran += count;
        failures.extend(failed);
    }
    expect_none(ran, &failures)
}

/// Restarts and full disks, on a server of its own.
#[tokio::test]
async fn the_machine_fails() -> Result<()> {
    let server = Server::own()?;
    let (mut ran, mut failures) = (0, Vec::new());
    for (place, case) in CASES.iter().enumerate() {
        if !(place as u64 + seed()).is_multiple_of(4) {
            continue;
        }
        let ready = Ready::make(case, server).await?.that_crashes();
        let slow = |trial: &Trial| is_slow(&trial.fault) && share(case, trial, ONE_OF_THE_SLOW / 4);
        let (count, failed) = run(&ready, slow).await?;
        ran += count;
        failures.extend(failed);
    }
    expect_none(ran, &failures)
}

/// All of it, or what `UPSHIFT_FAULTS` names.
#[tokio::test]
async fn the_matrix() -> Result<()> {
    let Ok(wanted) = std::env::var("UPSHIFT_FAULTS") else {
        println!("skipped: UPSHIFT_FAULTS=all runs it");
        return Ok(());
    };
    let all = wanted == "all";
    let server = Server::own()?;
    let (mut ran, mut failures) = (0, Vec::new());
    let mut passed = BTreeSet::new();
    for case in CASES {
        let begins = format!("{}: ", case.name);
        if !all && !wanted.starts_with(&begins) && !begins.starts_with(&wanted) {
            continue;
        }
        let ready = Ready::make(case, server).await?.that_crashes();
        let points = Way::ALL.into_iter().flat_map(|way| ready.on(way));
        passed.extend(points.map(|pass| pass.point.clone()));
        let named = |trial: &Trial| all || format!("{begins}{trial}").starts_with(&wanted);
        let (count, failed) = run(&ready, named).await?;
        ran += count;
        failures.extend(failed);
    }
    expect_none(ran, &failures)?;
    let unmet: Vec<&str> = failpoint::LISTS
        .into_iter()
        .flatten()
        .copied()
        .filter(|point| !passed.contains(*point))
        .collect();
    ensure!(!all || unmet.is_empty(), "no case passes {unmet:?}");
    Ok(())
}
