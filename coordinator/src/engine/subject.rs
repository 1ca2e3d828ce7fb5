//! What an event is about, for messages about events that do not fit.

use std::fmt;

use upshift_shared::ids::{RunId, TaskId, UnitId, WorkerId};

use super::Event;

/// What an event is about, for messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject {
    kind: &'static str,
    pub(super) run: Option<RunId>,
    worker: Option<WorkerId>,
    task: Option<TaskId>,
    unit: Option<UnitId>,
}

impl Subject {
    pub(super) fn of(event: &Event) -> Self {
        let nothing = |kind| Self {
            kind,
            run: None,
            worker: None,
            task: None,
            unit: None,
        };
        let run = |kind, run: &RunId| Self {
            run: Some(*run),
            ..nothing(kind)
        };
        let worker = |kind, worker: &WorkerId| Self {
            worker: Some(*worker),
            ..nothing(kind)
        };
        match event {
            Event::RunSubmitted { run: id, .. } => run("RunSubmitted", id),
            Event::WorkerJoined { worker: id, .. } => worker("WorkerJoined", id),
            Event::CreditGranted { worker: id, .. } => worker("CreditGranted", id),
            Event::WorkerDraining { worker: id } => worker("WorkerDraining", id),
            Event::WorkerLost { worker: id } => worker("WorkerLost", id),
            Event::TaskPrepared { run: id, task } => run("TaskPrepared", id).task(*task),
            Event::UnitsCut {
                run: id,
                task,
                first,
                ..
            } => run("UnitsCut", id).task(*task).unit(*first),
            Event::UnitSplit {
                run: id,
                task,
                unit,
                ..
            } => run("UnitSplit", id).task(*task).unit(*unit),
            Event::UnitFinished {
                run: id,
                task,
                unit,
                ..
            } => run("UnitFinished", id).task(*task).unit(*unit),
            Event::UnitFailed {
                run: id,
                task,
                unit,
                ..
            } => run("UnitFailed", id).task(*task).unit(*unit),
            Event::TaskFailed { run: id, task, .. } => run("TaskFailed", id).task(*task),
            Event::TaskRecorded { run: id, task } => run("TaskRecorded", id).task(*task),
            Event::CheckpointRecorded { run: id, .. } => run("CheckpointRecorded", id),
            Event::TimerFired => nothing("TimerFired"),
            Event::ServerLimited { .. } => nothing("ServerLimited"),
            Event::UnitsLimited { .. } => nothing("UnitsLimited"),
            Event::PauseRequested { run: id } => run("PauseRequested", id),
            Event::ResumeRequested { run: id } => run("ResumeRequested", id),
            Event::LimitsChanged { run: id, .. } => run("LimitsChanged", id),
            Event::StopRequested { run: id, .. } => run("StopRequested", id),
        }
    }

    fn task(self, task: TaskId) -> Self {
        Self {
            task: Some(task),
            ..self
        }
    }

    fn unit(self, unit: UnitId) -> Self {
        Self {
            unit: Some(unit),
            ..self
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)?;
        if let Some(run) = self.run {
            write!(f, " of run {}", run.short())?;
        }
        if let Some(worker) = self.worker {
            write!(f, " of {worker}")?;
        }
        if let Some(task) = self.task {
            write!(f, " for {task}")?;
        }
        if let Some(unit) = self.unit {
            write!(f, " {unit}")?;
        }
        Ok(())
    }
}
