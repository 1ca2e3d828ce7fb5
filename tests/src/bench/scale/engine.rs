//! `scale engine`: one large simulation, and the same number of units in ever more runs, whose cost for
//! each unit must not grow.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::{
    simulation::{Report, Simulation},
    world::World,
};
use crate::harness::Usage;

/// Runs of the ladder.
const LADDER: [u32; 4] = [10, 100, 1_000, 10_000];

/// What is simulated.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    world: World,
    /// Units of each step of the ladder (10, 100, 1,000 and 10,000 runs); 0 for no ladder.
    #[arg(long, default_value_t = 2_000_000)]
    ladder_units: u64,
    /// Check the rules at every event: nobody idles who could work, no limit is passed, nobody is passed
    /// over. For small numbers.
    #[arg(long)]
    check: bool,
}

/// Prints what each simulation took.
///
/// # Errors
/// When the engine refuses an event or breaks a rule, which would be a defect.
pub fn run(options: &Options) -> Result<()> {
    let world = &options.world;
    println!(
        "{} workers x {} slots, up to {} servers, seed {}; what the engine alone takes is in parentheses",
        world.workers, world.slots, world.servers, world.seed
    );
    let mut first = None;
    let ladder = LADDER
        .iter()
        .filter(|_| options.ladder_units > 0)
        .map(|runs| world.with(*runs, options.ladder_units));
    for step in ladder {
        let (report, micros) = measure(&step, options.check)?;
        let looks = report.looks as f64 / report.units as f64;
        let (micros_first, looks_first) = *first.get_or_insert((micros, looks));
        println!(
            "  a unit: {micros:.2} us of the engine ({:.2} x that of {} runs), {looks:.1} entries of queues \
             looked at ({:.2} x), {:.2} events",
            micros / micros_first,
            LADDER[0],
            looks / looks_first,
            report.events as f64 / report.units as f64,
        );
    }
    let (_, micros) = measure(world, options.check)?;
    println!("  a unit: {micros:.2} us of the engine");
    Ok(())
}

/// The report, and microseconds of a processor that the engine takes for each unit: its part of the real
/// time, of the time that a processor was at it, so that what else the machine does shows less.
fn measure(world: &World, check: bool) -> Result<(Report, f64)> {
    let own = Usage::own();
    own.forget_peak()?;
    let (before, busy) = (own.memory()?, own.processor()?);
    let report = Simulation::new(world.clone(), check).run()?;
    let busy: Duration = own.processor()? - busy;
    let (real, engine) = (report.real.as_secs_f64(), report.engine.as_secs_f64());
    let units = report.units as f64;
    let micros = busy.as_secs_f64() * engine / real * 1e6 / units;
    println!(
        "{} databases, {} units, {} failed attempts: {real:.1} s, {:.0} units/s ({:.0}); {:.1} s of a \
         processor; peak memory {} MB, of these {} MB from before",
        world.databases,
        report.units,
        report.failures,
        units / real,
        units / engine,
        busy.as_secs_f64(),
        own.peak()? / 1_000_000,
        before / 1_000_000,
    );
    println!(
        "  makespan {:.0} s, at least {:.0} s ({}): {:.3} x; a run with ready units waited {:.2} s for its \
         turn at the longest, {:.3} s on average",
        report.makespan.as_secs_f64(),
        report.bound.as_secs_f64(),
        report.bound_by,
        report.makespan.as_secs_f64() / report.bound.as_secs_f64(),
        report.longest_wait.as_secs_f64(),
        report.mean_wait.as_secs_f64(),
    );
    Ok((report, micros))
}
