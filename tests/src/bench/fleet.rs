//! Databases a minute: a fleet of small ones against loops of `psql` in a shell, once with few files and work
//! to do in each, once with many short ones; what the process that conducts the fleet takes for each database,
//! and how many connections.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use nix::sys::signal::Signal;
use sqlx::PgConnection;
use tokio::task::{JoinSet, block_in_place};
use upshift_shared::clock::Stopwatch;

use crate::{
    fleet::Fleet,
    harness::{Database, Running, Server, Usage},
    modular, oracle, small_erp,
};

/// How often it is counted how many connections there are.
const LOOK: Duration = Duration::from_millis(20);
/// Connections that the server allows, as PostgreSQL comes.
const CONNECTIONS: u32 = 100;
/// Members that wait, of the fleets whose memory is measured.
const WAITING: [usize; 2] = [300, 3_000];
/// A process whose memory has not changed for so long only waits.
const SETTLED: Duration = Duration::from_secs(3);

/// What is measured.
#[derive(Debug, Args)]
pub struct Options {
    /// Databases each way.
    #[arg(long, default_value_t = 100)]
    databases: usize,
    /// Workers of the fleet.
    #[arg(long, default_value_t = 8)]
    workers: u32,
    /// Rows of the largest table of each database (from 20,000 on building it anew may pay).
    #[arg(long, default_value_t = 5_000)]
    lines: u32,
    /// Modules of the second application, each with a small table and two files.
    #[arg(long, default_value_t = 40)]
    modules: u32,
    /// The server writes to disk what is committed, as PostgreSQL comes.
    #[arg(long)]
    durable: bool,
}

/// How a script goes about it.
#[derive(Debug, Clone, Copy)]
enum Loop {
    /// A session for each file.
    Files,
    /// One session for each database.
    Databases,
    /// The same, two databases at a time.
    Two,
}

impl Loop {
    fn name(self) -> &'static str {
        match self {
            Self::Files => "psql, a session for each file",
            Self::Databases => "psql, a session for each database",
            Self::Two => "the same by xargs -P 2",
        }
    }
}

/// Measures all ways, one after the other, on the same server.
///
/// # Errors
/// Where something fails.
pub async fn run(options: &Options) -> Result<()> {
    let server = server(options)?;
    println!(
        "{} databases each way, {} workers, {}",
        options.databases,
        options.workers,
        match options.durable {
            true => "commits go to disk",
            false => "commits do not go to disk",
        }
    );
    let template = small_erp(server, options.lines)?;
    println!("small ERP: {} rows in the largest table", options.lines);
    compare(&template, &small_erp::pack(), options).await?;
    let many = modular::database_on(server, options.modules)?;
    many.psql_as_superuser("VACUUM ANALYZE")?;
    let pack = modular::pack_of(options.modules)?;
    println!("{} modules, two short files each", options.modules);
    compare(&many, pack.path(), options).await?;
    waiting(&template).await
}

/// The loops against the fleet.
async fn compare(template: &Database, pack: &Path, options: &Options) -> Result<()> {
    let a_minute = |time: Duration| options.databases as f64 * 60.0 / time.as_secs_f64();
    let files = oracle::files(template, pack).await?;
    let files: Vec<PathBuf> = files.iter().map(|file| pack.join(file)).collect();
    let mut loops = Vec::new();
    for way in [Loop::Files, Loop::Databases, Loop::Two] {
        loops.push((way, loop_of_psql(template, &files, way, options.databases)?));
    }
    let by_fleet = of_fleet(template, pack, options).await?;
    for (way, took) in loops {
        println!(
            "  {:<34} {:>7.1} s, {:>6.0} databases a minute; upshift fleet is {:.2} x",
            way.name(),
            took.as_secs_f64(),
            a_minute(took),
            took.as_secs_f64() / by_fleet.as_secs_f64(),
        );
    }
    println!(
        "  {:<34} {:>7.1} s, {:>6.0} databases a minute",
        "upshift fleet",
        by_fleet.as_secs_f64(),
        a_minute(by_fleet)
    );
    Ok(())
}

/// A server of its own.
fn server(options: &Options) -> Result<&'static Server> {
    let connections = CONNECTIONS.to_string();
    let mut settings = vec![("max_connections", connections.as_str())];
    if options.durable {
        let on = ["fsync", "synchronous_commit", "full_page_writes"];
        settings.extend(on.map(|name| (name, "on")));
    }
    Server::own_with(&settings)
}

/// A database to be copied.
fn small_erp(server: &'static Server, lines: u32) -> Result<Database> {
    let template = small_erp::database_on(server)?;
    template.psql(&format!(
        "DELETE FROM line WHERE id > {lines};
         INSERT INTO line (move_id, quantity, price, note, obsolete)
         SELECT 1 + i % 1500, i % 11, (i % 997) / 3.0,
                CASE WHEN i % 5 > 0 THEN 'a note on line ' || i END, repeat('x', i % 40)
           FROM generate_series(5001, {lines}) AS i"
    ))?;
    template.psql_as_superuser("VACUUM ANALYZE")?;
    Ok(template)
}

/// As a hoster's script does it.
fn loop_of_psql(
    template: &Database,
    files: &[PathBuf],
    way: Loop,
    count: usize,
) -> Result<Duration> {
    let files = files.iter().map(|file| format!("-f '{}'", file.display()));
    let files: Vec<String> = files.collect();
    let copies: Vec<Database> = (0..count).map(|_| template.copy()).collect::<Result<_>>()?;
    let psql = template.server().binaries().join("psql");
    let psql = format!("'{}' -X -q -o /dev/null -v ON_ERROR_STOP=1", psql.display());
    let mut script = String::from("set -e\n");
    match way {
        Loop::Files => {
            for (copy, file) in copies
                .iter()
                .flat_map(|c| files.iter().map(move |f| (c, f)))
            {
                writeln!(script, "{psql} -d '{}' {file}", copy.url())?;
            }
        }
        Loop::Databases => {
            for copy in &copies {
                writeln!(script, "{psql} -d '{}' {}", copy.url(), files.join(" "))?;
            }
        }
        Loop::Two => {
            let all = files.join(" ");
            writeln!(script, "xargs -P 2 -I URL {psql} -d URL {all} <<'END'")?;
            for copy in &copies {
                writeln!(script, "{}", copy.url())?;
            }
            script.push_str("END\n");
        }
    }
    // As a file: as an argument it would be too long.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("upgrade.sh");
    fs::write(&file, script)?;
    let watch = Stopwatch::start();
    let status = Command::new("sh").arg(file).status()?;
    let took = watch.elapsed();
    ensure!(status.success(), "psql failed: {status}");
    Ok(took)
}

/// `upshift fleet run`, and what it takes.
async fn of_fleet(template: &Database, pack: &Path, options: &Options) -> Result<Duration> {
    let order = format!("pack = \"{}\"\ncommit = \"after_run\"", pack.display());
    let fleet = Fleet::of(&[template], options.databases, &order)?;
    let most = Arc::new(AtomicU32::new(0));
    let mut counting = JoinSet::new();
    let before = sessions(&mut superuser(template).await?).await?;
    counting.spawn(count(superuser(template).await?, Arc::clone(&most)));
    let watch = Stopwatch::start();
    let running = fleet.run(options.workers).start()?;
    let taken = block_in_place(|| until_end(running, options.databases))?;
    let took = watch.elapsed();
    counting.shutdown().await;
    let megabytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "  its process: {:.1} ms of CPU a database; {:.1} MB at the most, {:.1} MB after a third of the databases, \
         {:.1} MB after all\n  connections: {} at the most, of {CONNECTIONS} ({before} were others')",
        taken.processor.as_secs_f64() * 1_000.0 / options.databases as f64,
        megabytes(taken.peak),
        megabytes(taken.after_a_third),
        megabytes(taken.after_all),
        most.load(Ordering::Relaxed).saturating_sub(before),
    );
    Ok(took)
}

async fn superuser(template: &Database) -> Result<PgConnection> {
    let url = template.server().url("postgres", "postgres");
    Ok(<PgConnection as sqlx::Connection>::connect(&url).await?)
}

async fn sessions(conn: &mut PgConnection) -> Result<u32> {
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'",
    )
    .fetch_one(conn)
    .await?;
    Ok(u32::try_from(count)?)
}

/// Counts connections until it is ended.
async fn count(mut conn: PgConnection, most: Arc<AtomicU32>) {
    while let Ok(now) = sessions(&mut conn).await {
        most.fetch_max(now, Ordering::Relaxed);
        tokio::time::sleep(LOOK).await;
    }
}

/// What a process has taken.
#[derive(Debug, Default, Clone, Copy)]
struct Taken {
    processor: Duration,
    /// Bytes.
    peak: u64,
    after_a_third: u64,
    after_all: u64,
}

fn until_end(mut running: Running, databases: usize) -> Result<Taken> {
    let usage = Usage::of(running.id());
    let mut taken = Taken::default();
    let mut committed = 0;
    while let Some(line) = running.next_line()? {
        committed += usize::from(line.contains("\"done\"") && line.contains("\"committed\""));
        let Ok(memory) = usage.memory() else {
            continue;
        };
        if committed <= databases.div_ceil(3) {
            taken.after_a_third = memory;
        }
        taken.after_all = memory;
        taken.peak = usage.peak().unwrap_or(taken.peak);
        taken.processor = usage.processor().unwrap_or(taken.processor);
    }
    running.wait()?.expect_code(0)?;
    Ok(taken)
}

/// What a fleet's process has in memory while nothing but waiting is to be done. (Databases that are not
/// there wait as others do, and their reason takes more.)
async fn waiting(template: &Database) -> Result<()> {
    let now: i64 = sqlx::query_scalar("SELECT extract(hour FROM now() AT TIME ZONE 'UTC')::bigint")
        .fetch_one(&mut superuser(template).await?)
        .await?;
    // Half a day away.
    let (from, to) = ((now + 11) % 24, (now + 13) % 24);
    let window = format!("[window]\nfrom = \"{from:02}:00\"\nto = \"{to:02}:00\"\n");
    let fleet = Fleet::of(&[template], 0, "")?;
    let mut found = Vec::new();
    for (number, count) in WAITING.into_iter().enumerate() {
        let members: Vec<String> = (0..count).map(|place| format!("s0/none_{place}")).collect();
        let name = format!("waiting{number}");
        fleet.order(&name, &window, &members)?;
        let running = fleet.say_of(&name, "run").argument("--json").start()?;
        found.push(block_in_place(|| settled(running))?);
    }
    let [few, many] = [found[0], found[1]];
    let each = many.saturating_sub(few) as f64 / (WAITING[1] - WAITING[0]) as f64;
    println!(
        "  memory with {} waiting {:.1} MB, with {} {:.1} MB: {each:.0} bytes for each",
        WAITING[0],
        few as f64 / f64::from(1 << 20),
        WAITING[1],
        many as f64 / f64::from(1 << 20),
    );
    Ok(())
}

/// Its memory once it waits and that changes no more; it is ended then.
fn settled(mut running: Running) -> Result<u64> {
    let usage = Usage::of(running.id());
    let waits = "\"waits\"";
    while !running
        .next_line()?
        .context("it ended by itself")?
        .contains(waits)
    {}
    let (mut before, mut watch) = (usage.memory()?, Stopwatch::start());
    loop {
        std::thread::sleep(LOOK);
        let memory = usage.memory().context("it ended by itself")?;
        if std::mem::replace(&mut before, memory) != memory {
            watch = Stopwatch::start();
        }
        if watch.elapsed() > SETTLED {
            running.signal(Signal::SIGTERM)?;
            running.wait()?;
            return Ok(memory);
        }
    }
}
