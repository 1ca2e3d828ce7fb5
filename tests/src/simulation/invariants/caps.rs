//! Safety: units in flight never exceed the caps of task, run, server and all as the engine was told, nor what a
//! worker has slots for.

use upshift_shared::ids::{RunId, TaskId};

use super::Verdict;
use crate::simulation::standing::Standing;

/// The engine has leased a unit.
pub(in crate::simulation) fn leased(standing: &Standing, run: RunId, task: TaskId) -> Verdict {
    let Some(run) = standing.runs.get(&run) else {
        return Err("caps: a unit of a run that has ended was leased".to_owned());
    };
    let of_server = run
        .server
        .and_then(|server| standing.server_limits.get(&server));
    let limits = [(run.server, of_server.copied()), (None, standing.max_units)];
    for (server, limit) in limits {
        let in_flight = standing.in_flight(server);
        if limit.is_some_and(|limit| in_flight > limit as usize) {
            return Err(format!(
                "caps: {in_flight} units are in flight on {server:?} (None: in all), with {limit:?}"
            ));
        }
    }
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
