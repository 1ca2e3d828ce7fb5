//! Safety: no run fails without a cause. What cannot be tried again is scripted, or is a unit whose workers were
//! lost again and again; whatever else goes wrong in a world passes.

use upshift_coordinator::engine::{FailureClass, Outcome, StopReason};

use super::Verdict;
use crate::simulation::adapter;

/// The engine has ended a run.
pub(in crate::simulation) fn ended(outcome: &Outcome) -> Verdict {
    let failure = match outcome {
        Outcome::Stopped(StopReason::Driver(failure)) | Outcome::Failed { failure, .. } => failure,
        Outcome::Finished | Outcome::Stopped(StopReason::Operator) => return Ok(()),
    };
    let lasting = matches!(failure.class, FailureClass::Never | FailureClass::Operator);
    if lasting && adapter::is_by_chance(failure) {
        Err(format!(
            "causes: a run failed for good ({:?}) of what passes",
            failure.class
        ))
    } else {
        Ok(())
    }
}
