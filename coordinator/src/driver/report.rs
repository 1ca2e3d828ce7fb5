//! What the driver tells whoever watches: the terminal, and the operators' `Watch` streams.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::broadcast;
use upshift_shared::{
    ids::{TaskId, UnitId, WorkerId},
    plan::Plan,
};

use crate::progress::{Progress, ProgressEvent};

/// Shows events as they happen, and counts for `Status`.
pub(super) struct Report {
    plan: Arc<Plan>,
    progress: Box<dyn Progress>,
    watchers: broadcast::Sender<String>,
    started: HashSet<TaskId>,
    /// Units and rows that an earlier attempt did, by task.
    before: HashMap<TaskId, (u64, u64)>,
    pub(super) tasks_done: u64,
    pub(super) units_done: u64,
    pub(super) rows_done: u64,
}

impl Report {
    pub(super) fn new(
        plan: Arc<Plan>,
        progress: Box<dyn Progress>,
        watchers: broadcast::Sender<String>,
        before: HashMap<TaskId, (u64, u64)>,
    ) -> Self {
        Self {
            plan,
            progress,
            watchers,
            started: HashSet::new(),
            before,
            tasks_done: 0,
            units_done: 0,
            rows_done: 0,
        }
    }

    /// Shows one event.
    pub(super) fn show(&mut self, at: Duration, event: &ProgressEvent) {
        self.progress.show(at, event);
        if self.watchers.receiver_count() > 0
            && let Ok(json) = serde_json::to_string(event)
        {
            // An error means that the last watcher has just gone.
            let _gone = self.watchers.send(json);
        }
    }

    /// The first unit of a task is about to begin; later calls do nothing.
    pub(super) fn task_started(&mut self, at: Duration, task: TaskId, back: bool) {
        if !self.started.insert(task) {
            return;
        }
        let planned = &self.plan.tasks[task.0 as usize];
        let (_, rows_before) = self.before.get(&task).copied().unwrap_or_default();
        let rows = if back {
            rows_before
        } else {
            planned.rows.saturating_sub(rows_before)
        };
        let module = self.plan.modules.get(planned.module as usize);
        let event = ProgressEvent::TaskStarted {
            task,
            label: planned.label.clone(),
            module: module.map(|module| module.name.clone()).unwrap_or_default(),
            operator: planned.operator.name().to_owned(),
            rows,
            seconds: planned.seconds,
            cut: planned.operator.cut().is_some(),
        };
        self.show(at, &event);
    }

    /// A unit has committed.
    pub(super) fn unit_done(
        &mut self,
        at: Duration,
        (task, unit, worker): (TaskId, UnitId, WorkerId),
        rows: u64,
        seconds: f64,
    ) {
        self.units_done += 1;
        self.rows_done += rows;
        let event = ProgressEvent::UnitDone {
            task,
            unit,
            worker,
            rows,
            seconds,
        };
        self.show(at, &event);
    }

    /// The ledger has the task as done or undone.
    pub(super) fn task_done(&mut self, at: Duration, task: TaskId) {
        self.tasks_done += 1;
        self.show(at, &ProgressEvent::TaskDone { task });
    }
}
