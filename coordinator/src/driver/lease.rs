//! Leases: the messages that send a unit to a worker, and who has which.

use std::{collections::HashMap, sync::Arc, time::Duration};

use upshift_proto::v1::{
    self, Bound, Cancel, Drain, TaskSpec, Unit, coordinator_message::Message,
};
use upshift_shared::ids::{TaskId, UnitId, WorkerId};

use super::{Limits, operation::Scene, units::UnitBook};
use crate::engine::Direction;

/// What goes to a worker for one unit: the specification only if it has not got it yet.
pub(super) struct Messages {
    pub(super) spec: Message,
    pub(super) unit: Message,
}

/// Who has which unit.
pub(super) struct Leases {
    scene: Arc<Scene>,
    database: String,
    held: HashMap<(TaskId, UnitId), WorkerId>,
}

impl Leases {
    pub(super) fn new(scene: Arc<Scene>, database: String) -> Self {
        Self {
            scene,
            database,
            held: HashMap::new(),
        }
    }

    pub(super) fn messages(
        &self,
        (task, unit): (TaskId, UnitId),
        (direction, attempt): (Direction, u32),
        units: &mut UnitBook,
        limits: &Limits,
    ) -> Messages {
        let run = self.scene.holder.run.to_string();
        let bounds = units.bounds(task, unit);
        let bound = |values: Option<Vec<String>>| values.map(|values| Bound { values });
        let planned = &self.scene.plan.tasks[task.0 as usize];
        let spec = serde_json::to_vec(planned).expect("a task is plain data");
        let pinned_now = units.page(task).pinned_now.clone();
        Messages {
            spec: Message::Task(TaskSpec {
                run: run.clone(),
                task: task.0,
                database: self.database.clone(),
                spec,
                pinned_now: pinned_now.unwrap_or_default(),
            }),
            unit: Message::Unit(Unit {
                run,
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
                statement_timeout_millis: millis(limits.statement_timeout),
                attempt,
            }),
        }
    }

    pub(super) fn given(&mut self, unit: (TaskId, UnitId), worker: WorkerId) {
        self.held.insert(unit, worker);
    }

    /// A worker has reported on a unit.
    pub(super) fn returned(&mut self, unit: (TaskId, UnitId), worker: WorkerId) {
        if self.held.get(&unit) == Some(&worker) {
            self.held.remove(&unit);
        }
    }

    pub(super) fn lost(&mut self, worker: WorkerId) {
        self.held.retain(|_, holder| *holder != worker);
    }

    /// How many units a worker holds.
    pub(super) fn of(&self, worker: WorkerId) -> usize {
        self.held.values().filter(|holder| **holder == worker).count()
    }

    pub(super) fn count(&self) -> usize {
        self.held.len()
    }

    /// For every unit in flight, the message that cancels it.
    pub(super) fn cancels(&self) -> Vec<(WorkerId, Message)> {
        let run = self.scene.holder.run.to_string();
        self.held
            .iter()
            .map(|((task, unit), worker)| {
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
