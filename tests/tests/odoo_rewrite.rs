//! The pack of the benchmark `rewrite` on a real Odoo 17, inflated a little: eight UPDATEs of four large
//! tables, whose joins are unique by primary keys or assign a constant. Skipped where the dump is not there.

use std::path::PathBuf;

use anyhow::Result;
use upshift_tests::{
    compare,
    harness::{Database, Upshift, repository},
    odoo, oracle,
};

/// 30,000 journal items: so many that every table is cut.
const SCALE: u32 = 1;

fn pack() -> PathBuf {
    repository().join("tests/packs/odoo_rewrite")
}

fn run(database: &Database, more: &[&str]) -> Result<()> {
    Upshift::on(database, ["run"])
        .argument(pack())
        .arguments(more)
        .succeed()?;
    Ok(())
}

#[tokio::test]
async fn four_workers_leave_what_psql_leaves() -> Result<()> {
    let Some(compiled) = odoo::inflated(SCALE).await? else {
        return Ok(());
    };
    let naive = compiled.copy()?;
    let sequential = compiled.copy()?;
    oracle::upgrade(&naive, &pack()).await?;

    run(&sequential, &["--strategy", "sequential", "--commit"])?;
    compare::expect_same(&sequential, &naive, "--strategy sequential is not psql").await?;

    run(&compiled, &["--workers", "4", "--commit"])?;
    compare::expect_same(&compiled, &naive, "four workers are not psql").await
}

#[tokio::test]
async fn it_comes_back_untouched() -> Result<()> {
    let Some(database) = odoo::inflated(SCALE).await? else {
        return Ok(());
    };
    let untouched = database.copy()?;
    let naive = database.copy()?;
    oracle::upgrade(&naive, &pack()).await?;

    run(&database, &["--workers", "4"])?;
    compare::expect_same(&database, &naive, "prepared is not psql").await?;
    Upshift::on(&database, ["rollback"]).succeed()?;
    compare::expect_same(&database, &untouched, "rolled back is not untouched").await
}
