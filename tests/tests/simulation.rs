//! The engine in a simulated cluster: random worlds and random faults from a seed, invariants that must hold in
//! each, and old bugs that are put back and must be found (`upshift_tests::simulation`).
//!
//! `UPSHIFT_SEED=n` runs one world again and prints the last of what happened; `UPSHIFT_FIRST=n` and
//! `UPSHIFT_CASES=n` run others, any number of them.

use rayon::prelude::*;
use upshift_tests::{
    seeds,
    simulation::{Defect, Failure, Summary, simulate},
};

/// What CI runs.
const CASES: u64 = 10_000;

#[test]
fn nothing_is_violated() {
    let seeds = seeds(1..CASES + 1);
    let count = seeds.end - seeds.start;
    let results: Vec<Result<Summary, Failure>> = seeds
        .into_par_iter()
        .map(|seed| simulate(seed, None))
        .collect();
    let mut sum = Summary::default();
    results.iter().flatten().for_each(|one| sum.add(one));
    println!("{count} worlds: {sum:?}");
    let failures: Vec<&Failure> = results.iter().filter_map(|r| r.as_ref().err()).collect();
    if let Some(first) = failures.first() {
        let seeds: Vec<u64> = failures.iter().take(20).map(|f| f.seed).collect();
        panic!(
            "{} worlds failed {seeds:?}; the first:\n{first}",
            failures.len()
        );
    }
    if count >= 1_000 {
        expect_much_happened(&sum, count);
    }
}

/// A simulation in which nothing goes wrong proves nothing.
fn expect_much_happened(sum: &Summary, count: u64) {
    // How often at least, in a thousand worlds.
    let seen = [
        ("units", sum.units, 20_000),
        ("units taken back", sum.undone, 1_000),
        ("retries", sum.retries, 400),
        ("splits", sum.splits, 200),
        ("crashes", sum.crashes, 800),
        ("takeovers", sum.takeovers, 400),
        ("hand-overs", sum.hand_overs, 80),
        ("workers lost", sum.workers_lost, 500),
        ("drains", sum.drains, 150),
        ("fenced writes", sum.fenced, 20),
        ("sessions ended", sum.sessions_ended, 30),
        ("operations done again", sum.operations_again, 100),
        ("events that the engine refused", sum.refused_events, 100),
    ];
    for (what, times, least) in seen {
        let expected = least * count / 1_000;
        assert!(
            times >= expected,
            "only {times} times, not {expected}: {what} ({sum:?})"
        );
    }
}

#[test]
fn a_seed_does_the_same_every_time() {
    for seed in 1..=50 {
        let summaries = [(); 2].map(|()| simulate(seed, None).expect("it holds"));
        assert_eq!(summaries[0], summaries[1], "seed {seed}");
    }
}

/// The first world in which a bug that was put back is found.
fn first_found(defect: Defect, worlds: u64) -> Option<Failure> {
    let found = |seed| simulate(seed, Some(defect)).err();
    (1..=worlds).into_par_iter().find_map_first(found)
}

/// Each is found by the invariant that is about it.
fn expect_found(worlds: u64, defects: &[(Defect, &str)]) {
    let mut missed = Vec::new();
    for (defect, invariant) in defects {
        match first_found(*defect, worlds) {
            Some(found) if found.what.starts_with(invariant) => {
                println!("{defect:?}: seed {}: {}", found.seed, found.what);
            }
            Some(other) => missed.push(format!("{defect:?} was found as something else: {other}")),
            None => missed.push(format!("{defect:?} was not found in {worlds} worlds")),
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

const BUGS: [(Defect, &str); 8] = [
    (Defect::EffectWithoutRow, "exactly once"),
    (Defect::WritesWithoutEpoch, "fencing"),
    (Defect::RaiseWithoutLock, "fencing"),
    (Defect::SplitUnchecked, "exactly once"),
    (Defect::LostUnitsKept, "ends"),
    (Defect::DrainedCreditsKept, "credit"),
    (Defect::StoreWithoutCompare, "lead"),
    (Defect::CutsNotRepeatable, "causes"),
];

/// What needs several things to go wrong at once.
const RARE_BUGS: [(Defect, &str); 3] = [
    (Defect::LocksOrphaned, "ends"),
    (Defect::IndexUnordered, "ends"),
    (Defect::ReportsOfEitherWay, "exactly once"),
];

#[test]
fn bugs_that_are_put_back_are_found() {
    expect_found(1_000, &BUGS);
}

#[test]
fn rare_bugs_that_are_put_back_are_found() {
    expect_found(10_000, &RARE_BUGS);
}

#[test]
fn every_bug_that_can_be_put_back_is_one_of_them() {
    for defect in Defect::ALL {
        let is_this = |(one, _): &&(Defect, &str)| *one == defect;
        let times = BUGS.iter().chain(&RARE_BUGS).filter(is_this).count();
        assert_eq!(times, 1, "{defect:?}");
    }
}
