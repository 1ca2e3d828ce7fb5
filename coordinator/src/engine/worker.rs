//! The workers, their credits, and what each holds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use upshift_shared::ids::{RunId, WorkerId};

/// A unit in a worker's hands: run, place of the task in the run, unit.
pub(super) type Held = (RunId, u32, u32);

/// A worker's session. Volatile: it lives as long as the session's stream.
///
/// ```text
///  WorkerJoined ──► Serving ──WorkerDraining──► Draining ──► (gone)
///                      └──────────WorkerLost─────────────────►
/// ```
#[derive(Debug)]
struct Worker {
    credits: u32,
    draining: bool,
    /// Whether it stands in the queue of workers with credit.
    queued: bool,
    held: BTreeSet<Held>,
}

/// All workers. Units go to those with credit in turn, one each, so that all have work.
#[derive(Debug, Default)]
pub(super) struct Workers {
    workers: BTreeMap<WorkerId, Worker>,
    /// Workers that may have credit.
    queue: VecDeque<WorkerId>,
    /// Credits of all.
    credits: u32,
    /// Leases of all.
    leases: u32,
}

impl Workers {
    /// `false` when the number is taken.
    pub(super) fn join(&mut self, id: WorkerId) -> bool {
        if self.workers.contains_key(&id) {
            return false;
        }
        let worker = Worker {
            credits: 0,
            draining: false,
            queued: false,
            held: BTreeSet::new(),
        };
        self.workers.insert(id, worker);
        true
    }

    /// How a worker stands, for messages.
    pub(super) fn describe(&self, id: WorkerId) -> String {
        match self.workers.get(&id) {
            None => format!("{id} has no session"),
            Some(worker) if worker.draining => format!("{id} is draining"),
            Some(worker) => format!("{id} has {} credits", worker.credits),
        }
    }

    /// `false` when there is no such worker. Credit of one that is draining was on its way when it
    /// changed its mind: it does not count.
    pub(super) fn grant(&mut self, id: WorkerId, units: u32) -> bool {
        let Some(worker) = self.workers.get_mut(&id) else {
            return false;
        };
        if worker.draining {
            return true;
        }
        worker.credits = worker.credits.saturating_add(units);
        self.credits = self.credits.saturating_add(units);
        if !worker.queued {
            worker.queued = true;
            self.queue.push_back(id);
        }
        true
    }

    /// `false` when there is no such worker, or it is draining already.
    pub(super) fn drain(&mut self, id: WorkerId) -> bool {
        let Some(worker) = self.workers.get_mut(&id).filter(|w| !w.draining) else {
            return false;
        };
        worker.draining = true;
        self.credits -= std::mem::take(&mut worker.credits);
        true
    }

    /// Takes a worker out and gives what it held, in order. `None` when there is no such worker.
    pub(super) fn lose(&mut self, id: WorkerId) -> Option<BTreeSet<Held>> {
        let worker = self.workers.remove(&id)?;
        self.credits -= worker.credits;
        self.leases -= worker.held.len() as u32;
        Some(worker.held)
    }

    /// The next worker in turn that has credit.
    pub(super) fn next_free(&mut self) -> Option<WorkerId> {
        while let Some(id) = self.queue.front().copied() {
            match self.workers.get_mut(&id) {
                Some(worker) if worker.credits > 0 => return Some(id),
                Some(worker) => worker.queued = false,
                None => {}
            }
            self.queue.pop_front();
        }
        None
    }

    /// Gives a unit to the worker that [`Self::next_free`] named; its turn is over.
    pub(super) fn lease(&mut self, id: WorkerId, unit: Held) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        worker.held.insert(unit);
        worker.credits -= 1;
        self.credits -= 1;
        self.leases += 1;
        self.queue.rotate_left(1);
    }

    /// The worker reported on a unit. `false` when it did not hold it: a late report.
    pub(super) fn release(&mut self, id: WorkerId, unit: Held) -> bool {
        let held = self
            .workers
            .get_mut(&id)
            .is_some_and(|w| w.held.remove(&unit));
        if held {
            self.leases -= 1;
        }
        held
    }

    /// Whether the worker holds the unit.
    pub(super) fn holds(&self, id: WorkerId, unit: Held) -> bool {
        self.workers
            .get(&id)
            .is_some_and(|w| w.held.contains(&unit))
    }

    /// Units that all workers together run at once, as far as is known.
    pub(super) fn capacity(&self) -> u32 {
        self.credits.saturating_add(self.leases)
    }
}
