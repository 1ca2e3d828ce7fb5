//! `upshift demo` as the demo command starts it, only smaller; and its pack against `psql`.

use std::{fs, os::unix::fs::PermissionsExt};

use anyhow::{Result, ensure};
use sqlx::Connection;
use upshift_coordinator::demo;
use upshift_tests::{
    compare,
    harness::{Database, Upshift},
    oracle,
};

#[test]
fn it_shows_the_whole_way_and_leaves_nothing_behind() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // The server runs as another user where this is root.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))?;
    let outcome = Upshift::new(["demo", "--rows", "20000", "--workers", "2"])
        .variable("TMPDIR", &folder.path().to_string_lossy())
        .succeed()?;
    for said in [
        "$ upshift plan ",
        "$ upshift run ",
        "$ upshift rollback ",
        "$ upshift commit ",
        "the schema are what they were",
        "both databases are the same",
        "times as fast",
    ] {
        ensure!(
            outcome.stdout.contains(said),
            "no \"{said}\" in\n{}",
            outcome.stdout
        );
    }
    let left: Vec<_> = fs::read_dir(folder.path())?.collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

#[tokio::test]
async fn its_pack_equals_psql_and_comes_back() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let pack = folder.path().join("pack");
    demo::pack::write(&pack)?;
    let config = folder.path().join("upshift.toml");
    fs::write(&config, "[run]\nunit_rows = 200\nworkers = 4\n")?;
    let naive = Database::create()?;
    let mut connection = naive.connect().await?;
    demo::database::generate(&mut connection, 4000, |_| {}).await?;
    connection.close().await?;
    let untouched = naive.copy()?;
    let compiled = naive.copy()?;
    oracle::upgrade(&naive, &pack).await?;
    let run = || {
        Upshift::on(&compiled, ["run"])
            .argument(&pack)
            .argument("--config")
            .argument(&config)
    };
    run().succeed()?;
    Upshift::on(&compiled, ["rollback"]).succeed()?;
    compare::expect_same(&untouched, &compiled, "the demo's pack, rolled back").await?;
    run().argument("--commit").argument("--yes").succeed()?;
    compare::expect_same(
        &naive,
        &compiled,
        "the demo's pack: psql and the compiled run",
    )
    .await
}
