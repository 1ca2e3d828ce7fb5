//! All that is made for the engine: its events, and the graph of a run. If the engine's interface changes, this
//! file follows (and `standing`, which reads what is made here).

use std::time::Duration;

use upshift_coordinator::engine::{
    Direction, Event, Failure, FailureClass, GraphTask, Labels, RunGraph, ServerId, StopReason,
};
use upshift_shared::ids::{RunId, TaskId, UnitId, WorkerId};

use super::{
    message::Unit,
    plan::{Place, Plan, PlanTask},
};

/// A run, forward or back.
pub(super) fn graph(
    direction: Direction,
    tasks: Vec<GraphTask>,
    plan: &Plan,
    (max_units, max_units_per_task): (u32, u32),
) -> RunGraph {
    let Place { server, wants } = plan.place;
    RunGraph {
        paused: false,
        direction,
        tasks,
        modules: plan.modules,
        max_units,
        max_units_per_task,
        max_attempts: plan.max_attempts,
        first_unit_rows: Some(plan.first_unit_rows),
        server: Some(ServerId(server)),
        wants: labels(wants),
    }
}

/// A task that has not begun.
pub(super) fn graph_task(task: &PlanTask, depends: Vec<TaskId>) -> GraphTask {
    GraphTask {
        id: task.id,
        depends,
        module: task.module,
        seconds: task.seconds,
        tables: task.tables.clone(),
        cuttable: task.cuttable,
        patient: None,
        prepared: false,
        cut_exhausted: false,
        units: Vec::new(),
        done: false,
    }
}

/// A failure of that class.
pub(super) fn failure(class: FailureClass, scripted: bool) -> Failure {
    Failure {
        class,
        message: if scripted { SCRIPTED } else { BY_CHANCE }.to_owned(),
        sqlstate: None,
    }
}

const SCRIPTED: &str = "as scripted";
const BY_CHANCE: &str = "by chance";

/// Whether that is a failure which trying again does not mend.
pub(super) fn is_scripted(failure: &Failure) -> bool {
    failure.message == SCRIPTED
}

/// Whether it was made here for what passes; else it is the engine's own.
pub(super) fn is_by_chance(failure: &Failure) -> bool {
    failure.message == BY_CHANCE
}

pub(super) fn run_submitted(run: RunId, graph: RunGraph) -> Event {
    Event::RunSubmitted { run, graph }
}

pub(super) fn worker_joined(worker: WorkerId, region: Option<u32>) -> Event {
    let labels = labels(region);
    Event::WorkerJoined { worker, labels }
}

/// Where a worker is, or should be.
fn labels(region: Option<u32>) -> Labels {
    let pair = |region: u32| ("region".to_owned(), region.to_string());
    region.map(pair).into_iter().collect()
}

pub(super) fn server_limited(server: u32, max_units: u32) -> Event {
    let server = ServerId(server);
    Event::ServerLimited { server, max_units }
}

pub(super) fn units_limited(max_units: Option<u32>) -> Event {
    Event::UnitsLimited { max_units }
}

pub(super) fn credit_granted(worker: WorkerId, units: u32) -> Event {
    Event::CreditGranted { worker, units }
}

pub(super) fn worker_draining(worker: WorkerId) -> Event {
    Event::WorkerDraining { worker }
}

pub(super) fn worker_lost(worker: WorkerId) -> Event {
    Event::WorkerLost { worker }
}

pub(super) fn task_prepared(run: RunId, task: TaskId) -> Event {
    Event::TaskPrepared { run, task }
}

pub(super) fn units_cut(
    (run, task): (RunId, TaskId),
    first: u32,
    count: usize,
    exhausted: bool,
) -> Event {
    Event::UnitsCut {
        run,
        task,
        first: UnitId(first),
        count: count as u32,
        exhausted,
    }
}

pub(super) fn unit_split((run, task): (RunId, TaskId), unit: UnitId, new: Option<UnitId>) -> Event {
    Event::UnitSplit {
        run,
        task,
        unit,
        new,
    }
}

pub(super) fn unit_finished(worker: WorkerId, unit: &Unit, millis: u64) -> Event {
    Event::UnitFinished {
        run: unit.run,
        worker,
        task: unit.task,
        unit: unit.unit,
        rows: unit.bounds.1.saturating_sub(unit.bounds.0),
        elapsed: Duration::from_millis(millis),
    }
}

pub(super) fn unit_failed(worker: WorkerId, unit: &Unit, failure: Failure) -> Event {
    Event::UnitFailed {
        run: unit.run,
        worker,
        task: unit.task,
        unit: unit.unit,
        failure,
    }
}

pub(super) fn task_failed(run: RunId, task: TaskId, class: FailureClass) -> Event {
    Event::TaskFailed {
        run,
        task,
        failure: failure(class, false),
    }
}

pub(super) fn task_recorded(run: RunId, task: TaskId) -> Event {
    Event::TaskRecorded { run, task }
}

pub(super) fn checkpoint_recorded(run: RunId, module: u32) -> Event {
    Event::CheckpointRecorded { run, module }
}

pub(super) fn timer_fired() -> Event {
    Event::TimerFired
}

pub(super) fn pause_requested(run: RunId) -> Event {
    Event::PauseRequested { run }
}

pub(super) fn resume_requested(run: RunId) -> Event {
    Event::ResumeRequested { run }
}

pub(super) fn limits_changed(run: RunId, (max_units, max_units_per_task): (u32, u32)) -> Event {
    Event::LimitsChanged {
        run,
        max_units,
        max_units_per_task,
    }
}

/// An operator stops the run; or the driver, for a failure of that class.
pub(super) fn stop_requested(run: RunId, class: Option<FailureClass>) -> Event {
    let reason = match class {
        None => StopReason::Operator,
        Some(class) => StopReason::Driver(failure(class, false)),
    };
    Event::StopRequested { run, reason }
}
