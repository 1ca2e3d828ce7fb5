//! `scale fleet`: a fleet of many databases in virtual time, by the orders that it knows, against what no
//! schedule takes less than; what the coordinator takes for each database.

use anyhow::Result;
use clap::Args;
use upshift_shared::fleet::Order;

use super::conducted::{Conducted, FleetWorld};
use crate::harness::Usage;

/// What is simulated.
#[derive(Debug, Args)]
pub struct Options {
    /// Databases.
    #[arg(long, default_value_t = 10_000)]
    databases: u32,
    /// Workers, of one slot each.
    #[arg(long, default_value_t = 1_000)]
    workers: u32,
    /// Servers that the databases lie on.
    #[arg(long, default_value_t = 50)]
    servers: u32,
    /// What is random follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Prints what each order took.
///
/// # Errors
/// When a database waits without a reason, or the fleet does not end: a defect.
pub fn run(options: &Options) -> Result<()> {
    println!(
        "{} databases on {} servers, {} workers, seed {}",
        options.databases, options.servers, options.workers, options.seed
    );
    let own = Usage::own();
    for order in [Order::LargeFirst, Order::ByName, Order::SmallFirst] {
        let world = FleetWorld {
            databases: options.databases,
            workers: options.workers,
            servers: options.servers,
            order,
            seed: options.seed,
        };
        own.forget_peak()?;
        let before = own.memory()?;
        let report = Conducted::new(world)?.run()?;
        let of_each = |time: std::time::Duration| {
            time.as_secs_f64() * 1e6 / f64::from(options.databases.max(1))
        };
        println!(
            "  {order:?}: makespan {:.0} s, at least {:.0} s: {:.3} x; {} units; for each database {:.1} us \
             of the fleet, {:.1} us of the engine; {:.0} bytes at the most",
            report.makespan.as_secs_f64(),
            report.bound.as_secs_f64(),
            report.makespan.as_secs_f64() / report.bound.as_secs_f64(),
            report.units,
            of_each(report.fleet),
            of_each(report.engine),
            own.peak()?.saturating_sub(before) as f64 / f64::from(options.databases.max(1)),
        );
    }
    Ok(())
}
