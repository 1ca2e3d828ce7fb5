//! The workers, their credits, and what each holds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use upshift_shared::ids::WorkerId;

use super::{
    kinds,
    runs::RunIndex,
    turn::{Labels, contradicts},
};

/// A worker has no more credit than that, however much it grants: the credits of all are summed up, and the
/// sum has to hold. Workers have up to 1,024 slots.
const MOST_CREDITS: u32 = 4_096;

/// A unit in a worker's hands: run, place of the task in the run, unit.
pub(super) type Held = (RunIndex, u32, u32);

/// A worker's session. Volatile: it lives as long as the session's stream.
///
/// ```text
///  WorkerJoined ──► Serving ──WorkerDraining──► Draining ──► (gone)
///                      └──────────WorkerLost─────────────────►
/// ```
#[derive(Debug)]
struct Worker {
    /// Its kind.
    kind: usize,
    credits: u32,
    draining: bool,
    /// Whether it stands in the queue of workers with credit.
    queued: bool,
    held: BTreeSet<Held>,
}

/// Workers with the same labels.
#[derive(Debug)]
struct Kind {
    labels: Labels,
    /// Those that take units.
    serving: u32,
    /// Those that may have credit.
    queue: VecDeque<WorkerId>,
}

/// All workers. Units go to those with credit in turn, one each, so that all have work.
#[derive(Debug, Default)]
pub(super) struct Workers {
    workers: BTreeMap<WorkerId, Worker>,
    kinds: Vec<Kind>,
    /// The kind that is asked first.
    turn: usize,
    /// Credits of all.
    credits: u32,
    /// Leases of all.
    leases: u32,
}

impl Workers {
    /// `false` when the number is taken.
    pub(super) fn join(&mut self, id: WorkerId, labels: &Labels) -> bool {
        if self.workers.contains_key(&id) {
            return false;
        }
        let kind = self.kind(labels);
        self.kinds[kind].serving += 1;
        let worker = Worker {
            kind,
            credits: 0,
            draining: false,
            queued: false,
            held: BTreeSet::new(),
        };
        self.workers.insert(id, worker);
        true
    }

    /// The kind with these labels; one that nobody is of any more is used anew.
    fn kind(&mut self, labels: &Labels) -> usize {
        let known = self.kinds.iter().position(|kind| kind.labels == *labels);
        if let Some(known) = known {
            return known;
        }
        let kind = Kind {
            labels: labels.clone(),
            serving: 0,
            queue: VecDeque::new(),
        };
        kinds::put(&mut self.kinds, kind, |kind| kind.serving == 0)
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
        let units = units.min(MOST_CREDITS.saturating_sub(worker.credits));
        worker.credits += units;
        self.credits += units;
        if !worker.queued {
            worker.queued = true;
            self.kinds[worker.kind].queue.push_back(id);
        }
        true
    }

    /// The labels of a worker that takes no more units from now on; `None` when there is no such worker,
    /// or it is draining already.
    pub(super) fn drain(&mut self, id: WorkerId) -> Option<Labels> {
        let worker = self.workers.get_mut(&id).filter(|w| !w.draining)?;
        worker.draining = true;
        self.credits -= std::mem::take(&mut worker.credits);
        let kind = &mut self.kinds[worker.kind];
        kind.serving -= 1;
        Some(kind.labels.clone())
    }

    /// Takes a worker out and gives what it held, in order, and its labels, if it was not draining. `None`
    /// when there is no such worker.
    pub(super) fn lose(&mut self, id: WorkerId) -> Option<(BTreeSet<Held>, Option<Labels>)> {
        let labels = self.drain(id);
        let worker = self.workers.remove(&id)?;
        self.leases -= worker.held.len() as u32;
        Some((worker.held, labels))
    }

    /// How many workers that take units are not in the wrong place for what is wanted.
    pub(super) fn near(&self, wanted: &Labels) -> u32 {
        let near = self.kinds.iter();
        near.filter(|kind| !contradicts(&kind.labels, wanted))
            .map(|kind| kind.serving)
            .sum()
    }

    /// The kinds of workers, each of which is to be asked once; another one is the first the next time.
    pub(super) fn kinds(&mut self) -> impl Iterator<Item = usize> + use<> {
        let (count, first) = (self.kinds.len(), self.turn);
        self.turn = (first + 1).checked_rem(count).unwrap_or(0);
        (0..count).map(move |n| (first + n) % count)
    }

    /// What workers of a kind say of where they are.
    pub(super) fn labels(&self, kind: usize) -> &Labels {
        &self.kinds[kind].labels
    }

    /// The next worker of a kind, in turn, that has credit.
    pub(super) fn next_free(&mut self, kind: usize) -> Option<WorkerId> {
        let queue = &mut self.kinds[kind].queue;
        while let Some(id) = queue.front().copied() {
            match self.workers.get_mut(&id) {
                Some(worker) if worker.credits > 0 && worker.kind == kind => return Some(id),
                Some(worker) if worker.kind == kind => worker.queued = false,
                Some(_) | None => {}
            }
            queue.pop_front();
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
        let queue = &mut self.kinds[worker.kind].queue;
        if queue.front() == Some(&id) {
            queue.rotate_left(1);
        }
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

    /// Units in the hands of workers.
    pub(super) fn leases(&self) -> u32 {
        self.leases
    }

    /// Units that all workers together run at once, as far as is known.
    pub(super) fn capacity(&self) -> u32 {
        self.credits.saturating_add(self.leases)
    }
}
