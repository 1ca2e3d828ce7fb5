//! The oracle: a compiled plan leaves the database exactly as running the same files in order with
//! `psql` does, and a rollback leaves it as it was. Over random schemas, data and packs.
//!
//! `UPSHIFT_SEED=n` runs one case again, `UPSHIFT_CASES=n` more of them.

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use upshift_tests::{
    compare::{self, Snapshot},
    generator::Case,
    harness::{Database, Upshift},
};

/// How a case went.
#[derive(Debug, PartialEq, Eq)]
enum Went {
    /// Both ran to the end, and agree.
    Same,
    /// `psql` stopped at an error; the compiled run stopped too or got further, and came back.
    Stopped,
    /// Upshift refused the plan before touching anything.
    Refused,
}

async fn check(seed: u64) -> Result<Went> {
    let case = Case::generate(seed);
    let folder = TempDir::new()?;
    case.write(folder.path())?;
    let untouched = Database::create()?;
    untouched
        .psql(&case.database)
        .context("the generator's own SQL")?;
    let before = Snapshot::take(&untouched).await?;
    let by_psql = untouched.copy()?;
    let compiled = untouched.copy()?;

    let pack = folder.path().to_string_lossy().into_owned();
    let run = Upshift::on(&compiled, ["run", &pack, "--workers", "2"]).run()?;
    if run.code == Some(2) || run.code == Some(3) {
        let after = Snapshot::take(&compiled).await?;
        before.expect_same(&after, "a refused plan touched the database")?;
        return Ok(Went::Refused);
    }
    let mut psql = Ok(());
    for (path, _) in &case.scripts {
        psql = by_psql.psql_file(&folder.path().join(path)).map(drop);
        if psql.is_err() {
            break;
        }
    }
    if let Err(stopped) = psql {
        Upshift::on(&compiled, ["rollback"]).succeed()?;
        let after = Snapshot::take(&compiled).await?;
        before.expect_same(&after, &format!("rollback after {stopped}"))?;
        return Ok(Went::Stopped);
    }
    ensure!(
        run.code == Some(0),
        "psql passes, the compiled run does not: {run:?}"
    );
    Upshift::on(&compiled, ["rollback"]).succeed()?;
    before.expect_same(&Snapshot::take(&compiled).await?, "rollback")?;
    Upshift::on(&compiled, ["run", &pack, "--workers", "2", "--commit"]).succeed()?;
    compare::expect_same(&by_psql, &compiled, "psql and the compiled run").await?;
    Ok(Went::Same)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

async fn cases(first: u64, count: u64) -> Result<()> {
    let (first, count) = match number("UPSHIFT_SEED") {
        Some(seed) => (seed, 1),
        None => (first, number("UPSHIFT_CASES").unwrap_or(count)),
    };
    let mut same = 0;
    let mut failures = Vec::new();
    for seed in first..first + count {
        match check(seed).await {
            Ok(went) => {
                println!("seed {seed}: {went:?}");
                same += u64::from(went == Went::Same);
            }
            Err(e) => failures.push(format!(
                "UPSHIFT_SEED={seed}: {e:#}\n{}",
                Case::generate(seed).describe()
            )),
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
    ensure!(
        count < 10 || same * 2 > count,
        "only {same} of {count} cases ran to the end"
    );
    Ok(())
}

#[tokio::test]
async fn compiled_and_psql_agree_one() -> Result<()> {
    cases(1, 15).await
}

#[tokio::test]
async fn compiled_and_psql_agree_two() -> Result<()> {
    cases(1001, 15).await
}

/// The generator is only worth something if most of its cases are good SQL.
#[tokio::test]
async fn most_generated_packs_run_in_psql() -> Result<()> {
    let mut passed = 0;
    for seed in 1..=12 {
        let case = Case::generate(seed);
        let folder = TempDir::new()?;
        case.write(folder.path())?;
        let database = Database::create()?;
        database
            .psql(&case.database)
            .with_context(|| case.describe())?;
        let stopped = case
            .scripts
            .iter()
            .find_map(|(path, _)| database.psql_file(&folder.path().join(path)).err());
        match stopped {
            None => passed += 1,
            Some(e) => println!("seed {seed}: {e}"),
        }
    }
    ensure!(passed >= 7, "only {passed} of 12 packs run in psql");
    Ok(())
}
