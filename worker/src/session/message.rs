//! Between the protocol's messages and the worker's own types.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::sync::OnceCell;
use upshift_proto::v1::{
    Bound, Direction as WireDirection, FailureClass as WireClass, TaskSpec, Unit, UnitDone,
    UnitFailed, worker_message::Message as Up,
};
use upshift_shared::{
    Error, Result,
    ids::RunId,
    ledger::{Bounds, options::RunOptions},
    pg::Target,
    plan::Task,
    telemetry::trace::{Key, Parent, Span, Stage},
};

use super::ResolveDatabase;
use crate::unit::{Direction, FailureClass, UnitError, UnitReport};

/// A task as the session knows it: sent once, before the first of its units.
pub(super) struct Spec {
    pub(super) run: RunId,
    pub(super) task: Task,
    pub(super) database: String,
    resolver: Arc<dyn ResolveDatabase>,
    target: OnceCell<Target>,
    pub(super) pinned_now: String,
    pub(super) options: RunOptions,
    /// The task's span, where its units are to have some.
    trace: Option<Parent>,
    /// Units of lower numbers have one.
    unit_spans: u32,
    /// Attempts at others that have failed, and had one.
    failures: AtomicU32,
}

impl Spec {
    pub(super) fn read(message: &TaskSpec, resolver: Arc<dyn ResolveDatabase>) -> Result<Self> {
        let run = message
            .run
            .parse()
            .map_err(|_| Error::Format("a task's run is not a UUID".to_owned()))?;
        let task = serde_json::from_slice(&message.spec)
            .map_err(|error| Error::Format(format!("a task cannot be read: {error}")))?;
        let options = match message.options.as_slice() {
            [] => RunOptions::default(),
            json => serde_json::from_slice(json).map_err(|error| {
                Error::Format(format!("the options of a run cannot be read: {error}"))
            })?,
        };
        Ok(Self {
            run,
            task,
            options,
            database: message.database.clone(),
            resolver,
            target: OnceCell::new(),
            pinned_now: message.pinned_now.clone(),
            trace: Some(Parent::parse(&message.traceparent))
                .filter(|trace| *trace != Parent::default()),
            unit_spans: message.unit_spans,
            failures: AtomicU32::new(0),
        })
    }

    /// Traces an attempt at a unit, which took so long; not every one, of a task with many.
    pub(super) fn trace(
        &self,
        unit: &Unit,
        outcome: &Result<UnitReport, UnitError>,
        elapsed: Duration,
    ) {
        let Some(task) = &self.trace else {
            return;
        };
        let is_traced = unit.unit < self.unit_spans
            || (outcome.is_err()
                && self.failures.fetch_add(1, Ordering::Relaxed) < self.unit_spans);
        if !is_traced {
            return;
        }
        let mut span = Span::begun(Stage::Unit, task, elapsed);
        span.text(Key::Run, &unit.run);
        span.text(Key::Database, &self.database);
        span.text(Key::Operator, self.task.operator.name());
        span.number(Key::Task, u64::from(unit.task));
        span.number(Key::Unit, u64::from(unit.unit));
        span.number(Key::Attempt, u64::from(unit.attempt));
        if let Some(direction) = direction(unit) {
            span.text(Key::Direction, direction.name());
        }
        match outcome {
            Ok(report) => {
                span.number(Key::Rows, report.rows);
                let already = report.already_done;
                span.end(if already { "already_done" } else { "done" }, false);
            }
            Err(error) => {
                if let Some(sqlstate) = &error.sqlstate {
                    span.text(Key::Sqlstate, sqlstate);
                }
                span.end(error.class.name(), true);
            }
        }
    }

    /// How to reach the database. Asked for beside the session: a program may have to say the password.
    ///
    /// # Errors
    /// When this machine's configuration does not know the database.
    pub(super) async fn target(&self) -> Result<&Target> {
        let resolve = async {
            let (resolver, database) = (Arc::clone(&self.resolver), self.database.clone());
            let resolved = tokio::task::spawn_blocking(move || resolver.resolve(&database)).await;
            resolved.map_err(|error| Error::Config(error.to_string()))?
        };
        self.target.get_or_try_init(|| resolve).await
    }
}

/// Which unit a result is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct UnitRef {
    pub(super) run: String,
    pub(super) task: u32,
    pub(super) unit: u32,
    direction: i32,
}

impl UnitRef {
    pub(super) fn of(unit: &Unit) -> Self {
        Self {
            run: unit.run.clone(),
            task: unit.task,
            unit: unit.unit,
            direction: unit.direction,
        }
    }

    /// For a cancel, which does not say the direction: only one is under way.
    pub(super) fn new(run: String, task: u32, unit: u32) -> Self {
        Self {
            run,
            task,
            unit,
            direction: WireDirection::Unspecified as i32,
        }
    }

    /// What [`super::Running`] finds it by.
    pub(super) fn key(&self) -> (String, u32, u32) {
        (self.run.clone(), self.task, self.unit)
    }

    pub(super) fn result(self, outcome: Result<UnitReport, UnitError>, elapsed: Duration) -> Up {
        let micros = |elapsed: Duration| u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let Self {
            run,
            task,
            unit,
            direction,
        } = self;
        match outcome {
            Ok(report) => Up::UnitDone(UnitDone {
                run,
                task,
                unit,
                direction,
                rows: report.rows,
                micros: micros(report.elapsed),
                already_done: report.already_done,
            }),
            Err(error) => Up::UnitFailed(UnitFailed {
                run,
                task,
                unit,
                direction,
                class: wire_class(error.class) as i32,
                message: error.message,
                sqlstate: error.sqlstate.unwrap_or_default(),
                micros: micros(elapsed),
            }),
        }
    }
}

fn wire_class(class: FailureClass) -> WireClass {
    match class {
        FailureClass::Now => WireClass::Now,
        FailureClass::Later => WireClass::Later,
        FailureClass::TimedOut => WireClass::TimedOut,
        FailureClass::Operator => WireClass::Operator,
        FailureClass::Never => WireClass::Never,
        FailureClass::Fenced => WireClass::Fenced,
    }
}

pub(super) fn direction(unit: &Unit) -> Option<Direction> {
    match unit.direction() {
        WireDirection::Unspecified => None,
        WireDirection::Do => Some(Direction::Do),
        WireDirection::Undo => Some(Direction::Undo),
        WireDirection::Commit => Some(Direction::Commit),
    }
}

pub(super) fn bounds(unit: &Unit) -> Bounds {
    let side = |bound: &Option<Bound>| bound.as_ref().map(|bound| bound.values.clone());
    Bounds {
        lower: side(&unit.lower),
        upper: side(&unit.upper),
    }
}
