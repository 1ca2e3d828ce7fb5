//! Liveness: no credit is lost. A worker with credit and a run with units to offer never both wait, in the engine
//! at any instant, nor in the whole for long; and none is given to a worker that takes no more.

use std::collections::BTreeMap;

use upshift_shared::ids::WorkerId;

use super::Verdict;
use crate::simulation::{queue::Millis, standing::Standing};

/// So long a worker may be idle beside work, once nothing goes wrong any more.
const BOUND: Millis = 30_000;

/// The engine has handled an event.
pub(in crate::simulation) fn handled(standing: &Standing) -> Verdict {
    let mut free = standing
        .workers
        .iter()
        .filter(|(_, worker)| worker.credits > 0);
    match free.find(|(worker, _)| standing.has_work_for(**worker)) {
        None => Ok(()),
        Some((worker, standing)) => Err(format!(
            "credit: {worker} has {} credits, and a run has units to offer",
            standing.credits
        )),
    }
}

/// The engine has leased a unit to a worker.
pub(in crate::simulation) fn leased(worker: WorkerId, draining: bool) -> Verdict {
    if draining {
        Err(format!("credit: {worker} is draining, and got a unit"))
    } else {
        Ok(())
    }
}

/// Since when each worker has been idle beside work.
#[derive(Debug, Default)]
pub(in crate::simulation) struct Idle {
    since: BTreeMap<usize, Millis>,
}

impl Idle {
    /// A worker was looked at.
    pub(in crate::simulation) fn seen(
        &mut self,
        worker: usize,
        idle_beside_work: bool,
        now: Millis,
    ) -> Verdict {
        if !idle_beside_work {
            self.since.remove(&worker);
            return Ok(());
        }
        let since = *self.since.entry(worker).or_insert(now);
        if now - since > BOUND {
            Err(format!(
                "credit: worker {worker} has free slots and no unit for {} s, and a run has units to offer",
                (now - since) / 1000
            ))
        } else {
            Ok(())
        }
    }
}
