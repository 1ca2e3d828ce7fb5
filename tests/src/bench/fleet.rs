//! Databases a minute: a fleet of small ones against a loop of `psql` in a shell, and what the process that
//! conducts the fleet takes for each.

use std::{fmt::Write as _, fs, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Args;
use upshift_shared::clock::Stopwatch;

use crate::{
    fleet::Fleet,
    harness::{Database, Running, Server},
    oracle, small_erp,
};

/// How often it is looked what the process has taken.
const LOOK: Duration = Duration::from_millis(100);

/// What is measured.
#[derive(Debug, Args)]
pub struct Options {
    /// Databases each way.
    #[arg(long, default_value_t = 100)]
    databases: usize,
    /// Workers of the fleet.
    #[arg(long, default_value_t = 8)]
    workers: u32,
    /// Leave a tenth of the rows: what is not SQL weighs more then.
    #[arg(long)]
    tiny: bool,
}

/// Measures both, one after the other, on the same server.
///
/// # Errors
/// Where something fails.
pub async fn run(options: &Options) -> Result<()> {
    let server = Server::own_with(&[("max_connections", "300")])?;
    let template = small_erp::database_on(server)?;
    if options.tiny {
        template.psql("DELETE FROM move WHERE id > 150; DELETE FROM partner WHERE id > 150")?;
    }
    template.psql_as_superuser("VACUUM ANALYZE")?;
    let by_psql = loop_of_psql(&template, options.databases).await?;
    let order = "commit = \"after_run\"";
    let fleet = Fleet::of(&[&template], options.databases, order)?;
    let watch = Stopwatch::start();
    let running = fleet.run(options.workers).start()?;
    let taken = until_end(running)?;
    let by_fleet = watch.elapsed();
    let a_minute = |time: Duration| options.databases as f64 * 60.0 / time.as_secs_f64();
    let databases = options.databases as f64;
    println!(
        "{} databases ({}), {} workers:\n  loop of psql: {:.1} s, {:.0} databases a minute\n  upshift fleet: \
         {:.1} s, {:.0} databases a minute: {:.2} x\n  its process: {:.1} ms of CPU and {} MB at the most, {:.0} kB a \
         database",
        options.databases,
        if options.tiny { "tiny" } else { "small" },
        options.workers,
        by_psql.as_secs_f64(),
        a_minute(by_psql),
        by_fleet.as_secs_f64(),
        a_minute(by_fleet),
        by_psql.as_secs_f64() / by_fleet.as_secs_f64(),
        taken.cpu.as_secs_f64() * 1000.0 / databases,
        taken.kilobytes / 1024,
        taken.kilobytes as f64 / databases,
    );
    Ok(())
}

/// One database after the other, file after file, as a hoster's script does it.
async fn loop_of_psql(template: &Database, count: usize) -> Result<Duration> {
    let pack = small_erp::pack();
    let files = oracle::files(template, &pack).await?;
    let mut copies = Vec::with_capacity(count);
    for _ in 0..count {
        copies.push(template.copy()?);
    }
    let mut script = String::from("set -e\n");
    for copy in &copies {
        for file in &files {
            writeln!(
                script,
                "'{}' -X -q -v ON_ERROR_STOP=1 -d '{}' -f '{}' > /dev/null",
                template.server().binaries().join("psql").display(),
                copy.url(),
                pack.join(file).display()
            )?;
        }
    }
    let watch = Stopwatch::start();
    let status = Command::new("sh").arg("-c").arg(script).status()?;
    let took = watch.elapsed();
    ensure!(status.success(), "psql failed: {status}");
    Ok(took)
}

/// What a process has taken.
#[derive(Debug, Default, Clone, Copy)]
struct Taken {
    cpu: Duration,
    /// Memory at the most.
    kilobytes: u64,
}

fn until_end(mut running: Running) -> Result<Taken> {
    let id = running.id();
    let mut taken = Taken::default();
    while !running.has_ended()? {
        if let Ok(now) = taken_by(id) {
            taken = now;
        }
        std::thread::sleep(LOOK);
    }
    running.wait()?.expect_code(0)?;
    Ok(taken)
}

fn taken_by(process: u32) -> Result<Taken> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Behind the name, which may hold anything: state is the third field, utime and stime the 14th and 15th.
    let (_, fields) = stat.rsplit_once(')').context("it has a name")?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|ticks| ticks.parse().unwrap_or(0)).sum();
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|peak| peak.split_whitespace().next());
    // Ticks are hundredths of a second on Linux (USER_HZ).
    Ok(Taken {
        cpu: Duration::from_millis(ticks * 10),
        kilobytes: peak.and_then(|peak| peak.parse().ok()).unwrap_or_default(),
    })
}
