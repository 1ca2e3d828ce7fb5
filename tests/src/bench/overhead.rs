//! What a unit costs besides its own SQL: UPDATEs of many small tables in very small units, against the
//! same pieces run bare, each in a transaction of its own, on one connection. Many tables, because the
//! units of one grow until they take seconds.

use anyhow::{Context, Result, ensure};
use sqlx::{Connection, Row};
use upshift_shared::{clock::Stopwatch, pg};

use crate::harness::{Database, Upshift};

/// The statement on one of the tables, whose units are counted.
fn statement(table: impl std::fmt::Display) -> String {
    format!("UPDATE wide_{table} SET a = a + 1, b = upper(b)")
}

/// Prints milliseconds a unit, for so many tables of so many rows each.
///
/// # Errors
/// Where the run fails.
pub async fn run(tables: u32, rows: u32, unit_rows: u32) -> Result<()> {
    let start = Database::create()?;
    let wide = (0..tables).map(|table| {
        format!(
            "CREATE TABLE wide_{table} (id serial PRIMARY KEY, a integer, b text, c text);
             INSERT INTO wide_{table} (a, b, c)
             SELECT i, 'text ' || i, repeat('x', 80) FROM generate_series(1, {rows}) AS i;
             ANALYZE wide_{table};"
        )
    });
    let installed = "CREATE TABLE installed (name text, version text);
         INSERT INTO installed VALUES ('m', '1.0')";
    start.psql(&(wide.collect::<String>() + installed))?;
    let statements: Vec<String> = (0..tables).map(statement).collect();
    let folder = tempfile::tempdir()?;
    for (path, text) in [
        (
            "pack/pack.toml",
            "name = \"overhead\"\n[installed]\ntable = \"installed\"\n",
        ),
        ("pack/m/module.toml", "version = \"2.0\"\n"),
        ("pack/m/migrations/2.0/pre-a.sql", &statements.join(";\n")),
        (
            "upshift.toml",
            &format!("[run]\nunit_rows = {unit_rows}\nworkers = 1\n"),
        ),
    ] {
        let file = folder.path().join(path);
        std::fs::create_dir_all(file.parent().context("a file in a folder")?)?;
        std::fs::write(file, text)?;
    }
    let upgraded = start.copy()?;
    let config = folder.path().join("upshift.toml");
    let outcome = Upshift::on(&upgraded, ["run", "--json"])
        .argument(folder.path().join("pack"))
        .argument("--config")
        .argument(&config)
        .succeed()?;
    let units = events(&outcome.stdout)?;
    let bare = bare(&upgraded, &start).await?;
    ensure!(
        units.count as usize == bare.len(),
        "the ledger has {} units",
        bare.len()
    );
    let bare: f64 = bare.iter().sum();
    let each = |seconds: f64| 1000.0 * seconds / f64::from(units.count);
    println!(
        "{tables} tables of {rows} rows, in {} units of {} rows, one worker",
        units.count,
        tables * rows / units.count
    );
    println!(
        "{:<44} {:>8.2} ms a unit",
        "the SQL alone, a transaction each",
        each(bare)
    );
    println!(
        "{:<44} {:>8.2} ms a unit",
        "in a worker (with before-images and ledger)",
        each(units.seconds)
    );
    println!(
        "{:<44} {:>8.2} ms a unit",
        "from first to last unit, by the clock",
        each(units.span)
    );
    println!("{:<44} {:>8.2} ms a unit", "added", each(units.span - bare));
    Ok(())
}

/// What the run said of its units.
struct Units {
    count: u32,
    /// Sum of what each took in its worker.
    seconds: f64,
    /// From the first unit's end to the last one's, and the first one's own time.
    span: f64,
}

fn events(stdout: &str) -> Result<Units> {
    let mut units = Units {
        count: 0,
        seconds: 0.0,
        span: 0.0,
    };
    let (mut first, mut last) = (None, 0.0);
    for line in stdout.lines() {
        let event: serde_json::Value = serde_json::from_str(line)?;
        if event["event"] != "unit_done" {
            continue;
        }
        let seconds = event["seconds"].as_f64().unwrap_or_default();
        last = event["at"].as_f64().context("an event says when")?;
        first.get_or_insert(last - seconds);
        units.count += 1;
        units.seconds += seconds;
    }
    units.span = last - first.context("no unit was done")?;
    Ok(units)
}

/// The same pieces, as the ledger has them, run bare on a copy: seconds of each.
async fn bare(upgraded: &Database, start: &Database) -> Result<Vec<f64>> {
    let mut connection = upgraded.connect().await?;
    let cuts = sqlx::query(
        "SELECT task, lower[1] AS lower, upper[1] AS upper FROM upshift.cut ORDER BY task, unit",
    )
    .fetch_all(&mut connection)
    .await?;
    connection.close().await?;
    let copy = start.copy()?;
    let mut connection = copy.connect().await?;
    let mut seconds = Vec::new();
    for cut in cuts {
        // The tasks are the statements, in their order.
        let sql = format!(
            "{} WHERE ($1::text IS NULL OR id > $1::text::integer) \
             AND ($2::text IS NULL OR id <= $2::text::integer)",
            statement(cut.get::<i32, _>("task"))
        );
        let (lower, upper): (Option<String>, Option<String>) = (cut.get("lower"), cut.get("upper"));
        let watch = Stopwatch::start();
        sqlx::query(pg::sql(sql))
            .bind(lower)
            .bind(upper)
            .execute(&mut connection)
            .await?;
        seconds.push(watch.elapsed().as_secs_f64());
    }
    connection.close().await?;
    Ok(seconds)
}
