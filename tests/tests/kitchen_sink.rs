//! One pack with a case of nearly everything, hostile names among it: the compiled run equals `psql`,
//! the way back equals the start, and there and back again equals `psql` once more.

use std::path::PathBuf;

use anyhow::Result;
use upshift_tests::{
    compare::{self, Snapshot},
    harness::{Database, Upshift, repository},
};

/// The pack's scripts in the order of Odoo's rules: base before what depends on it, `end` last.
const IN_ORDER: [&str; 9] = [
    "base/migrations/0.0.0/pre-always.sql",
    "base/migrations/2.0/pre-10-partner.sql",
    "base/migrations/2.0/post-20-settings.sql",
    "odd \"names\"/migrations/2.0/pre-odd.sql",
    "sale/migrations/1.5/pre-first.sql",
    "sale/migrations/2.0/pre-move.sql",
    "sale/migrations/2.0/post-lines.sql",
    "stock/migrations/2.0/pre-stock.sql",
    "stock/migrations/2.0/end-clean.sql",
];

fn folder() -> PathBuf {
    repository().join("tests/packs/kitchen_sink")
}

fn pack() -> String {
    folder().join("pack").display().to_string()
}

async fn original() -> Result<Database> {
    Database::of_template("kitchen_sink", |database| {
        database.psql_file(&folder().join("schema.sql")).map(drop)
    })
    .await
}

/// What `psql` leaves.
async fn oracle() -> Result<Database> {
    let database = original().await?;
    for script in IN_ORDER {
        database.psql_file(&folder().join("pack").join(script))?;
    }
    Ok(database)
}

#[tokio::test]
async fn a_committed_run_equals_psql() -> Result<()> {
    let oracle = oracle().await?;
    for strategy in ["dataflow", "strict", "sequential"] {
        let database = original().await?;
        Upshift::on(
            &database,
            [
                "run",
                &pack(),
                "--workers",
                "4",
                "--strategy",
                strategy,
                "--commit",
            ],
        )
        .succeed()?;
        compare::expect_same(&oracle, &database, strategy).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_way_back_equals_the_start() -> Result<()> {
    let database = original().await?;
    let before = Snapshot::take(&database).await?;
    for round in ["first", "second"] {
        Upshift::on(&database, ["run", &pack(), "--workers", "4"]).succeed()?;
        Upshift::on(&database, ["rollback"]).succeed()?;
        before.expect_same(&Snapshot::take(&database).await?, round)?;
    }
    Upshift::on(&database, ["run", &pack(), "--workers", "4", "--commit"]).succeed()?;
    compare::expect_same(
        &oracle().await?,
        &database,
        "there and back and there again",
    )
    .await
}

/// From each checkpoint on, forward again, the result is the same.
#[tokio::test]
async fn every_checkpoint_can_be_gone_back_to() -> Result<()> {
    let oracle = oracle().await?;
    for checkpoint in ["base", "odd \"names\"", "sale"] {
        let database = original().await?;
        Upshift::on(&database, ["run", &pack(), "--workers", "2"]).succeed()?;
        Upshift::on(&database, ["rollback", "--to", checkpoint]).succeed()?;
        Upshift::on(&database, ["resume"]).succeed()?;
        Upshift::on(&database, ["commit"]).succeed()?;
        compare::expect_same(&oracle, &database, checkpoint).await?;
    }
    Ok(())
}
