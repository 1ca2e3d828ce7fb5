//! A random walk from a seed: a generated database and pack, random options, and orders one after another —
//! run, resume, back to a checkpoint, forward again, back whole or commit — each with a fault on its way or
//! none. In the end the database has to be where `psql` leads with the same files, or as it was.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use tempfile::TempDir;
use upshift_shared::clock::Stopwatch;
use upshift_worker::failpoint;

use crate::{
    compare::Snapshot,
    generator::Case,
    harness::{Database, Outcome, Running, Server, Upshift},
};

/// Orders after which a walk ought to have come to its end.
const MOST_ORDERS: usize = 40;

/// Sessions of units, and of all that an upshift process has.
const OF_UNITS: &str = "^upshift [0-9a-f]{12} t";
const OF_ALL: &str = "^upshift";

/// How a walk went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Went {
    /// It came to where `psql` leads.
    Committed,
    /// It came back to where it began.
    Back,
    /// Upshift refused the plan before it touched anything, or the generator's SQL does not run.
    NoCase,
}

/// What happens while an order is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Harm {
    None,
    /// Dies at the n-th time of a point.
    Point(String),
    /// `kill -9` after so many lines of progress.
    Line(usize),
    /// `pg_cancel_backend` of sessions with such a name, after so many lines.
    Cancel(&'static str, usize),
    /// `pg_terminate_backend`.
    Terminate(&'static str, usize),
    /// A table is held for so many milliseconds.
    Lock(u32, u32),
    /// The server crashes and starts again after so many lines.
    Restart(usize),
    /// Ctrl-C after so many lines, once or twice.
    CtrlC(usize, bool),
    /// The same order twice at once.
    Two,
}

impl Harm {
    fn random(random: &mut StdRng) -> Self {
        let line = random.random_range(0..60_usize);
        let name = if random.random_bool(0.7) {
            OF_UNITS
        } else {
            OF_ALL
        };
        match random.random_range(0..20) {
            0..=6 => {
                let points: Vec<&str> = failpoint::LISTS.into_iter().flatten().copied().collect();
                let point = points.choose(random).unwrap_or(&failpoint::BEFORE_COMMIT);
                let times = [1, 1, 1, 2, 3, 5, 8, 13, 30];
                let nth = times.choose(random).unwrap_or(&1);
                Self::Point(format!("{point}:{nth}"))
            }
            7..=10 => Self::Line(line),
            11 | 12 => Self::Cancel(name, line),
            13 | 14 => Self::Terminate(name, line),
            15 => Self::Lock(random.random_range(0..8), random.random_range(50..700)),
            16 => Self::Restart(line),
            17 => Self::CtrlC(line, random.random_bool(0.5)),
            18 => Self::Two,
            _ => Self::None,
        }
    }
}

/// Where the newest run stands, from the ledger.
#[derive(Debug, PartialEq, Eq)]
struct Standing {
    /// Empty where there is no run.
    state: String,
    rollback_to: Option<String>,
}

/// A walk under way.
struct Walk {
    random: StdRng,
    folder: TempDir,
    database: Database,
    /// Arguments of `run`.
    options: Vec<String>,
    /// What was done so far, for whoever has to do it again.
    log: Vec<String>,
    /// Whether the run can be completed at all: `psql` can.
    completes: bool,
    /// Whether to end committed.
    commits: bool,
    faults_left: u32,
    detours_left: u32,
    /// Whether the server may crash: that moves sequences, and rows that a later statement inserts would
    /// have other ids than with `psql`.
    crashes: bool,
    crashed: bool,
}

/// Walks from a seed.
///
/// # Errors
/// With all that was done, where the database is not where it has to be, or an undisturbed order fails.
pub async fn walk(seed: u64, server: &'static Server) -> Result<Went> {
    let case = match seed % 2 {
        0 => Case::for_passes(seed),
        _ => Case::generate(seed),
    };
    let folder = TempDir::new()?;
    case.write(folder.path())?;
    let untouched = Database::create_on(server)?;
    if untouched.psql(&case.database).is_err() {
        return Ok(Went::NoCase);
    }
    let plan = Upshift::on(&untouched, ["plan"])
        .argument(folder.path())
        .run()?;
    if plan.code != Some(0) {
        return Ok(Went::NoCase);
    }
    let by_psql = untouched.copy()?;
    let stops =
        |(path, _): &(String, String)| by_psql.psql_file(&folder.path().join(path)).is_err();
    let completes = !case.scripts.iter().any(stops);
    let mut random = StdRng::seed_from_u64(seed ^ 0xfa17);
    let options = options(&mut random);
    let commits = completes && random.random_bool(0.5);
    let expected = match commits {
        true => &by_psql,
        false => &untouched,
    };
    // Taken now: a crash moves sequences there too.
    let expected = Snapshot::take(expected).await?;
    // What is on disk is not moved.
    untouched.psql_as_superuser("CHECKPOINT")?;
    let inserts =
        |(_, text): &(String, String)| text.contains("INSERT") || text.contains("nextval");
    let mut walk = Walk {
        database: untouched.copy()?,
        folder,
        options,
        log: Vec::new(),
        completes,
        commits,
        crashes: !(commits && case.scripts.iter().any(inserts)),
        faults_left: random.random_range(2..9),
        detours_left: random.random_range(0..4),
        crashed: false,
        random,
    };
    let went = match walk.walk_on().await {
        Ok(()) => walk.compare(&expected).await,
        Err(error) => Err(error),
    };
    went.with_context(|| {
        format!(
            "seed {seed}, {:?}:\n{}\n{}",
            walk.options,
            walk.log.join("\n"),
            case.describe()
        )
    })
}

fn options(random: &mut StdRng) -> Vec<String> {
    let mut options: Vec<String> = Vec::new();
    let mut option = |name: &str, values: &[&str]| {
        let value = values.choose(random).copied().unwrap_or_default();
        options.extend([name.to_owned(), value.to_owned()]);
    };
    option("--workers", &["1", "2", "4"]);
    option("--passes", &["shadow", "shadow", "in-place", "by-cost"]);
    option("--strategy", &["dataflow", "dataflow", "strict"]);
    option("--unit-rows", &["7", "30", "100"]);
    option("--lock-timeout", &["100ms", "5s"]);
    option("--verify", &["counts", "full", "off"]);
    // Passes and rows that are left out exclude each other.
    let policies = match options.iter().any(|value| value == "shadow") {
        true => &["stop"][..],
        false => &["stop", "quarantine"],
    };
    let policy = policies.choose(random).copied().unwrap_or("stop");
    options.extend(["--on-bad-data".to_owned(), policy.to_owned()]);
    options
}

impl Walk {
    async fn walk_on(&mut self) -> Result<()> {
        for _ in 0..MOST_ORDERS {
            let standing = self.standing()?;
            let Some(order) = self.next_order(&standing) else {
                return Ok(());
            };
            let harm = match self.faults_left {
                0 => Harm::None,
                _ => match Harm::random(&mut self.random) {
                    Harm::Restart(line) if !self.crashes => Harm::Line(line),
                    harm => harm,
                },
            };
            self.faults_left = self.faults_left.saturating_sub(1);
            let watch = Stopwatch::start();
            let outcome = self.carry_out(&order, &harm).await;
            let outcome = outcome.with_context(|| format!("{order:?} with {harm:?}"))?;
            let last = outcome
                .stderr
                .lines()
                .find(|line| line.starts_with("upshift:"));
            self.log.push(format!(
                "  {standing:?}: {order:?} with {harm:?}: {:?} after {:.1} s {}",
                outcome.code,
                watch.elapsed().as_secs_f64(),
                last.unwrap_or_default()
            ));
            self.judge(&order, &harm, &outcome)?;
        }
        bail!("not at its end after {MOST_ORDERS} orders")
    }

    fn standing(&self) -> Result<Standing> {
        let there = self
            .database
            .psql("SELECT to_regclass('upshift.run') IS NOT NULL")?;
        let row = match there.trim() {
            "t" => self.database.psql(
                "SELECT state || ' ' || coalesce(rollback_to, '') FROM upshift.run ORDER BY created_at DESC LIMIT 1",
            )?,
            _ => String::new(),
        };
        let (state, to) = row
            .trim_end_matches('\n')
            .split_once(' ')
            .unwrap_or_default();
        Ok(Standing {
            state: state.to_owned(),
            rollback_to: (!to.is_empty()).then(|| to.to_owned()),
        })
    }

    /// What an operator might say next; `None` at the end.
    fn next_order(&mut self, standing: &Standing) -> Option<Vec<String>> {
        let to_the_start = standing.rollback_to.is_none();
        let order: &[&str] = match standing.state.as_str() {
            "" => &["run"],
            "planned" | "running" | "failed" if self.turns_round() => {
                return Some(self.back());
            }
            "planned" | "running" => &["resume"],
            "failed" if self.completes => &["resume"],
            "failed" => &["rollback"],
            "prepared" if self.turns_round() => return Some(self.back()),
            "prepared" if self.commits => &["commit"],
            "prepared" => &["rollback"],
            "rolling_back" if self.random.random_bool(0.5) => &["resume"],
            "rolling_back" | "stuck" => return Some(self.back_again(standing)),
            "rolled_back" if to_the_start && !self.commits => return None,
            "rolled_back" if to_the_start => &["run"],
            "rolled_back" if self.turns_round() => return Some(self.back()),
            "rolled_back" if self.completes => &["resume"],
            "rolled_back" => &["rollback"],
            _ if self.is_all_destroyed() => return None,
            _ => &["commit"],
        };
        Some(order.iter().map(|word| (*word).to_owned()).collect())
    }

    /// A commit that was stopped has something left to do.
    fn is_all_destroyed(&self) -> bool {
        let left = "SELECT 1 FROM upshift.deferred UNION ALL \
                    SELECT 1 FROM pg_class WHERE relnamespace = to_regnamespace('upshift_kept')";
        self.database.psql(left).is_ok_and(|rows| rows.is_empty())
    }

    fn turns_round(&mut self) -> bool {
        let turns = self.detours_left > 0 && self.random.random_bool(0.5);
        self.detours_left -= u32::from(turns);
        turns
    }

    /// To a checkpoint, or to the start.
    fn back(&mut self) -> Vec<String> {
        let mut order = vec!["rollback".to_owned()];
        let names = self.database.psql(
            "SELECT name FROM upshift.checkpoint c JOIN upshift.run r USING (run)
              WHERE r.created_at = (SELECT max(created_at) FROM upshift.run) ORDER BY seq",
        );
        let names = names.unwrap_or_default();
        let names: Vec<&str> = names.lines().collect();
        if let Some(name) = names.choose(&mut self.random)
            && self.random.random_bool(0.8)
        {
            order.extend(["--to".to_owned(), (*name).to_owned()]);
        }
        order
    }

    /// Where it was going.
    fn back_again(&self, standing: &Standing) -> Vec<String> {
        let mut order = vec!["rollback".to_owned()];
        if let Some(name) = &standing.rollback_to {
            order.extend(["--to".to_owned(), name.clone()]);
        }
        order
    }

    fn command(&self, order: &[String]) -> Upshift {
        let command = Upshift::on(&self.database, order).argument("--json");
        if order[0] != "run" {
            return command;
        }
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        command.argument(self.folder.path()).arguments(&options)
    }

    async fn carry_out(&mut self, order: &[String], harm: &Harm) -> Result<Outcome> {
        let command = self.command(order);
        let mut running = match harm {
            Harm::Point(point) => return command.variable("UPSHIFT_FAILPOINT", point).run(),
            _ => command.start()?,
        };
        match harm {
            Harm::None | Harm::Point(_) => {}
            Harm::Line(line) => {
                read_lines(&mut running, *line)?;
                running.signal(Signal::SIGKILL)?;
            }
            Harm::Cancel(name, line) => {
                read_lines(&mut running, *line)?;
                self.strike("pg_cancel_backend", name)?;
            }
            Harm::Terminate(name, line) => {
                read_lines(&mut running, *line)?;
                self.strike("pg_terminate_backend", name)?;
            }
            Harm::Lock(table, millis) => self.hold(*table, *millis)?,
            Harm::Restart(line) => {
                read_lines(&mut running, *line)?;
                self.database.server().crash()?;
                self.database.server().start_again()?;
                self.crashed = true;
            }
            Harm::CtrlC(line, twice) => {
                read_lines(&mut running, *line)?;
                // It may have ended.
                let _gone = running.signal(Signal::SIGINT);
                if *twice {
                    // Two at once would be one; how far the run comes between them is any distance.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    let _gone = running.signal(Signal::SIGINT);
                }
            }
            Harm::Two => {
                let second = self.command(order).run()?;
                ensure!(
                    matches!(second.code, Some(0 | 1 | 3)),
                    "the second of two: {second:?}"
                );
                let first = running.wait()?;
                // One wins.
                let won = [&first, &second]
                    .into_iter()
                    .find(|outcome| outcome.code != Some(3));
                return won
                    .cloned()
                    .with_context(|| format!("both refused: {first:?} {second:?}"));
            }
        }
        running.wait()
    }

    /// What an order may end with.
    fn judge(&self, order: &[String], harm: &Harm, outcome: &Outcome) -> Result<()> {
        let fine = match (outcome.code, harm) {
            (Some(0), _) | (None, Harm::Point(_) | Harm::Line(_)) => true,
            // A checkpoint behind one that is not prepared.
            (Some(3), _) if order.contains(&"--to".to_owned()) => true,
            // At a statement at which psql stops, too.
            (Some(1), _) if !self.completes && matches!(order[0].as_str(), "run" | "resume") => {
                true
            }
            (Some(1), Harm::None | Harm::Point(_) | Harm::Line(_)) => false,
            (Some(1), _) => true,
            _ => false,
        };
        ensure!(
            fine,
            "{order:?} with {harm:?} ended with {:?}: {}\n{}",
            outcome.code,
            outcome.stderr,
            outcome.stdout
        );
        Ok(())
    }

    fn strike(&self, function: &str, name: &str) -> Result<()> {
        self.database.psql_as_superuser(&format!(
            "SELECT {function}(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name ~ '{name}'"
        ))?;
        Ok(())
    }

    /// Another session has one of the tables for a while.
    fn hold(&self, table: u32, millis: u32) -> Result<()> {
        let held = self.database.psql_as_superuser(&format!(
            "DO $$ DECLARE names text[] := ARRAY(
                 SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                  WHERE relkind IN ('r', 'p') AND relpersistence = 'p' AND nspname !~ '^(pg_|information_schema|upshift)'
                  ORDER BY c.oid);
             BEGIN
                 EXECUTE 'LOCK TABLE ' || names[1 + {table} % array_length(names, 1)];
                 PERFORM pg_sleep({millis} / 1000.0);
             END $$"
        ));
        // Which of two waits longer is not for this test to say.
        if let Err(error) = held
            && !error.to_string().contains("deadlock")
            && !error.to_string().contains("does not exist")
        {
            return Err(error);
        }
        Ok(())
    }

    async fn compare(&self, expected: &Snapshot) -> Result<Went> {
        if self.crashed {
            expected.forgive_sequences(&self.database).await?;
        }
        let now = Snapshot::take(&self.database).await?;
        now.expect_same(
            expected,
            "where the walk ended (left), and where it had to (right)",
        )?;
        let went = match self.commits {
            true => Went::Committed,
            false => Went::Back,
        };
        let kept = self.database.psql(
            "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace('upshift_kept')",
        )?;
        ensure!(kept.is_empty(), "still kept: {kept}");
        Ok(went)
    }
}

fn read_lines(running: &mut Running, lines: usize) -> Result<()> {
    for _ in 0..lines {
        if running.next_line()?.is_none() {
            break;
        }
    }
    Ok(())
}
