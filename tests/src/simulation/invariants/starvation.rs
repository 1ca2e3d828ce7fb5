//! Liveness: no run starves. One that has a unit for a worker is not passed over more often than there are runs.

use upshift_shared::ids::{RunId, WorkerId};

use super::Verdict;
use crate::simulation::standing::Standing;

/// The engine has leased a unit of `granted` to a worker.
pub(in crate::simulation) fn leased(
    standing: &mut Standing,
    granted: RunId,
    worker: WorkerId,
) -> Verdict {
    let bound = standing.runs.len() as u32;
    let offering = standing.offering_to(worker);
    for (id, run) in &mut standing.runs {
        if *id == granted || !run.is_ready() {
            run.passed_over = 0;
        } else if offering.contains(id) {
            run.passed_over += 1;
        }
        if run.passed_over > bound {
            return Err(format!(
                "starvation: a run with units to offer was passed over {} times, with {bound} runs",
                run.passed_over
            ));
        }
    }
    Ok(())
}
