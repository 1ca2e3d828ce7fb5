//! Leases: the messages that send a unit to a worker, and who has which.

use std::{collections::HashMap, sync::Arc, time::Duration};

use upshift_proto::v1::{self, Bound, Cancel, Drain, TaskSpec, Unit, coordinator_message::Message};
use upshift_shared::{
    clock::Stopwatch,
    ids::{TaskId, UnitId, WorkerId},
};

use super::{Limits, operation::Scene, units::UnitBook};
use crate::engine::Direction;

/// Who has which unit.
pub(super) struct Leases {
    scene: Arc<Scene>,
    database: String,
    close_connections: bool,
    held: HashMap<(TaskId, UnitId), (WorkerId, Stopwatch)>,
}

impl Leases {
    pub(super) fn new(scene: Arc<Scene>, database: String, close_connections: bool) -> Self {
        Self {
            scene,
            database,
            close_connections,
            held: HashMap::new(),
        }
    }

    /// What goes to a worker before the first of a task's units; with the task's span, and how many of its
    /// units have one.
    pub(super) fn spec(
        &self,
        task: TaskId,
        units: &mut UnitBook,
        (traceparent, unit_spans): (String, u32),
    ) -> Message {
        let planned = &self.scene.plan.tasks[task.0 as usize];
        Message::Task(TaskSpec {
            run: self.scene.holder.run.to_string(),
            task: task.0,
            database: self.database.clone(),
            spec: serde_json::to_vec(planned).expect("a task is plain data"),
            pinned_now: units.page(task).pinned_now.clone().unwrap_or_default(),
            options: serde_json::to_vec(&self.scene.options).expect("options are plain data"),
            traceparent,
            unit_spans,
        })
    }

    /// One unit.
    pub(super) fn unit(
        &self,
        (task, unit): (TaskId, UnitId),
        (direction, attempt): (Direction, u32),
        units: &UnitBook,
        limits: &Limits,
    ) -> Message {
        let bounds = units.bounds(task, unit);
        let is_cut = self.scene.plan.tasks[task.0 as usize]
            .operator
            .cut()
            .is_some();
        let statement_timeout = match direction {
            Direction::Do if is_cut => limits.cut_statement_timeout,
            // What was done can be taken back, however long that takes.
            Direction::Do | Direction::Undo => limits.statement_timeout,
        };
        let bound = |values: Option<Vec<String>>| values.map(|values| Bound { values });
        Message::Unit(Unit {
            run: self.scene.holder.run.to_string(),
            task: task.0,
            unit: unit.0,
            epoch: self.scene.holder.epoch.0,
            direction: match direction {
                Direction::Do => v1::Direction::Do.into(),
                Direction::Undo => v1::Direction::Undo.into(),
            },
            lower: bound(bounds.lower),
            upper: bound(bounds.upper),
            lock_timeout_millis: millis(limits.lock_timeout),
            statement_timeout_millis: millis(statement_timeout),
            attempt,
            force: limits.force,
            units_at_once: limits.max_units.min(limits.workers.max(1)),
            close_connection: self.close_connections,
        })
    }

    pub(super) fn given(&mut self, unit: (TaskId, UnitId), worker: WorkerId) {
        self.held.insert(unit, (worker, Stopwatch::start()));
    }

    /// A worker has reported on a unit; whether it held it.
    pub(super) fn returned(&mut self, unit: (TaskId, UnitId), worker: WorkerId) -> bool {
        let held = self.held.get(&unit).is_some_and(|(by, _)| *by == worker);
        if held {
            self.held.remove(&unit);
        }
        held
    }

    /// Whether a worker has the unit.
    pub(super) fn holds(&self, task: TaskId, unit: UnitId) -> bool {
        self.held.contains_key(&(task, unit))
    }

    /// Units that have been with a worker for so long, in their order.
    pub(super) fn longer_than(&self, long: Duration) -> Vec<(TaskId, UnitId)> {
        let held = self.held.iter();
        let mut found: Vec<_> = held
            .filter(|(_, (_, since))| since.elapsed() >= long)
            .map(|(unit, _)| *unit)
            .collect();
        found.sort_unstable();
        found
    }

    /// Whether there is such a unit.
    pub(super) fn any_longer_than(&self, long: Duration) -> bool {
        let mut held = self.held.values();
        held.any(|(_, since)| since.elapsed() >= long)
    }

    pub(super) fn count(&self) -> usize {
        self.held.len()
    }

    /// For every unit in flight, the message that cancels it.
    pub(super) fn cancels(&self) -> Vec<(WorkerId, Message)> {
        let run = self.scene.holder.run.to_string();
        self.held
            .iter()
            .map(|((task, unit), (worker, _))| {
                let cancel = Cancel {
                    run: run.clone(),
                    task: task.0,
                    unit: unit.0,
                };
                (*worker, Message::Cancel(cancel))
            })
            .collect()
    }
}

/// Asks a worker to finish.
pub(super) fn drain() -> Message {
    Message::Drain(Drain {})
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
