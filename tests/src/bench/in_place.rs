//! The demo's upgrade with 1, 2 and 4 workers against the naive run: one statement after another.

use anyhow::Result;
use sqlx::Connection;
use upshift_coordinator::demo;
use upshift_shared::clock::Stopwatch;

use crate::harness::{Database, Upshift};

/// Prints seconds and ratios.
///
/// # Errors
/// Where a run fails.
pub async fn run(rows: u32) -> Result<()> {
    let folder = tempfile::tempdir()?;
    demo::pack::write(folder.path())?;
    let start = Database::create()?;
    let mut connection = start.connect().await?;
    demo::database::generate(&mut connection, rows, |_| {}).await?;
    connection.close().await?;
    println!("the demo's upgrade, {rows} rows in the largest table");
    println!(
        "{:<28} {:>10} {:>8} {:>12}",
        "", "seconds", "ratio", "rollback"
    );
    let naive = ["--strategy", "sequential", "--commit", "--yes"];
    let (sequential, _) = measure(&start, folder.path(), &naive)?;
    print("--strategy sequential", sequential, sequential, None);
    for workers in ["1", "2", "4"] {
        let (seconds, database) = measure(&start, folder.path(), &["--workers", workers])?;
        let watch = Stopwatch::start();
        Upshift::on(&database, ["rollback", "--workers", workers]).succeed()?;
        let back = watch.elapsed().as_secs_f64();
        print(
            &format!("--workers {workers}"),
            seconds,
            sequential,
            Some(back),
        );
    }
    Ok(())
}

/// Runs the pack on a copy. The copy is not part of the time; a checkpoint before it keeps its writing
/// out of the run's.
fn measure(start: &Database, pack: &std::path::Path, options: &[&str]) -> Result<(f64, Database)> {
    let database = start.copy()?;
    database.psql_as_superuser("CHECKPOINT")?;
    let watch = Stopwatch::start();
    Upshift::on(&database, ["run"])
        .argument(pack)
        .arguments(options)
        .succeed()?;
    Ok((watch.elapsed().as_secs_f64(), database))
}

fn print(what: &str, seconds: f64, sequential: f64, back: Option<f64>) {
    let back = back.map_or_else(|| "none".to_owned(), |back| format!("{back:.1} s"));
    println!(
        "{what:<28} {seconds:>10.1} {:>7.2}× {back:>12}",
        sequential / seconds
    );
}
