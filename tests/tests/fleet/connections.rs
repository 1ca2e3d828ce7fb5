//! Connections: however many databases a fleet has, its server keeps some for others.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;
use upshift_tests::{fleet::Tiny, harness::Server};

/// All that the server has, of which a few are kept for superusers.
const CONNECTIONS: i64 = 40;
const FOR_SUPERUSERS: i64 = 3;
/// What is left to others at the least.
const RESERVE: i64 = 5;

#[tokio::test]
async fn a_server_keeps_some_for_others() -> Result<()> {
    let most = CONNECTIONS.to_string();
    let server = Server::own_with(&[("max_connections", &most), ("autovacuum", "off")])?;
    let tiny = Tiny::on(server)?;
    let fleet = tiny.fleet(20, "")?;
    let mut watcher = PgConnection::connect(&server.url("postgres", "postgres")).await?;
    let running = fleet.run(8).start()?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut watching = JoinSet::new();
    watching.spawn({
        let stop = Arc::clone(&stop);
        async move {
            let mut peak = 0;
            while !stop.load(Ordering::Relaxed) {
                let now: i64 = sqlx::query_scalar(
                    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' \
                     AND pid <> pg_backend_pid()",
                )
                .fetch_one(&mut watcher)
                .await?;
                peak = peak.max(now);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            anyhow::Ok(peak)
        }
    });
    let ended = tokio::task::spawn_blocking(|| running.wait()).await??;
    stop.store(true, Ordering::Relaxed);
    let peak = watching.join_next().await.context("the watcher")???;
    ended.expect_code(0)?;
    fleet.expect_states(&[("prepared", 20)])?;
    let allowed = CONNECTIONS - FOR_SUPERUSERS - RESERVE;
    ensure!(
        (5..=allowed).contains(&peak),
        "{peak} of {CONNECTIONS} were taken at once"
    );
    println!("{peak} connections at the most");
    // What the file says is not more than the server has; that is told.
    let told = fleet
        .say("rollback")
        .arguments(&["--all", "--workers", "8"])
        .succeed()?;
    ensure!(
        told.stderr.contains("by its connections"),
        "{}",
        told.stderr
    );
    Ok(())
}
