//! The oracle: a compiled plan leaves the database exactly as running the same files in order with
//! `psql` does, and a rollback leaves it as it was. Over random schemas, data and packs.
//!
//! `UPSHIFT_SEED=n` runs one case again, `UPSHIFT_CASES=n` more of them, from `UPSHIFT_FIRST=n` on. A
//! case that fails is made as small as it can be by leaving statements out.

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use upshift_tests::{
    compare::{self, Snapshot},
    generator::Case,
    harness::{Database, Upshift},
    seeds,
};

/// How a case went.
#[derive(Debug, PartialEq, Eq)]
enum Went {
    /// Both ran to the end, and agree; so many statements became passes.
    Same { fused: u64 },
    /// `psql` stopped at an error; the compiled run stopped too or got further, and came back.
    Stopped,
    /// Upshift refused the plan before touching anything, and says why.
    Refused(String),
    /// The generator's own SQL does not run: nothing is compared.
    NoCase,
}

/// So many failures are enough: the server may be gone.
const ENOUGH: usize = 10;

/// How a case is run: `--passes`, and the number of workers.
type How = (&'static str, &'static str);

/// A case before its packs have run.
struct Ready<'c> {
    case: &'c Case,
    folder: TempDir,
    untouched: Database,
    before: Snapshot,
    /// After the same files with `psql`; what it stopped at.
    psql: std::result::Result<Database, String>,
}

impl<'c> Ready<'c> {
    async fn make(case: &'c Case) -> Result<Option<Self>> {
        let folder = TempDir::new()?;
        case.write(folder.path())?;
        let untouched = Database::create()?;
        if untouched.psql(&case.database).is_err() {
            return Ok(None);
        }
        let before = Snapshot::take(&untouched).await?;
        let naive = untouched.copy()?;
        let mut stopped = None;
        for (path, _) in &case.scripts {
            if let Err(e) = naive.psql_file(&folder.path().join(path)) {
                stopped = Some(e.to_string());
                break;
            }
        }
        Ok(Some(Self {
            case,
            folder,
            untouched,
            before,
            psql: match stopped {
                None => Ok(naive),
                Some(e) => Err(e),
            },
        }))
    }

    async fn check(&self, (passes, workers): How) -> Result<Went> {
        let compiled = self.untouched.copy()?;
        let run = |more: &[&str]| {
            Upshift::on(&compiled, ["run"])
                .argument(self.folder.path())
                .arguments(&[
                    "--workers",
                    workers,
                    "--passes",
                    passes,
                    "--unit-rows",
                    "60",
                ])
                .arguments(more)
        };
        let first = run(&[]).run()?;
        if first.code == Some(2) || first.code == Some(3) {
            let after = Snapshot::take(&compiled).await?;
            after.expect_same(&self.before, "a refused plan touched the database")?;
            let why = first.stderr.lines().next().unwrap_or_default();
            return Ok(Went::Refused(why.chars().take(150).collect()));
        }
        let by_psql = match &self.psql {
            Ok(database) => database,
            Err(stopped) => {
                Upshift::on(&compiled, ["rollback"]).succeed()?;
                let after = Snapshot::take(&compiled).await?;
                after.expect_same(&self.before, &format!("rollback after {stopped}"))?;
                return Ok(Went::Stopped);
            }
        };
        ensure!(
            first.code == Some(0),
            "psql passes, the compiled run does not: {}\n{}",
            first.stderr,
            first.stdout
        );
        Upshift::on(&compiled, ["rollback"]).succeed()?;
        let after = Snapshot::take(&compiled).await?;
        after.expect_same(&self.before, "rollback (left) and untouched (right)")?;
        run(&["--commit"]).succeed()?;
        compare::expect_same(by_psql, &compiled, "psql and the compiled run").await?;
        Ok(Went::Same {
            fused: fused(&first.stderr) + fused(&first.stdout),
        })
    }
}

/// How many statements the lines of progress of a run call parts of a pass.
fn fused(progress: &str) -> u64 {
    let passes = progress.lines().filter_map(|line| {
        let line = line.strip_suffix(": shadow build")?;
        let (_, count) = line.rsplit_once(" anew: ")?;
        count.split(' ').next()?.parse::<u64>().ok()
    });
    passes.sum()
}

/// Runs a case in each of the ways.
async fn check(case: &Case, ways: &[How]) -> Result<Went> {
    let Some(ready) = Ready::make(case).await? else {
        return Ok(Went::NoCase);
    };
    let mut went = Went::NoCase;
    for way in ways {
        let this = ready
            .check(*way)
            .await
            .with_context(|| format!("seed {} with {way:?}", ready.case.seed))?;
        if way.0 == "shadow" {
            went = this;
        }
    }
    Ok(went)
}

/// The line that says what is wrong with a case, without what changes from one to another.
fn fault(error: &anyhow::Error) -> String {
    let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
    let line = chain
        .get(1)
        .or(chain.first())
        .and_then(|text| text.lines().next());
    line.unwrap_or_default().chars().take(70).collect()
}

/// Leaves out what can be left out of a failing case so that it fails in the same way: statements of
/// the database, then of the pack.
async fn reduce(mut case: Case, ways: &[How], fault_before: &str) -> Result<Case> {
    for script in (0..=case.scripts.len()).rev() {
        let mut place = 0;
        loop {
            let mut smaller = case.clone();
            let text = match smaller.scripts.get_mut(script) {
                Some((_, text)) => text,
                None => &mut smaller.database,
            };
            let mut statements: Vec<&str> = text.split_inclusive(";\n").collect();
            if place >= statements.len() {
                break;
            }
            statements.remove(place);
            *text = statements.concat();
            match check(&smaller, ways).await {
                Err(e) if fault(&e) == fault_before => case = smaller,
                Ok(_) | Err(_) => place += 1,
            }
        }
    }
    Ok(case)
}

/// What a test does with each of its seeds.
struct Cases {
    make: fn(u64) -> Case,
    ways: fn(u64) -> Vec<How>,
}

impl Cases {
    async fn run(&self, first: u64, count: u64) -> Result<()> {
        let seeds = seeds(first..first + count);
        let count = seeds.end - seeds.start;
        let (mut same, mut statements) = (0, 0);
        let mut failures = Vec::new();
        for seed in seeds {
            match self.one(seed).await {
                Ok(went) => {
                    println!("seed {seed}: {went:?}");
                    if let Went::Same { fused } = went {
                        same += 1;
                        statements += fused;
                    }
                }
                Err(e) => {
                    println!("seed {seed}: {e:#}");
                    failures.push(format!("UPSHIFT_SEED={seed}: {e:#}"));
                }
            }
            if failures.len() >= ENOUGH {
                break;
            }
        }
        println!(
            "{same} of {count} cases ran to the end and agree, {statements} statements in passes"
        );
        ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
        ensure!(
            count < 10 || same * 2 > count,
            "only {same} of {count} cases ran to the end"
        );
        ensure!(count < 10 || statements > 0, "no statements became a pass");
        Ok(())
    }

    async fn one(&self, seed: u64) -> Result<Went> {
        let ways = (self.ways)(seed);
        let case = (self.make)(seed);
        match check(&case, &ways).await {
            Ok(went) => Ok(went),
            Err(e) if std::env::var("UPSHIFT_REDUCE").is_ok_and(|text| text == "0") => {
                bail!("{e:#}\n{}", case.describe())
            }
            Err(e) => {
                let smallest = reduce(case, &ways, &fault(&e)).await?;
                bail!("{e:#}\n{}", smallest.describe())
            }
        }
    }
}

const ORDINARY: Cases = Cases {
    make: Case::generate,
    ways: |seed| match seed % 2 {
        0 => vec![("shadow", "4")],
        _ => vec![("shadow", "2"), ("in-place", "3")],
    },
};

const PASSES: Cases = Cases {
    make: Case::for_passes,
    ways: |seed| match seed % 4 {
        0 => vec![("shadow", "2"), ("in-place", "3")],
        1 | 2 => vec![("shadow", "4")],
        _ => vec![("shadow", "2")],
    },
};

#[tokio::test]
async fn compiled_and_psql_agree_one() -> Result<()> {
    ORDINARY.run(1, 10).await
}

#[tokio::test]
async fn compiled_and_psql_agree_two() -> Result<()> {
    ORDINARY.run(1001, 10).await
}

#[tokio::test]
async fn passes_and_psql_agree_one() -> Result<()> {
    PASSES.run(1, 15).await
}

#[tokio::test]
async fn passes_and_psql_agree_two() -> Result<()> {
    PASSES.run(1_000_001, 15).await
}

/// The generator is only worth something if most of its cases are good SQL.
#[tokio::test]
async fn most_generated_packs_run_in_psql() -> Result<()> {
    for make in [Case::generate, Case::for_passes] {
        let mut passed = 0;
        for seed in 1..=12 {
            let case = make(seed);
            let Some(ready) = Ready::make(&case).await? else {
                bail!("the generator's own SQL: {}", case.describe());
            };
            match ready.psql {
                Ok(_) => passed += 1,
                Err(e) => println!("seed {seed}: {e}"),
            }
        }
        ensure!(passed >= 7, "only {passed} of 12 packs run in psql");
    }
    Ok(())
}
