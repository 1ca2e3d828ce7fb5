//! Liveness: no run starves. One that has a unit to offer gets a slot before every other run has got one twice.

use upshift_shared::ids::RunId;

use super::Verdict;
use crate::simulation::standing::Standing;

/// The engine has leased a unit of `granted`.
pub(in crate::simulation) fn leased(standing: &mut Standing, granted: RunId) -> Verdict {
    let bound = standing.runs.len() as u32;
    for (id, run) in &mut standing.runs {
        if *id == granted || !run.is_ready() {
            run.passed_over = 0;
            continue;
        }
        run.passed_over += 1;
        if run.passed_over > bound {
            return Err(format!(
                "starvation: a run with units to offer was passed over {} times, with {bound} runs",
                run.passed_over
            ));
        }
    }
    Ok(())
}
