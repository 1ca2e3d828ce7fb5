//! The main job on a real database: an Odoo 17 with demo data, from its own dump, upgraded by a pack
//! written for its real tables. Skipped where the dump is not there.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;
use upshift_tests::{
    compare::{self, Snapshot},
    harness::{Database, Upshift, repository},
    odoo, oracle,
};

/// Seeds the instants at which processes are killed.
const SEED: u64 = 0x0d00_2026;

fn pack() -> PathBuf {
    repository().join("tests/packs/odoo18")
}

/// `upshift VERB PACK` on this database.
fn with_pack(database: &Database, verb: &str, more: &[&str]) -> Upshift {
    Upshift::on(database, [verb])
        .argument(pack())
        .arguments(more)
}

fn plan(database: &Database, more: &[&str]) -> Result<Value> {
    let outcome = with_pack(database, "plan", &["--json"])
        .arguments(more)
        .succeed()?;
    serde_json::from_str(&outcome.stdout).context("the plan is JSON")
}

/// Nothing that was kept or hidden is left.
fn expect_nothing_kept(database: &Database) -> Result<()> {
    let left = database.psql(
        "SELECT relname FROM pg_class WHERE relnamespace = 'upshift_kept'::regnamespace
         UNION ALL
         SELECT attrelid::regclass || '.' || attname FROM pg_attribute
          WHERE attname LIKE 'upshift\\_kept\\_%' AND NOT attisdropped",
    )?;
    ensure!(left.is_empty(), "left behind after commit:\n{left}");
    Ok(())
}

#[tokio::test]
async fn modules_come_in_the_order_of_the_databases_own_dependencies() -> Result<()> {
    let Some(database) = odoo::restored().await? else {
        return Ok(());
    };
    let before = Snapshot::take(&database).await?;
    let plan = plan(&database, &[])?;
    let names: Vec<&str> = plan["modules"]
        .as_array()
        .context("modules")?
        .iter()
        .filter_map(|module| module["name"].as_str())
        .collect();
    let place: BTreeMap<&str, usize> = names.iter().copied().zip(0..).collect();
    for (first, second) in [
        ("base", "uom"),
        ("base", "mail"),
        ("uom", "product"),
        ("product", "account"),
        ("account", "sale"),
        ("sales_team", "sale"),
        ("product", "stock"),
        ("stock", "stock_account"),
        ("stock_account", "sale_stock"),
        ("sale", "sale_stock"),
        ("mail", "crm"),
        ("hr", "hr_skills"),
    ] {
        let (Some(a), Some(b)) = (place.get(first), place.get(second)) else {
            bail!("{first} or {second} is not among {names:?}");
        };
        ensure!(a < b, "{first} comes after {second} in {names:?}");
    }
    ensure!(names.first() == Some(&"base"), "{names:?}");
    // The module.toml files say it too, so ask the database for dependencies that they could lack.
    let dependencies = database.psql(
        "SELECT m.name || ' ' || d.name FROM ir_module_module AS m
           JOIN ir_module_module_dependency AS d ON d.module_id = m.id WHERE m.state = 'installed'",
    )?;
    for line in dependencies.lines() {
        let (module, needed) = line.split_once(' ').context("two names")?;
        if let (Some(module), Some(needed)) = (place.get(module), place.get(needed)) {
            ensure!(needed < module, "{line}: {names:?}");
        }
    }
    Snapshot::take(&database)
        .await?
        .expect_same(&before, "planning changed the database")
}

/// What the other tests rest on: the same files with `psql` give the same, every time.
#[tokio::test]
async fn the_oracle_is_deterministic() -> Result<()> {
    let Some(one) = odoo::restored().await? else {
        return Ok(());
    };
    let two = one.copy()?;
    oracle::upgrade(&one, &pack()).await?;
    oracle::upgrade(&two, &pack()).await?;
    compare::expect_same(&one, &two, "psql twice").await
}

#[tokio::test]
async fn a_run_on_four_workers_equals_psql_and_the_sequential_run() -> Result<()> {
    let Some(parallel) = odoo::restored().await? else {
        return Ok(());
    };
    let naive = parallel.copy()?;
    let sequential = parallel.copy()?;
    oracle::upgrade(&naive, &pack()).await?;

    with_pack(
        &sequential,
        "run",
        &["--strategy", "sequential", "--commit"],
    )
    .succeed()?;
    compare::expect_same(&sequential, &naive, "--strategy sequential is not psql").await?;

    with_pack(&parallel, "run", &["--workers", "4"]).succeed()?;
    Upshift::on(&parallel, ["commit"]).succeed()?;
    compare::expect_same(&parallel, &naive, "four workers are not psql").await?;
    expect_nothing_kept(&parallel)?;

    // It is there now: there is nothing more to do but what runs on every upgrade.
    let again = plan(&parallel, &[])?;
    let tasks = again["tasks"].as_array().context("tasks")?;
    ensure!(
        tasks.iter().all(|task| task["version"] == "0.0.0"),
        "a second plan has work to do: {tasks:#?}"
    );
    Ok(())
}

#[tokio::test]
async fn the_strict_order_gives_the_same() -> Result<()> {
    let Some(strict) = odoo::restored().await? else {
        return Ok(());
    };
    let naive = strict.copy()?;
    oracle::upgrade(&naive, &pack()).await?;
    let options = [
        "--strategy",
        "strict",
        "--workers",
        "4",
        "--unit-rows",
        "20",
        "--commit",
    ];
    with_pack(&strict, "run", &options).succeed()?;
    compare::expect_same(&strict, &naive, "the strict order is not psql").await
}

#[tokio::test]
async fn it_comes_back_untouched_and_can_go_forward_again() -> Result<()> {
    let Some(database) = odoo::restored().await? else {
        return Ok(());
    };
    let untouched = database.copy()?;
    with_pack(&database, "run", &["--workers", "4", "--unit-rows", "50"]).succeed()?;
    Upshift::on(&database, ["rollback"]).succeed()?;
    compare::expect_same(&database, &untouched, "rolled back is not untouched").await?;

    with_pack(&database, "run", &["--workers", "4", "--commit"]).succeed()?;
    oracle::upgrade(&untouched, &pack()).await?;
    compare::expect_same(&database, &untouched, "the second run is not psql").await?;
    expect_nothing_kept(&database)
}

#[tokio::test]
async fn killed_it_goes_on_or_comes_back() -> Result<()> {
    let Some(untouched) = odoo::restored().await? else {
        return Ok(());
    };
    let upgraded = untouched.copy()?;
    let options = ["--workers", "4", "--unit-rows", "50", "--json"];
    let whole = with_pack(&upgraded, "run", &options).succeed()?;
    Upshift::on(&upgraded, ["commit"]).succeed()?;
    let upgraded = Snapshot::take(&upgraded).await?;
    let before = Snapshot::take(&untouched).await?;
    let lines = whole.stdout.lines().count();
    let mut random = StdRng::seed_from_u64(SEED);
    for round in 0..6 {
        let line = random.random_range(1..lines);
        let what = format!("round {round}, killed after line {line} of {lines}");
        let database = untouched.copy()?;
        let mut running = with_pack(&database, "run", &options).start()?;
        for _ in 0..line {
            running.next_line()?;
        }
        running.kill()?;
        if round % 2 == 0 {
            Upshift::on(&database, ["resume"])
                .succeed()
                .context(what.clone())?;
            Upshift::on(&database, ["commit"])
                .succeed()
                .context(what.clone())?;
            Snapshot::take(&database)
                .await?
                .expect_same(&upgraded, &what)?;
        } else {
            Upshift::on(&database, ["rollback"])
                .succeed()
                .context(what.clone())?;
            Snapshot::take(&database)
                .await?
                .expect_same(&before, &what)?;
        }
    }
    Ok(())
}
