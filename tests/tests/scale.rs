//! The engine with many runs, workers and units in virtual time: what holds at every event, and what a unit
//! costs. Counted, never timed.

use anyhow::{Result, ensure};
use upshift_shared::fleet::Order;
use upshift_tests::bench::scale::{
    conducted::{Conducted, FleetWorld},
    simulation::Simulation,
    world::World,
};

fn world(seed: u64, databases: u32, workers: u32, units: u64) -> World {
    World {
        databases,
        workers,
        slots: 4,
        units,
        servers: 5,
        failures: 50,
        seed,
    }
}

/// The rules: a slot is free only where no unit may run there, no limit is passed, and no run is served twice
/// while another one waits that wants the same.
#[test]
fn nobody_idles_and_nobody_is_passed_over() -> Result<()> {
    for (seed, databases, workers) in [(1, 3, 10), (2, 40, 7), (3, 40, 23), (4, 90, 10), (5, 1, 9)]
    {
        let world = world(seed, databases, workers, 3_000);
        let report = Simulation::new(world, true).run();
        let report = report.map_err(|error| error.context(format!("seed {seed}")))?;
        ensure!(report.failures > 0, "some fail: {report:?}");
        ensure!(report.makespan >= report.bound, "{report:?}");
    }
    Ok(())
}

/// What is looked at to find whose turn it is, and what the engine is told, grow with units, not with the runs
/// that stand in the queues.
#[test]
fn a_unit_costs_as_much_with_many_runs() -> Result<()> {
    // As many units in each run, so that what a run costs once is the same for a unit.
    const UNITS: u32 = 20;
    let cost = |databases: u32| -> Result<(f64, f64)> {
        let world = world(7, databases, 50, u64::from(databases * UNITS));
        let report = Simulation::new(world, false).run()?;
        let units = report.units as f64;
        Ok((report.looks as f64 / units, report.events as f64 / units))
    };
    let (few, many) = (cost(400)?, cost(8_000)?);
    ensure!(
        many.0 < few.0 * 1.1 && many.1 < few.1 * 1.1,
        "entries and events of a unit: {few:?} with 400 runs, {many:?} with 8,000"
    );
    Ok(())
}

/// A fleet of 10,000 databases on 1,000 workers: the order that claims to lets no worker idle while a long
/// database goes on alone. No database waits without a reason, which the simulation looks at.
#[test]
fn large_first_takes_little_longer_than_any_schedule_must() -> Result<()> {
    for seed in [1, 2] {
        let world = FleetWorld {
            databases: 10_000,
            workers: 1_000,
            servers: 50,
            order: Order::LargeFirst,
            seed,
        };
        let report = Conducted::new(world)?.run()?;
        let ratio = report.makespan.as_secs_f64() / report.bound.as_secs_f64();
        ensure!(
            (1.0..1.05).contains(&ratio),
            "seed {seed}: {ratio:.3} x: {report:?}"
        );
    }
    Ok(())
}
