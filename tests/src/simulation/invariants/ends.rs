//! Liveness: every run that was accepted ends, once nothing goes wrong any more: prepared, rolled back, or failed
//! for what trying again does not mend.

use upshift_shared::ids::RunId;

use super::Verdict;
use crate::simulation::queue::Millis;

/// So long a world may take after the last fault.
pub(in crate::simulation) const BOUND: Millis = 600_000;

/// Which runs were accepted.
#[derive(Debug, Default)]
pub(in crate::simulation) struct Ends {
    pub(in crate::simulation) accepted: Vec<RunId>,
}

impl Ends {
    pub(in crate::simulation) fn accepted(&mut self, run: RunId) {
        if !self.accepted.contains(&run) {
            self.accepted.push(run);
        }
    }

    /// The bound is reached, and something is left to do.
    pub(in crate::simulation) fn over(&self, ended: impl Fn(RunId) -> bool) -> Verdict {
        let left = self.accepted.iter().filter(|run| !ended(**run)).count();
        Err(format!(
            "ends: {} s after the last fault {left} of {} accepted runs have not ended, or a client still waits",
            BOUND / 1000,
            self.accepted.len()
        ))
    }
}
