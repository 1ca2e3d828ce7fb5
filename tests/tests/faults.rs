//! Every kind of operator meets every fault: see `upshift_tests::faults`, where cases, points and faults are
//! listed and added.
//!
//! What runs of itself: every case killed at every point that it passes (of the passes over different tables
//! one, by the seed), and of the other faults a share that changes with the seed. What ran is printed. All:
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
/// Of so many trials of the quicker kinds, one runs.
const ONE_OF: u64 = 24;
/// Of so many cases, restarts and full disks meet one; of so many of these trials, one runs.
const ONE_CASE_OF: u64 = 5;
const ONE_OF_THE_SLOW: u64 = 12;

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

/// Of so many shards of the cases, this one is killed at every point, and otherwise disturbed now and then.
async fn shard(shard: usize, of: usize) -> Result<()> {
    let (mut ran, mut failures) = (0, Vec::new());
    for case in CASES.iter().skip(shard).step_by(of) {
        if is_left_out(case) {
            println!("{}: not with this seed", case.name);
            continue;
        }
        let ready = Ready::make(case, Server::shared()).await?;
        for way in Way::ALL {
            let deaths = killed_at_every_point(&ready, way).await?;
            println!("{}: {way}: killed at {deaths} points", case.name);
        }
        let (count, failed) = run(&ready, |trial| {
            let kill = matches!(trial.fault, Fault::Kill(..));
            !kill && !is_slow(&trial.fault) && share(case, trial, ONE_OF)
        })
        .await?;
        ran += count;
        failures.extend(failed);
    }
    println!("{ran} other trials");
    ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
    Ok(())
}

/// Of the passes that differ only in the table, one runs of itself.
fn is_left_out(case: &Case) -> bool {
    let alike: Vec<&Case> = CASES
        .iter()
        .filter(|other| other.kinds == case.kinds)
        .collect();
    let place = alike.iter().position(|other| other.name == case.name);
    case.kinds.len() > 1 && place.is_some_and(|place| place as u64 != seed() % alike.len() as u64)
}

#[test]
fn every_kind_of_operator_has_a_case() {
    let cases: BTreeSet<&str> = CASES.iter().flat_map(|case| case.kinds).copied().collect();
    assert_eq!(cases, Operator::KINDS.into());
}

#[tokio::test]
async fn every_operator_meets_faults_one() -> Result<()> {
    shard(0, 4).await
}

#[tokio::test]
async fn every_operator_meets_faults_two() -> Result<()> {
    shard(1, 4).await
}

#[tokio::test]
async fn every_operator_meets_faults_three() -> Result<()> {
    shard(2, 4).await
}

#[tokio::test]
async fn every_operator_meets_faults_four() -> Result<()> {
    shard(3, 4).await
}

/// Restarts and full disks, on a server of its own.
#[tokio::test]
async fn the_machine_fails() -> Result<()> {
    let server = Server::own()?;
    let (mut ran, mut failures) = (0, Vec::new());
    for (place, case) in CASES.iter().enumerate() {
        if !(place as u64 + seed()).is_multiple_of(ONE_CASE_OF) {
            continue;
        }
        let ready = Ready::make(case, server).await?.that_crashes();
        let slow = |trial: &Trial| is_slow(&trial.fault) && share(case, trial, ONE_OF_THE_SLOW);
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
