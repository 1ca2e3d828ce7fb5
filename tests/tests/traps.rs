//! Traps: small cases, each about one thing that a compiler of migrations gets wrong easily. Every file of
//! `tests/traps/` is one: a database, a line `-- upgrade`, and the statements that upgrade it.
//!
//! Each has to come out as with `psql`, and to come back untouched. `UPSHIFT_TRAP=name` runs one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use upshift_tests::{
    compare::{self, Snapshot},
    harness::{Database, Upshift, one_module, repository},
    oracle,
};

/// What every case is cut with: units of a few rows, several at once.
const RUN: [&str; 4] = ["--workers", "3", "--unit-rows", "5"];

/// Every case runs with its rows changed in place, and with passes wherever they can be.
const WAYS: [&str; 2] = ["in-place", "shadow"];

/// How a case has to end: `-- expect: …` in its file.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    /// As with `psql`.
    Same,
    /// `psql` stops at an error. The compiled run may pass, but must come back.
    Stops,
    /// The plan is refused with a message that holds this, and nothing is touched.
    Refused(String),
}

struct Trap {
    name: String,
    expected: Expected,
    setup: String,
    /// File name in the migration, and its text.
    files: Vec<(String, String)>,
}

impl Trap {
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)?;
        let (setup, upgrade) = text
            .split_once("\n-- upgrade\n")
            .with_context(|| format!("{} has no line -- upgrade", path.display()))?;
        let mut expected = Expected::Same;
        for line in setup.lines() {
            match line.strip_prefix("-- expect: ") {
                Some("stops") => expected = Expected::Stops,
                Some(other) => match other.strip_prefix("refused: ") {
                    Some(message) => expected = Expected::Refused(message.to_owned()),
                    None => bail!("{}: {line}", path.display()),
                },
                None => {}
            }
        }
        let mut files = vec![("pre-a.sql".to_owned(), String::new())];
        for line in upgrade.lines() {
            if let Some(name) = line.strip_prefix("-- file: ") {
                files.push((name.to_owned(), String::new()));
            } else if let Some((_, text)) = files.last_mut() {
                text.push_str(line);
                text.push('\n');
            }
        }
        let name = path.file_stem().context("a file has a name")?;
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            expected,
            setup: setup.to_owned(),
            files,
        })
    }

    fn pack(&self) -> Result<TempDir> {
        let files = self.files.iter();
        let files: Vec<_> = files.map(|(name, text)| (&**name, &**text)).collect();
        one_module(&files)
    }

    async fn check(&self) -> Result<()> {
        let folder = self.pack()?;
        let untouched = Database::create()?;
        untouched.psql(&self.setup).context("setup")?;
        let before = Snapshot::take(&untouched).await?;
        if let Expected::Refused(message) = &self.expected {
            let compiled = untouched.copy()?;
            let run = Upshift::on(&compiled, ["run"]).argument(folder.path());
            let refused = run.arguments(&RUN).run()?.expect_code(2)?;
            ensure!(refused.stderr.contains(message), "{}", refused.stderr);
            return Snapshot::take(&compiled)
                .await?
                .expect_same(&before, "a refused plan touched the database");
        }
        let naive = untouched.copy()?;
        let by_psql = oracle::upgrade(&naive, folder.path()).await;
        ensure!(
            by_psql.is_err() == (self.expected == Expected::Stops),
            "psql: {by_psql:?}"
        );
        for way in WAYS {
            self.compiled(way, folder.path(), (&untouched, &naive))
                .await
                .with_context(|| format!("--passes {way}"))?;
        }
        Ok(())
    }

    /// There, back, and there for good.
    async fn compiled(
        &self,
        way: &str,
        folder: &Path,
        (untouched, naive): (&Database, &Database),
    ) -> Result<()> {
        let compiled = untouched.copy()?;
        let run = |more: &[&str]| {
            Upshift::on(&compiled, ["run"])
                .argument(folder)
                .arguments(&["--passes", way])
                .arguments(&RUN)
                .arguments(more)
        };
        let first = run(&[]).run()?;
        ensure!(
            first.code == Some(0) || (self.expected == Expected::Stops && first.code == Some(1)),
            "{first:?}"
        );
        Upshift::on(&compiled, ["rollback"]).succeed()?;
        compare::expect_same(&compiled, untouched, "rolled back and untouched").await?;
        if self.expected == Expected::Same {
            run(&["--commit"]).succeed()?;
            compare::expect_same(&compiled, naive, "compiled and psql").await?;
        }
        Ok(())
    }
}

fn paths() -> Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(repository().join("tests/traps"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.sort();
    if let Ok(only) = std::env::var("UPSHIFT_TRAP") {
        paths.retain(|path| path.file_stem().is_some_and(|stem| stem == only.as_str()));
    }
    Ok(paths)
}

/// libxml, or ICU.
fn lacks_library(error: &str) -> bool {
    error.contains("the server to be built with")
        || (error.contains("-icu\" for encoding") && error.contains("does not exist"))
}

/// Every fourth case, so that four processes share them.
async fn every_fourth(from: usize) -> Result<()> {
    let mut failures = Vec::new();
    for path in paths()?.iter().skip(from).step_by(4) {
        let trap = Trap::read(path)?;
        match trap.check().await {
            Ok(()) => println!("{}: ok", trap.name),
            // Some servers lack a library that a case is about.
            Err(e) if lacks_library(&format!("{e:#}")) => {
                println!("{}: skipped: {e:#}", trap.name);
            }
            Err(e) => failures.push(format!("== {}: {e:#}", trap.name)),
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
    Ok(())
}

#[tokio::test]
async fn traps_one() -> Result<()> {
    every_fourth(0).await
}

#[tokio::test]
async fn traps_two() -> Result<()> {
    every_fourth(1).await
}

#[tokio::test]
async fn traps_three() -> Result<()> {
    every_fourth(2).await
}

#[tokio::test]
async fn traps_four() -> Result<()> {
    every_fourth(3).await
}
