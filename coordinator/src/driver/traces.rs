//! The spans of one drive of a run (OpenTelemetry): the run's, within it those of checkpoints and tasks; those
//! of units are made by workers, within their task's. Where there are no traces, nothing is kept.
//!
//! A run of a million units does not have a million spans: of each task the first units have one, and all
//! tasks and units together as many as `max_spans` of `[telemetry]` says.

use std::collections::HashMap;

use upshift_shared::{
    ids::TaskId,
    plan::{Plan, Task},
    telemetry::trace::{self, Key, Parent, Span, Stage},
};

use super::{Aim, operation::Scene};
use crate::progress::Ending;

/// Of the spans of a run, one task may have this part for its units.
const SHARE_OF_TASK: u32 = 100;

/// The spans of a drive.
pub(super) struct Traces {
    run: Span,
    database: String,
    tasks: HashMap<TaskId, TaskTrace>,
    checkpoints: HashMap<u32, Span>,
    /// Spans of tasks and units that the drive may still have; `None` where there are no traces.
    left: Option<u32>,
    /// What the units of one task may have of them.
    share: u32,
    units: u64,
    rows: u64,
    left_out: u64,
}

/// A task that has begun.
struct TaskTrace {
    /// Nothing where the run has as many as it may.
    span: Option<Span>,
    unit_spans: u32,
    units: u64,
    rows: u64,
}

impl Traces {
    /// The drive begins.
    pub(super) fn begin(scene: &Scene, (database, aim): (&str, &Aim), parent: &Parent) -> Self {
        let mut run = Span::begin(Stage::Run, parent);
        run.text(Key::Run, &scene.holder.run.to_string());
        run.text(Key::Database, database);
        run.number(Key::Epoch, scene.holder.epoch.0.unsigned_abs());
        run.text(Key::Direction, direction(aim));
        let left = trace::max_spans();
        Self {
            run,
            database: database.to_owned(),
            tasks: HashMap::new(),
            checkpoints: HashMap::new(),
            left,
            share: left.unwrap_or_default().div_ceil(SHARE_OF_TASK),
            units: 0,
            rows: 0,
            left_out: 0,
        }
    }

    /// A task begins; later calls do nothing.
    pub(super) fn task(&mut self, task: TaskId, scene: &Scene) {
        let Some(left) = self.left.as_mut() else {
            return;
        };
        if self.tasks.contains_key(&task) {
            return;
        }
        let planned = &scene.plan.tasks[task.0 as usize];
        let mut trace = TaskTrace {
            span: None,
            unit_spans: 0,
            units: 0,
            rows: 0,
        };
        if *left > 0 {
            let units = match planned.operator.cut() {
                Some(_) => self.share,
                None => 1,
            };
            trace.unit_spans = units.min(*left - 1);
            *left -= 1 + trace.unit_spans;
            let mut span = Span::begin(Stage::Task, self.run.context());
            span.text(Key::Run, &scene.holder.run.to_string());
            span.text(Key::Database, &self.database);
            describe(&mut span, planned, &scene.plan);
            trace.span = Some(span);
        } else {
            self.left_out += 1;
        }
        self.tasks.insert(task, trace);
    }

    /// What a worker is told of a task: its span, and how many of its units are to have one. Without traces
    /// here, units belong to what the run would belong to, and have none.
    pub(super) fn told(&self, task: TaskId) -> (String, u32) {
        let trace = self.tasks.get(&task);
        let of_task = trace.and_then(|trace| {
            let traceparent = trace.span.as_ref()?.context().traceparent()?;
            Some((traceparent, trace.unit_spans))
        });
        of_task.unwrap_or_default()
    }

    /// A unit is done.
    pub(super) fn unit_done(&mut self, task: TaskId, rows: u64) {
        self.units += 1;
        self.rows += rows;
        if let Some(trace) = self.tasks.get_mut(&task) {
            trace.units += 1;
            trace.rows += rows;
        }
    }

    /// A task is recorded as done, or undone.
    pub(super) fn task_done(&mut self, task: TaskId) {
        let Some(trace) = self.tasks.remove(&task) else {
            return;
        };
        // What its units did not need is there for others.
        let needed = u32::try_from(trace.units).unwrap_or(u32::MAX);
        if let Some(left) = self.left.as_mut() {
            *left += trace.unit_spans.saturating_sub(needed);
        }
        trace.end("done");
    }

    /// A checkpoint is about to be recorded.
    pub(super) fn checkpoint(&mut self, place: u32, scene: &Scene) {
        if self.left.is_none() {
            return;
        }
        let mut span = Span::begin(Stage::Checkpoint, self.run.context());
        span.text(Key::Run, &scene.holder.run.to_string());
        span.text(Key::Database, &self.database);
        let planned = &scene.plan.checkpoints[place as usize];
        span.text(Key::Checkpoint, &planned.name);
        self.checkpoints.insert(place, span);
    }

    /// It is recorded.
    pub(super) fn checkpoint_done(&mut self, place: u32) {
        if let Some(span) = self.checkpoints.remove(&place) {
            span.end("done", false);
        }
    }

    /// The drive has ended.
    pub(super) fn end(self, ending: Ending) {
        for trace in self.tasks.into_values() {
            trace.end("unfinished");
        }
        for span in self.checkpoints.into_values() {
            span.end("unfinished", false);
        }
        let mut run = self.run;
        run.number(Key::Units, self.units);
        run.number(Key::Rows, self.rows);
        if self.left_out > 0 {
            run.number(Key::TasksLeftOut, self.left_out);
        }
        let (outcome, is_failure) = outcome(ending);
        run.end(outcome, is_failure);
    }
}

impl TaskTrace {
    fn end(self, outcome: &'static str) {
        if let Some(mut span) = self.span {
            span.number(Key::Units, self.units);
            span.number(Key::Rows, self.rows);
            span.end(outcome, false);
        }
    }
}

/// Not its label: that may be SQL.
fn describe(span: &mut Span, task: &Task, plan: &Plan) {
    span.number(Key::Task, u64::from(task.id.0));
    span.text(Key::Operator, task.operator.name());
    if let Some(module) = plan.modules.get(task.module as usize) {
        span.text(Key::Module, &module.name);
    }
}

fn direction(aim: &Aim) -> &'static str {
    match aim {
        Aim::Forward => "forward",
        Aim::Back { .. } | Aim::TakeBack => "back",
    }
}

/// In one word, and whether somebody has to look into it.
fn outcome(ending: Ending) -> (&'static str, bool) {
    match ending {
        Ending::SnapshotDue => ("snapshot_due", false),
        Ending::Prepared => ("prepared", false),
        Ending::Committed => ("committed", false),
        Ending::RolledBack => ("rolled_back", false),
        Ending::Stopped => ("stopped", false),
        Ending::HandedOver => ("handed_over", false),
        Ending::Failed => ("failed", true),
        Ending::Stuck => ("stuck", true),
    }
}
