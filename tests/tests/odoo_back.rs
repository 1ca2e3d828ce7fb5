//! The whole Odoo pack, prepared, goes back checkpoint by checkpoint: at each the database is what `psql`
//! makes of the scripts of the modules up to it, and at the start it is the restored dump, its schema byte
//! for byte and every table by its digest. Skipped where the dump is not there.
//!
//! Under the dataflow order tasks of later modules may have run before a checkpoint was prepared, so what the
//! database looked like at that instant is nothing to compare with. The checkpoint of a module means: all
//! work of it and of the modules before it in the plan is in effect, and nothing of later ones. That state
//! is made by `psql` here. What is hidden until commit (a dropped column) is left out of the comparison.
//!
//! Three checkpoints of themselves, others with another `UPSHIFT_SEED`; all of them:
//!
//! ```text
//! UPSHIFT_CHECKPOINTS=all UPSHIFT_ODOO_DUMP=… target/debug/upshift-test-server \
//!     cargo test -p upshift-tests --test odoo_back -- --nocapture
//! ```

use std::path::Path;

use anyhow::{Context, Result, ensure};
use rand::{SeedableRng, rngs::StdRng, seq::index::sample};
use serde_json::Value;
use upshift_tests::{
    compare::Snapshot,
    harness::{Database, Upshift, repository},
    odoo, oracle,
};

/// So many checkpoints of themselves.
const FEW: usize = 3;

/// A checkpoint, and what the database is there.
struct Checkpoint {
    module: String,
    expected: Snapshot,
}

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

/// Names of the modules of the plan in its order, with whether one can come back to their checkpoint.
fn modules(database: &Database, pack: &Path) -> Result<Vec<(String, bool)>> {
    let outcome = Upshift::on(database, ["plan", "--json"])
        .argument(pack)
        .succeed()?;
    let plan: Value = serde_json::from_str(&outcome.stdout).context("the plan is JSON")?;
    let modules = plan["modules"].as_array().context("modules")?.iter();
    modules
        .map(|module| {
            let name = module["name"].as_str().context("a name")?.to_owned();
            Ok((name, module.get("joined_with").is_none_or(Value::is_null)))
        })
        .collect()
}

/// Goes forward with `psql`, module by module, and keeps the states of the wanted checkpoints.
async fn forward(database: &Database, pack: &Path, wanted: &[String]) -> Result<Vec<Checkpoint>> {
    let modules = modules(database, pack)?;
    let files = oracle::files(database, pack).await?;
    let mut checkpoints = Vec::new();
    let mut run = 0;
    for (module, _) in modules {
        for file in files.iter().filter(|file| file.starts_with(&module)) {
            run += 1;
            let ran = database.psql_file(&pack.join(file));
            ran.with_context(|| format!("the oracle, in {}", file.display()))?;
        }
        if wanted.contains(&module) {
            let expected = without_hidden(Snapshot::take(database).await?);
            checkpoints.push(Checkpoint { module, expected });
        }
    }
    ensure!(
        run == files.len(),
        "{run} of {} files belong to modules of the plan",
        files.len()
    );
    Ok(checkpoints)
}

#[tokio::test]
async fn every_checkpoint_and_the_start_can_be_come_back_to() -> Result<()> {
    let Some(database) = odoo::restored().await? else {
        return Ok(());
    };
    let pack = repository().join("tests/packs/odoo18");
    let restored = Snapshot::take(&database).await?;
    let reachable = modules(&database, &pack)?.into_iter();
    let reachable: Vec<String> = reachable
        .filter(|(_, own)| *own)
        .map(|(name, _)| name)
        .collect();
    let all = std::env::var("UPSHIFT_CHECKPOINTS").is_ok_and(|text| text == "all");
    let wanted: Vec<String> = match all {
        true => reachable.clone(),
        false => {
            let mut random = StdRng::seed_from_u64(seed());
            let mut places =
                sample(&mut random, reachable.len(), FEW.min(reachable.len())).into_vec();
            places.sort_unstable();
            places
                .into_iter()
                .map(|place| reachable[place].clone())
                .collect()
        }
    };
    println!(
        "{} of {} checkpoints: {}",
        wanted.len(),
        reachable.len(),
        wanted.join(", ")
    );
    let checkpoints = forward(&database.copy()?, &pack, &wanted).await?;
    ensure!(
        checkpoints.len() == wanted.len(),
        "not all have been recorded"
    );

    let run = Upshift::on(&database, ["run", "--workers", "4"]).argument(&pack);
    run.succeed()?;
    for checkpoint in checkpoints.iter().rev() {
        let module = &checkpoint.module;
        Upshift::on(&database, ["rollback", "--to", module]).succeed()?;
        let now = without_hidden(Snapshot::take(&database).await?);
        let what = format!("the checkpoint of {module} (left), and psql up to it (right)");
        now.expect_same(&checkpoint.expected, &what)?;
        println!("{module}: the same");
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
