//! One run as those see it who look on: what it has to offer, what is in flight.

use std::time::Duration;

use upshift_shared::ids::RunId;

use super::world::{TASKS, World};

/// One task of it.
#[derive(Debug)]
pub(super) struct TaskSide {
    /// Units that it has in the end.
    pub(super) units: u32,
    /// Of these, cut.
    pub(super) cut: u32,
    /// Of these, to be given to workers.
    pub(super) offered: u32,
    pub(super) in_flight: u32,
}

/// One run.
#[derive(Debug)]
pub(super) struct RunSide {
    pub(super) id: RunId,
    pub(super) server: u32,
    pub(super) tasks: [TaskSide; TASKS as usize],
    pub(super) in_flight: u32,
    /// It has a unit to offer, and may run it.
    pub(super) waits_since: Option<Duration>,
    /// How many units had been given to workers by then.
    pub(super) waits_number: u64,
    /// How long its units have taken, failed attempts among them.
    pub(super) worked: Duration,
}

impl RunSide {
    pub(super) fn new(world: &World, database: u32) -> Self {
        Self {
            id: RunId::generate(),
            server: world.server(database),
            tasks: world.task_units(database).map(|units| TaskSide {
                units,
                cut: 0,
                offered: 0,
                in_flight: 0,
            }),
            in_flight: 0,
            waits_since: None,
            waits_number: 0,
            worked: Duration::ZERO,
        }
    }

    /// A task has been prepared: one that is not cut has its unit now.
    pub(super) fn opened(&mut self, task: u32) {
        if task == 0 || task == TASKS - 1 {
            self.tasks[task as usize].cut = 1;
            self.tasks[task as usize].offered = 1;
        }
    }

    /// Whether it has a unit to offer that it may run, as far as its own limits go.
    pub(super) fn is_ready(&self, world: &World) -> bool {
        let may = |task: &TaskSide| task.offered > 0 && task.in_flight < world.task_limit();
        self.in_flight < world.run_limit() && self.tasks.iter().any(may)
    }

    /// A unit was given to a worker; `false` where there was none.
    pub(super) fn leased(&mut self, task: u32) -> bool {
        let task = &mut self.tasks[task as usize];
        let Some(left) = task.offered.checked_sub(1) else {
            return false;
        };
        task.offered = left;
        task.in_flight += 1;
        self.in_flight += 1;
        true
    }

    /// What it would take with all workers for itself: its first unit, the longest of those in the middle,
    /// its last one.
    pub(super) fn longest_way(&self, world: &World, database: u32) -> Duration {
        let longest = |task: u32| {
            let units = 0..self.tasks[task as usize].units;
            let durations = units.map(|unit| world.duration(database, task, unit));
            durations.max().unwrap_or_default()
        };
        longest(0) + longest(1).max(longest(2)) + longest(3)
    }
}
