//! Safety: units in flight never exceed the caps of the run and of the task as the engine was told, nor what a
//! worker has slots for.

use upshift_shared::ids::{RunId, TaskId};

use super::Verdict;
use crate::simulation::standing::Standing;

/// The engine has leased a unit.
pub(in crate::simulation) fn leased(standing: &Standing, run: RunId, task: TaskId) -> Verdict {
    let Some(run) = standing.runs.get(&run) else {
        return Err("caps: a unit of a run that has ended was leased".to_owned());
    };
    let of_task = run.tasks.get(&task).map_or(0, |task| task.in_flight.len());
    if run.in_flight() > run.max_units as usize {
        return Err(format!(
            "caps: {} units of a run are in flight, and {} may be",
            run.in_flight(),
            run.max_units
        ));
    }
    if of_task > run.max_units_per_task as usize {
        return Err(format!(
            "caps: {of_task} units of {task} are in flight, and {} may be",
            run.max_units_per_task
        ));
    }
    Ok(())
}

/// A worker has begun a unit.
pub(in crate::simulation) fn begun(running: usize, slots: u32) -> Verdict {
    if running <= slots as usize {
        Ok(())
    } else {
        Err(format!(
            "caps: a worker of {slots} slots runs {running} units"
        ))
    }
}
