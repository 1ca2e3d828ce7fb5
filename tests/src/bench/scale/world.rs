//! What is simulated: databases on servers, workers in regions, and how long everything takes. All of it
//! follows from a seed.

use std::time::Duration;

use clap::Args;
use upshift_coordinator::engine::{Access, Direction, GraphTask, Labels, RunGraph, ServerId};
use upshift_shared::ids::TaskId;

/// Databases and servers lie in so many regions; every fifth worker does not say where it is.
const REGIONS: u32 = 4;
/// One in so many databases does not say where workers should be.
const ANYWHERE: u32 = 10;
/// Tasks of each run: one of one unit, two that are cut and may go at once, one of one unit.
pub const TASKS: u32 = 4;

/// How much there is of everything.
#[derive(Debug, Clone, Args)]
pub struct World {
    /// Databases, with one run each.
    #[arg(long, default_value_t = 10_000)]
    pub databases: u32,
    /// Workers.
    #[arg(long, default_value_t = 1_000)]
    pub workers: u32,
    /// Units that each worker runs at once.
    #[arg(long, default_value_t = 4)]
    pub slots: u32,
    /// Units of all runs.
    #[arg(long, default_value_t = 10_000_000)]
    pub units: u64,
    /// Servers that the databases lie on; together they bear a quarter more units than there are slots.
    #[arg(long, default_value_t = 50)]
    pub servers: u32,
    /// One in so many units fails once, for a reason that passes; 0 for none.
    #[arg(long, default_value_t = 1_000)]
    pub failures: u64,
    /// What is random follows from it.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// What a unit's first attempt comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It commits.
    Commits,
    /// It is tried again at once.
    FailsNow,
    /// It is tried again after a pause.
    FailsLater,
}

impl World {
    /// The same with another number of databases and of units.
    #[must_use]
    pub fn with(&self, databases: u32, units: u64) -> Self {
        Self {
            databases,
            units,
            ..self.clone()
        }
    }

    /// Units that all workers run at once.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.workers * self.slots
    }

    /// The server of a database.
    #[must_use]
    pub fn server(&self, database: u32) -> u32 {
        database % self.used_servers()
    }

    /// No more servers than databases.
    #[must_use]
    pub fn used_servers(&self) -> u32 {
        self.servers.clamp(1, self.databases.max(1))
    }

    /// Units at once on each server.
    #[must_use]
    pub fn server_limit(&self) -> u32 {
        (self.capacity() * 5).div_ceil(self.used_servers() * 4)
    }

    /// Units at once of each run, …
    #[must_use]
    pub fn run_limit(&self) -> u32 {
        (self.capacity() * 2 / self.databases.max(1)).max(64)
    }

    /// … and of each of its tasks.
    #[must_use]
    pub fn task_limit(&self) -> u32 {
        self.run_limit() * 3 / 4
    }

    /// Where a database wants its workers.
    #[must_use]
    pub fn wants(&self, database: u32) -> Labels {
        match database % ANYWHERE {
            0 => Labels::new(),
            _ => region(self.server(database) % REGIONS),
        }
    }

    /// Where a worker says that it is.
    #[must_use]
    pub fn labels(&self, worker: u32) -> Labels {
        match worker % (REGIONS + 1) {
            REGIONS => Labels::new(),
            number => region(number),
        }
    }

    /// Units of each task of a database.
    #[must_use]
    pub fn task_units(&self, database: u32) -> [u32; TASKS as usize] {
        let databases = u64::from(self.databases);
        let more = u64::from(u64::from(database) < self.units % databases);
        let units = (self.units / databases + more) as u32;
        let cut = units.saturating_sub(2).max(2);
        let second = cut * 2 / 5;
        [1, cut - second, second, 1]
    }

    /// Its run.
    #[must_use]
    pub fn graph(&self, database: u32) -> RunGraph {
        let units = self.task_units(database);
        RunGraph {
            paused: false,
            direction: Direction::Do,
            tasks: vec![
                task(0, &[], 2, false),
                task(1, &[0], units[1], true),
                task(2, &[0], units[2], true),
                task(3, &[1, 2], 2, false),
            ],
            modules: 1,
            max_units: self.run_limit(),
            max_units_per_task: self.task_limit(),
            max_attempts: 3,
            first_unit_rows: None,
            server: Some(ServerId(self.server(database))),
            wants: self.wants(database),
        }
    }

    fn random(&self, of: [u32; 4]) -> u64 {
        let words = of.into_iter().map(u64::from);
        words.fold(mix(self.seed), |state, word| mix(state ^ word))
    }

    /// How long a unit takes: half a second to three and a half.
    #[must_use]
    pub fn duration(&self, database: u32, task: u32, unit: u32) -> Duration {
        Duration::from_micros(500_000 + self.random([database, task, unit, 0]) % 3_000_000)
    }

    /// What becomes of it at first.
    #[must_use]
    pub fn fate(&self, database: u32, task: u32, unit: u32) -> Fate {
        let random = self.random([database, task, unit, 1]);
        match random.checked_rem(self.failures) {
            Some(0) if (random / self.failures).is_multiple_of(2) => Fate::FailsNow,
            Some(0) => Fate::FailsLater,
            _ => Fate::Commits,
        }
    }

    /// How long the driver takes for what it does for a task: `what` tells one thing from another.
    #[must_use]
    pub fn operation(&self, database: u32, task: u32, what: u32) -> Duration {
        Duration::from_micros(5_000 + self.random([database, task, what, 2]) % 95_000)
    }
}

fn region(number: u32) -> Labels {
    Labels::from([("region".to_owned(), format!("r{number}"))])
}

fn task(id: u32, depends: &[u32], seconds: u32, cuttable: bool) -> GraphTask {
    GraphTask {
        id: TaskId(id),
        depends: depends.iter().copied().map(TaskId).collect(),
        module: 0,
        seconds: f64::from(seconds),
        tables: vec![(id, Access::Write)],
        cuttable,
        patient: None,
        prepared: false,
        cut_exhausted: false,
        units: Vec::new(),
        done: false,
    }
}

/// One step of splitmix64.
fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
