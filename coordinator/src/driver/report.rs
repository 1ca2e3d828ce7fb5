//! What the driver tells whoever watches: the terminal, and the operators' `Watch` streams.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::broadcast;
use upshift_shared::{
    ids::{RunId, TaskId, UnitId, WorkerId},
    plan::{Operator, Plan, Task},
};

use super::{
    Aim,
    drive::{Job, Watched},
    journal::Journal,
    waits::Waits,
};
use crate::{
    metrics::Metrics,
    progress::{Compared, Going, Progress, ProgressEvent},
};

/// Seconds below which nobody asks how good the estimate was.
const WORTH_TELLING: f64 = 2.0;
/// So many are told.
const TOLD: usize = 10;

/// Who is shown what happens.
pub(super) type Shown = (
    Box<dyn Progress>,
    (RunId, broadcast::Sender<Watched>),
    Arc<Metrics>,
);

/// Shows events as they happen, and counts for `Status`.
pub(super) struct Report {
    plan: Arc<Plan>,
    /// When the run began to be driven.
    since: Duration,
    progress: Box<dyn Progress>,
    run: RunId,
    watchers: broadcast::Sender<Watched>,
    metrics: Arc<Metrics>,
    started: HashSet<TaskId>,
    /// Seconds of workers, by task, or by the first task of its pass.
    work: HashMap<TaskId, f64>,
    /// Units and rows that an earlier attempt did, by task.
    before: HashMap<TaskId, (u64, u64)>,
    pub(super) journal: Journal,
    pub(super) waits: Waits,
    pub(super) tasks_done: u64,
    pub(super) units_done: u64,
    pub(super) rows_done: u64,
}

impl Report {
    pub(super) fn new(
        (plan, since): (Arc<Plan>, Duration),
        (progress, (run, watchers), metrics): Shown,
        before: HashMap<TaskId, (u64, u64)>,
        journal: Journal,
    ) -> Self {
        Self {
            plan,
            since,
            progress,
            run,
            watchers,
            metrics,
            started: HashSet::new(),
            work: HashMap::new(),
            before,
            journal,
            waits: Waits::default(),
            tasks_done: 0,
            units_done: 0,
            rows_done: 0,
        }
    }

    /// Shows one event.
    pub(super) fn show(&mut self, at: Duration, event: &ProgressEvent) {
        self.progress.show(at.saturating_sub(self.since), event);
        self.metrics.shown(event);
        self.journal.record(at, event);
        if self.watchers.receiver_count() > 0
            && let Ok(json) = serde_json::to_string(event)
        {
            // An error means that the last watcher has just gone.
            let _gone = self.watchers.send((self.run, json.into()));
        }
        for wait in self.waits.follow(at, event) {
            self.show(at, &wait);
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
        let whole = whole(&self.plan, task);
        *self.work.entry(whole).or_default() += seconds;
        let event = ProgressEvent::UnitDone {
            task,
            unit,
            worker,
            rows,
            seconds,
        };
        self.show(at, &event);
    }

    /// What was expected against what it took, for the work that took longest; nothing for a run whose
    /// work was short.
    pub(super) fn compared(&self) -> Option<ProgressEvent> {
        let mut work: Vec<Compared> = self
            .work
            .iter()
            .filter(|(_, took)| **took >= WORTH_TELLING)
            .map(|(whole, took)| {
                let of = |task: &&Task| self::whole(&self.plan, task.id) == *whole;
                Compared {
                    label: self.plan.tasks[whole.0 as usize].label.clone(),
                    estimated: self
                        .plan
                        .tasks
                        .iter()
                        .filter(of)
                        .map(|task| task.seconds)
                        .sum(),
                    took: *took,
                }
            })
            .collect();
        if work.is_empty() {
            return None;
        }
        work.sort_by(|a, b| b.took.total_cmp(&a.took));
        work.truncate(TOLD);
        Some(ProgressEvent::Compared { work })
    }

    /// The ledger has the task as done or undone.
    pub(super) fn task_done(&mut self, at: Duration, task: TaskId) {
        self.tasks_done += 1;
        self.show(at, &ProgressEvent::TaskDone { task });
    }
}

/// What is said first.
pub(super) fn started(job: &Job, plan: &Plan) -> ProgressEvent {
    let nodes = &job.rebuilt.graph.tasks;
    let (mut rows, mut seconds) = (0, 0.0);
    for node in nodes.iter().filter(|node| !node.done) {
        let task = &plan.tasks[node.id.0 as usize];
        let (_, done) = job.rebuilt.done.get(&node.id).copied().unwrap_or_default();
        rows += match job.aim {
            Aim::Forward => task.rows.saturating_sub(done),
            Aim::Back { .. } | Aim::TakeBack => done,
        };
        seconds += task.seconds;
    }
    ProgressEvent::RunStarted {
        run: job.scene.holder.run,
        going: match job.aim {
            Aim::Back { .. } | Aim::TakeBack => Going::Back,
            Aim::Forward if job.resumed => Going::Resumed,
            Aim::Forward => Going::Forward,
        },
        tasks: nodes.len() as u64,
        tasks_done: nodes.iter().filter(|node| node.done).count() as u64,
        rows,
        seconds,
        workers: job.limits.workers,
    }
}

/// The task that stands for all of its pass; others stand for themselves.
fn whole(plan: &Plan, task: TaskId) -> TaskId {
    match &plan.tasks[task.0 as usize].operator {
        Operator::Shadow(op) => op.pass,
        _ => task,
    }
}
