//! The whole Odoo pack, prepared, goes back checkpoint by checkpoint: at each the database is what `psql`
//! makes of what is in effect there, and at the start it is the restored dump, its schema byte for byte and
//! every table by its digest. Skipped where the dump is not there.
//!
//! Under the dataflow order tasks of later modules may have run before a checkpoint was prepared, so what the
//! database looked like at that instant is nothing to compare with. To be at the checkpoint of a module means:
//! nothing of later modules is in effect, nor anything that came after it because it depends on it (an `end`
//! script of an earlier module that reads what a later one wrote); all else is. That is worked out here from
//! the edges of the plan, and the statements that are left are given to `psql` in their order. What is hidden
//! until commit (a dropped column) is left out of the comparison.
//!
//! Three checkpoints of themselves, others with another `UPSHIFT_SEED`; all of them:
//!
//! ```text
//! UPSHIFT_CHECKPOINTS=all UPSHIFT_ODOO_DUMP=… target/debug/upshift-test-server \
//!     cargo test -p upshift-tests --test odoo_back -- --nocapture
//! ```

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, Result, ensure};
use rand::{SeedableRng, rngs::StdRng, seq::index::sample};
use sqlx::Connection;
use tempfile::TempDir;
use upshift_coordinator::compile::{model::ResolvedStep, resolve};
use upshift_shared::{
    catalog,
    pack::{self, StepKind},
    plan::Plan,
};
use upshift_tests::{
    compare::Snapshot,
    harness::{Database, Upshift, repository},
    odoo,
};

/// So many checkpoints of themselves.
const FEW: usize = 3;

fn seed() -> u64 {
    let seed = std::env::var("UPSHIFT_SEED").ok();
    seed.and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Without the columns that are hidden until commit, and their comments. Whether another column follows is
/// then no matter, nor what `pg_dump` writes around a comment.
fn without_hidden(mut snapshot: Snapshot) -> Snapshot {
    let lines = snapshot.schema.lines();
    let lines = lines.filter(|line| !line.contains("upshift_kept_") && !matches!(*line, "" | "--"));
    let lines: Vec<&str> = lines.map(|line| line.trim_end_matches(',')).collect();
    snapshot.schema = lines.join("\n");
    snapshot
}

/// What this test has to know of a plan.
struct Planned {
    /// Names of modules in order, with whether one can come back to their checkpoint.
    modules: Vec<(String, bool)>,
    /// Module and steps of each task.
    tasks: Vec<(usize, Vec<usize>)>,
    /// From a task to one that comes after it.
    edges: Vec<(usize, usize)>,
}

impl Planned {
    fn of(database: &Database, pack: &Path) -> Result<Self> {
        let outcome = Upshift::on(database, ["plan", "--json"])
            .argument(pack)
            .succeed()?;
        let plan: Plan = serde_json::from_str(&outcome.stdout).context("the plan is JSON")?;
        let modules = plan.modules.iter();
        let tasks = plan.tasks.iter();
        let edges = plan.edges.iter();
        Ok(Self {
            modules: modules
                .map(|module| (module.name.clone(), module.joined_with.is_none()))
                .collect(),
            tasks: tasks
                .map(|task| {
                    let steps = task.steps.iter().map(|step| step.0 as usize);
                    (task.module as usize, steps.collect())
                })
                .collect(),
            edges: edges
                .map(|edge| (edge.from.0 as usize, edge.to.0 as usize))
                .collect(),
        })
    }

    /// Steps that are not in effect at the checkpoint of a module.
    fn taken_back(&self, module: &str) -> Result<BTreeSet<usize>> {
        let mut names = self.modules.iter();
        let place = names.position(|(name, _)| name == module);
        let place = place.context("a module of the plan")?;
        let mut back: Vec<bool> = self.tasks.iter().map(|(of, _)| *of > place).collect();
        loop {
            let before = back.clone();
            for (from, to) in &self.edges {
                back[*to] |= back[*from];
            }
            if back == before {
                break;
            }
        }
        let of = |is_back: bool| -> BTreeSet<usize> {
            let tasks = self.tasks.iter().zip(&back);
            let steps = tasks.filter(|(_, back)| **back == is_back);
            steps.flat_map(|((_, steps), _)| steps).copied().collect()
        };
        let (gone, kept) = (of(true), of(false));
        let half: Vec<_> = gone.intersection(&kept).collect();
        ensure!(
            half.is_empty(),
            "steps {half:?} are half in effect at {module}"
        );
        Ok(gone)
    }
}

/// The statements of the pack in order, each with the number of its step.
async fn statements(database: &Database, pack: &Path) -> Result<Vec<(usize, String)>> {
    let pack = pack::load(pack)?;
    let mut connection = database.connect().await?;
    let catalog = catalog::snapshot::read(&mut connection).await?;
    let installed =
        catalog::installed::installed(&mut connection, &catalog, pack.installed.as_ref()).await?;
    connection.close().await?;
    let resolved = resolve::resolve(&pack, &installed)?;
    let statement = |step: &ResolvedStep| match &step.kind {
        StepKind::Sql(sql) => Some((step.id.0 as usize, sql.clone())),
        _ => None,
    };
    Ok(resolved.steps.iter().filter_map(statement).collect())
}

/// What these statements make of an untouched database.
async fn by_psql(untouched: &Database, script: &str) -> Result<Snapshot> {
    let naive = untouched.copy()?;
    let folder = TempDir::new()?;
    let file = folder.path().join("script.sql");
    std::fs::write(&file, script)?;
    naive.psql_file(&file)?;
    Ok(without_hidden(Snapshot::take(&naive).await?))
}

/// Some of the checkpoints, or all that are wanted, in order.
fn wanted<'m>(reachable: &[&'m str]) -> Vec<&'m str> {
    if std::env::var("UPSHIFT_CHECKPOINTS").is_ok_and(|text| text == "all") {
        return reachable.to_vec();
    }
    let mut random = StdRng::seed_from_u64(seed());
    let mut places = sample(&mut random, reachable.len(), FEW.min(reachable.len())).into_vec();
    places.sort_unstable();
    places.into_iter().map(|place| reachable[place]).collect()
}

#[tokio::test]
async fn every_checkpoint_and_the_start_can_be_come_back_to() -> Result<()> {
    let Some(database) = odoo::restored().await? else {
        return Ok(());
    };
    let pack = repository().join("tests/packs/odoo18");
    let restored = Snapshot::take(&database).await?;
    let planned = Planned::of(&database, &pack)?;
    let statements = statements(&database, &pack).await?;
    let reachable = planned.modules.iter().filter(|(_, own)| *own);
    let reachable: Vec<&str> = reachable.map(|(name, _)| name.as_str()).collect();
    let wanted = wanted(&reachable);
    println!(
        "{} of {} checkpoints: {}",
        wanted.len(),
        reachable.len(),
        wanted.join(", ")
    );
    let untouched = database.copy()?;

    let run = Upshift::on(&database, ["run", "--workers", "4"]).argument(&pack);
    run.succeed()?;
    // The last script that psql ran, and what it led to: neighbours often have nothing between them.
    let mut expected: Option<(String, Snapshot)> = None;
    for module in wanted.iter().rev() {
        let gone = planned.taken_back(module)?;
        let kept = statements.iter().filter(|(step, _)| !gone.contains(step));
        let script: String = kept.map(|(_, sql)| format!("{sql};\n")).collect();
        let snapshot = match expected.take() {
            Some((same, snapshot)) if same == script => snapshot,
            _ => by_psql(&untouched, &script)
                .await
                .with_context(|| format!("psql up to {module}"))?,
        };
        Upshift::on(&database, ["rollback", "--to", module]).succeed()?;
        let now = without_hidden(Snapshot::take(&database).await?);
        let what = format!("the checkpoint of {module} (left), and psql up to it (right)");
        now.expect_same(&snapshot, &what)?;
        println!("{module}: the same, {} steps taken back", gone.len());
        expected = Some((script, snapshot));
    }
    Upshift::on(&database, ["rollback"]).succeed()?;
    let now = Snapshot::take(&database).await?;
    now.expect_same(
        &restored,
        "rolled back (left), and the restored dump (right)",
    )?;
    println!("the start: the same");
    Ok(())
}
