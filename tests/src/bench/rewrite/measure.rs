//! Measuring: every way in turn, each on a fresh copy, round after round; and the proof that all of them
//! did the same.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;
use upshift_shared::clock::Stopwatch;

use super::{
    Options,
    case::{Prepared, Wanted, Way},
};
use crate::{
    compare::Snapshot,
    harness::{Database, Upshift},
    oracle,
};

/// A single statement over many millions of rows says nothing until it is done.
const PATIENCE: Duration = Duration::from_secs(3 * 3600);

/// The times of one way.
#[derive(Debug)]
pub(super) struct Timing {
    pub(super) way: Way,
    /// Seconds, of each round; none where this Upshift cannot do it.
    pub(super) seconds: Vec<f64>,
    /// The operators that the plan has, where there is a plan.
    pub(super) operators: Option<String>,
}

/// All that was measured of one case.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) name: &'static str,
    pub(super) title: String,
    /// The server's version.
    pub(super) server: String,
    pub(super) timings: Vec<Timing>,
    /// Seconds of rollback after Upshift's run, of each round.
    pub(super) rollback: Vec<f64>,
    pub(super) wanted: Wanted,
}

impl Measured {
    /// The median of one way.
    pub(super) fn seconds(&self, way: Way) -> Option<f64> {
        let timing = self.timings.iter().find(|timing| timing.way == way)?;
        median(&timing.seconds)
    }
}

/// The middle one, or the mean of the two in the middle.
pub(super) fn median(seconds: &[f64]) -> Option<f64> {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(*upper);
    }
    Some(f64::midpoint(*sorted.get(middle - 1)?, *upper))
}

/// Measures a case.
pub(super) async fn measure(prepared: &Prepared, options: &Options) -> Result<Measured> {
    eprintln!("{}: {}", prepared.name, prepared.title);
    let before = Snapshot::take(&prepared.start).await?;
    let files = oracle::files(&prepared.start, &prepared.pack).await?;
    let mut timings = Vec::new();
    let asked = |way: &&Way| options.ways.is_empty() || options.ways.contains(way);
    for way in prepared.ways.iter().filter(asked) {
        timings.push(Timing {
            way: *way,
            seconds: Vec::new(),
            operators: operators(prepared, *way)?,
        });
    }
    let mut rollback = Vec::new();
    let mut after: Option<Snapshot> = None;
    for round in 0..options.rounds as usize {
        for place in 0..timings.len() {
            // Another one begins in each round, so that none always has the cache that the last one left.
            let place = (place + round) % timings.len();
            let timing = &mut timings[place];
            if timing.way == Way::Shadow && !timing.operators.as_deref().is_some_and(is_shadow) {
                continue;
            }
            eprintln!("  round {}: {}", round + 1, timing.way.name());
            let database = prepared.start.copy()?;
            let workers = options.workers;
            let run = Run {
                prepared,
                files: &files,
                workers,
            };
            timing.seconds.push(run.time(timing.way, &database).await?);
            let left = Snapshot::take(&database).await?;
            let expected = after.get_or_insert_with(|| left.clone());
            left.expect_same(
                expected,
                &format!("{} left something else", timing.way.name()),
            )?;
            if timing.way == Way::Upshift {
                let watch = Stopwatch::start();
                upshift(&database, "rollback", None, workers)?;
                rollback.push(watch.elapsed().as_secs_f64());
                Snapshot::take(&database)
                    .await?
                    .expect_same(&before, "rollback did not bring back what there was")?;
            }
        }
    }
    Ok(Measured {
        name: prepared.name,
        title: prepared.title.clone(),
        server: server(&prepared.start)?,
        timings,
        rollback,
        wanted: prepared.wanted,
    })
}

/// The server's version, without what its packager adds.
fn server(database: &Database) -> Result<String> {
    let version = database.psql("SHOW server_version")?;
    Ok(version
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned())
}

/// What the ways need of a case.
struct Run<'a> {
    prepared: &'a Prepared,
    files: &'a [PathBuf],
    workers: u32,
}

impl Run<'_> {
    /// Runs one way on a copy. The copy is not part of the time; a checkpoint before it keeps its writing
    /// out of the run's.
    async fn time(&self, way: Way, database: &Database) -> Result<f64> {
        database.psql_as_superuser("CHECKPOINT")?;
        let case = self.prepared;
        let watch = Stopwatch::start();
        match way {
            Way::Sequential => {
                for file in self.files {
                    database.psql_file(&case.pack.join(file))?;
                }
            }
            Way::ByHand => self.script()?.run(database).await?,
            Way::Chunked => upshift(database, "run", Some(&case.chunked), self.workers)?,
            Way::Shadow => upshift(database, "run", Some(&case.shadow), self.workers)?,
            Way::Upshift => upshift(database, "run", Some(&case.pack), self.workers)?,
        }
        let seconds = watch.elapsed().as_secs_f64();
        if way == Way::ByHand {
            self.script()?.clean(database)?;
        }
        Ok(seconds)
    }

    fn script(&self) -> Result<&super::by_hand::Script> {
        let script = self.prepared.script.as_ref();
        script.context("nobody wrote a script by hand for this case")
    }
}

fn upshift(database: &Database, verb: &str, pack: Option<&Path>, workers: u32) -> Result<()> {
    let mut command = Upshift::on(database, [verb, "--workers", &workers.to_string()]);
    if let Some(pack) = pack {
        command = command.argument(pack);
    }
    command.patience(PATIENCE).succeed()?;
    Ok(())
}

/// How often the plan of this way has which operator, short DDL left out: `3 × in-place`.
fn operators(prepared: &Prepared, way: Way) -> Result<Option<String>> {
    let pack = match way {
        Way::Sequential | Way::ByHand => return Ok(None),
        Way::Chunked => &prepared.chunked,
        Way::Shadow => &prepared.shadow,
        Way::Upshift => &prepared.pack,
    };
    let outcome = Upshift::on(&prepared.start, ["plan", "--json"])
        .argument(pack)
        .succeed()?;
    let plan: Value = serde_json::from_str(&outcome.stdout).context("the plan is JSON")?;
    let mut kinds: BTreeMap<&str, u32> = BTreeMap::new();
    for task in plan["tasks"].as_array().context("a plan has tasks")? {
        let kind = task["operator"]["kind"].as_str().context("a task's kind")?;
        if kind != "metadata" {
            *kinds.entry(kind).or_default() += 1;
        }
    }
    let parts: Vec<String> = kinds
        .iter()
        .map(|(kind, count)| format!("{count} × {}", kind.replace('_', "-")))
        .collect();
    Ok(Some(parts.join(", ")))
}

/// Whether a plan that was told to use shadow passes has one.
fn is_shadow(operators: &str) -> bool {
    operators.contains("shadow")
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
