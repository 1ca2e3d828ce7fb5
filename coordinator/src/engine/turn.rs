//! Whose turn it is: runs that may have a unit to offer stand in queues, one for each kind of run (those
//! that want the same labels), and the one that was served longest ago goes first. Where a server has as
//! many units as it may, its runs wait aside until one of them has ended, and keep their place: while a
//! run waits that has a unit to offer, no other of its kind and server is served twice.
//!
//! What one unit costs here grows with the number of kinds that there are now, never with that of runs;
//! [`Turns::looks`] counts it.

use std::collections::BTreeMap;

use super::{ServerId, kinds, runs::RunIndex};

/// Names and values that say where a worker is, or a database: `region=eu`.
pub type Labels = BTreeMap<String, String>;

/// Whether a worker is in the wrong place: it says other than what is wanted. What it does not say does
/// not keep it away.
pub(super) fn contradicts(worker: &Labels, wanted: &Labels) -> bool {
    wanted
        .iter()
        .any(|(name, value)| worker.get(name).is_some_and(|of_worker| of_worker != value))
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It has nothing to offer, as far as is known.
    Out,
    /// In the queue of its kind, under this number.
    Queued(u64),
    /// Its server is full; it waits under this number.
    Parked(u64),
}

#[derive(Debug)]
struct Place {
    kind: usize,
    server: Option<ServerId>,
    standing: Standing,
}

/// Runs by the number under which they wait; no two have the same.
type Queue = BTreeMap<u64, RunIndex>;

/// Runs that want the same labels.
#[derive(Debug)]
struct Kind {
    wanted: Labels,
    queue: Queue,
    /// Runs that there are of it.
    runs: u32,
    /// Workers that are not in the wrong place for it.
    workers: u32,
}

/// A server, which may have a limit.
#[derive(Debug, Default)]
struct Server {
    max_units: Option<u32>,
    in_flight: u32,
    /// By their kinds: a worker that can do nothing for one may be right for another.
    parked: BTreeMap<usize, Queue>,
}

impl Server {
    fn is_full(&self) -> bool {
        self.max_units.is_some_and(|max| self.in_flight >= max)
    }

    fn park(&mut self, kind: usize, number: u64, run: RunIndex) {
        self.parked.entry(kind).or_default().insert(number, run);
    }

    /// The run of a kind that has waited longest, if one of it waits.
    fn unpark(&mut self, kind: usize) -> Option<(u64, RunIndex)> {
        let queue = self.parked.get_mut(&kind)?;
        let first = queue.pop_first();
        if queue.is_empty() {
            self.parked.remove(&kind);
        }
        first
    }

    fn forget(&mut self, kind: usize, number: u64) {
        if let Some(queue) = self.parked.get_mut(&kind) {
            queue.remove(&number);
            if queue.is_empty() {
                self.parked.remove(&kind);
            }
        }
    }
}

/// The queues.
#[derive(Debug, Default)]
pub(super) struct Turns {
    kinds: Vec<Kind>,
    /// By the numbers of the runs; those that have ended stand nowhere.
    places: Vec<Place>,
    servers: BTreeMap<ServerId, Server>,
    next: u64,
    looks: u64,
}

impl Turns {
    /// A run is there, and in no queue yet. `workers` tells how many workers are not in the wrong place
    /// for what it wants.
    pub(super) fn add(
        &mut self,
        run: RunIndex,
        (wanted, server): (Labels, Option<ServerId>),
        workers: impl FnOnce(&Labels) -> u32,
    ) {
        let kind = self.kind(wanted, workers);
        self.kinds[kind].runs += 1;
        let place = Place {
            kind,
            server,
            standing: Standing::Out,
        };
        match self.places.get_mut(run.place()) {
            Some(unused) => *unused = place,
            None => self.places.push(place),
        }
    }

    /// The kind that wants this; one that no run is of any more is used anew.
    fn kind(&mut self, wanted: Labels, workers: impl FnOnce(&Labels) -> u32) -> usize {
        let known = self.kinds.iter().position(|kind| kind.wanted == wanted);
        if let Some(known) = known {
            return known;
        }
        let kind = Kind {
            workers: workers(&wanted),
            wanted,
            queue: Queue::new(),
            runs: 0,
        };
        kinds::put(&mut self.kinds, kind, |kind| kind.runs == 0)
    }

    /// A run has ended.
    pub(super) fn remove(&mut self, run: RunIndex) {
        let Some(place) = self.places.get_mut(run.place()) else {
            return;
        };
        let (kind, server) = (place.kind, place.server);
        let standing = std::mem::replace(&mut place.standing, Standing::Out);
        self.kinds[kind].runs -= 1;
        match (standing, server) {
            (Standing::Queued(number), _) => {
                self.kinds[kind].queue.remove(&number);
                // It may have been given the turn of another one.
                if let Some(server) = server {
                    self.wake(server, kind);
                }
            }
            (Standing::Parked(number), Some(server)) => {
                if let Some(server) = self.servers.get_mut(&server) {
                    server.forget(kind, number);
                }
            }
            (Standing::Parked(_), None) | (Standing::Out, _) => {}
        }
    }

    /// Something has happened to a run: it may have a unit to offer.
    pub(super) fn enter(&mut self, run: RunIndex) {
        let place = self.places.get(run.place());
        if place.is_some_and(|place| place.standing == Standing::Out) {
            self.queue_last(run);
        }
    }

    fn queue_last(&mut self, run: RunIndex) {
        let number = self.next;
        self.next += 1;
        self.queue(run, number);
    }

    fn queue(&mut self, run: RunIndex, number: u64) {
        let Some(place) = self.places.get_mut(run.place()) else {
            return;
        };
        place.standing = Standing::Queued(number);
        self.kinds[place.kind].queue.insert(number, run);
        self.looks += 1;
    }

    /// The run whose turn it is, of those for which a worker with these labels is in the right place, or
    /// for which none is. It is in no queue then: [`Self::enter`], [`Self::served`] or
    /// [`Self::has_nothing`] has to follow.
    pub(super) fn next(&mut self, worker: &Labels) -> Option<RunIndex> {
        loop {
            self.looks += self.kinds.len() as u64;
            let waits = self.kinds.iter_mut().filter_map(|kind| {
                let number = *kind.queue.first_key_value()?.0;
                let fits = kind.workers == 0 || !contradicts(worker, &kind.wanted);
                fits.then_some((number, kind))
            });
            let (_, kind) = waits.min_by_key(|(number, _)| *number)?;
            let (number, run) = kind.queue.pop_first()?;
            let place = self.places.get_mut(run.place())?;
            place.standing = Standing::Out;
            let full = place.server.and_then(|server| {
                let server = self.servers.get_mut(&server)?;
                server.is_full().then_some(server)
            });
            match full {
                None => return Some(run),
                Some(server) => {
                    place.standing = Standing::Parked(number);
                    server.park(place.kind, number, run);
                }
            }
        }
    }

    /// The run has given a unit to a worker; it goes behind the others.
    pub(super) fn served(&mut self, run: RunIndex) {
        let server = self.places.get(run.place()).and_then(|place| place.server);
        if let Some(server) = server {
            self.servers.entry(server).or_default().in_flight += 1;
        }
        self.queue_last(run);
    }

    /// It was the run's turn, and it had nothing: another one of its server may go.
    pub(super) fn has_nothing(&mut self, run: RunIndex) {
        if let Some(place) = self.places.get(run.place())
            && let Some(server) = place.server
        {
            self.wake(server, place.kind);
        }
    }

    /// A unit of the run is no longer in a worker's hands.
    pub(super) fn unit_ended(&mut self, run: RunIndex) {
        let Some(id) = self.places.get(run.place()).and_then(|place| place.server) else {
            return;
        };
        if let Some(server) = self.servers.get_mut(&id) {
            server.in_flight = server.in_flight.saturating_sub(1);
        }
        self.wake_all_kinds(id);
    }

    /// From now on at most so many units on a server; those in flight end.
    pub(super) fn limit(&mut self, id: ServerId, max_units: u32) {
        let server = self.servers.entry(id).or_default();
        server.max_units = Some(max_units.max(1));
        let free = server
            .max_units
            .unwrap_or(0)
            .saturating_sub(server.in_flight);
        let waiting = server.parked.values().map(BTreeMap::len).max();
        for _ in 0..(free as usize).min(waiting.unwrap_or(0)) {
            self.wake_all_kinds(id);
        }
    }

    /// Gives the turn of a server to the next run of each kind that waits for it: nobody knows yet for
    /// which of them there will be a worker. Those that come too late wait on, where they stood.
    fn wake_all_kinds(&mut self, id: ServerId) {
        let Some(server) = self.servers.get(&id) else {
            return;
        };
        let kinds: Vec<usize> = server.parked.keys().copied().collect();
        for kind in kinds {
            self.wake(id, kind);
        }
    }

    /// The same for one kind.
    fn wake(&mut self, id: ServerId, kind: usize) {
        let Some(server) = self.servers.get_mut(&id).filter(|s| !s.is_full()) else {
            return;
        };
        if let Some((number, run)) = server.unpark(kind) {
            self.queue(run, number);
        }
    }

    /// How many entries of queues have been looked at so far: what handing out units has cost, whatever
    /// the machine.
    pub(super) fn looks(&self) -> u64 {
        self.looks
    }

    /// A worker with these labels has come (`true`), or takes no more units.
    pub(super) fn worker(&mut self, labels: &Labels, comes: bool) {
        for kind in &mut self.kinds {
            if !contradicts(labels, &kind.wanted) {
                kind.workers = match comes {
                    true => kind.workers + 1,
                    false => kind.workers.saturating_sub(1),
                };
            }
        }
    }

    /// Runs that stand in a queue, or wait for their server.
    pub(super) fn waiting(&self) -> impl Iterator<Item = RunIndex> {
        let places = (0..).map(RunIndex::of).zip(&self.places);
        places
            .filter(|(_, place)| place.standing != Standing::Out)
            .map(|(run, _)| run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    /// Runs that all have something to offer.
    fn runs(
        turns: &mut Turns,
        count: usize,
        wanted: &Labels,
        server: Option<u32>,
    ) -> Vec<RunIndex> {
        let first = turns.places.len() as u32;
        let runs = (first..).map(RunIndex::of).take(count);
        let runs: Vec<RunIndex> = runs.collect();
        for run in &runs {
            turns.add(*run, (wanted.clone(), server.map(ServerId)), |_| 0);
            turns.enter(*run);
        }
        runs
    }

    #[test]
    fn runs_take_turns_across_kinds() {
        let mut turns = Turns::default();
        let here = runs(&mut turns, 2, &labels(&[("region", "eu")]), None);
        let anywhere = runs(&mut turns, 2, &Labels::new(), None);
        let mut served = Vec::new();
        for _ in 0..8 {
            let run = turns.next(&Labels::new()).expect("all offer");
            turns.served(run);
            served.push(run);
        }
        let all = [here, anywhere].concat();
        assert_eq!(served, [all.clone(), all].concat());
    }

    #[test]
    fn a_label_that_contradicts_keeps_away_while_others_are_there() {
        let mut turns = Turns::default();
        let run = runs(&mut turns, 1, &labels(&[("region", "eu")]), None)[0];
        let (eu, us) = (labels(&[("region", "eu")]), labels(&[("region", "us")]));
        turns.worker(&us, true);
        assert_eq!(turns.next(&us), Some(run), "there is nobody else");
        turns.enter(run);
        turns.worker(&eu, true);
        assert_eq!(turns.next(&us), None);
        assert_eq!(turns.next(&eu), Some(run));
        turns.enter(run);
        turns.worker(&eu, false);
        assert_eq!(turns.next(&us), Some(run), "the one that was near is gone");
    }

    #[test]
    fn a_full_server_lets_its_runs_wait_and_nobody_else() {
        let mut turns = Turns::default();
        turns.limit(ServerId(1), 2);
        let small = runs(&mut turns, 3, &Labels::new(), Some(1));
        let other = runs(&mut turns, 1, &Labels::new(), Some(2))[0];
        let serve = |turns: &mut Turns| {
            let run = turns.next(&Labels::new());
            run.inspect(|run| turns.served(*run))
        };
        let first: Vec<_> = (0..6).map(|_| serve(&mut turns)).collect();
        let expected = [small[0], small[1], other, other, other, other];
        assert_eq!(first, expected.map(Some));
        turns.unit_ended(small[0]);
        let next: Vec<_> = (0..2).map(|_| serve(&mut turns)).collect();
        assert_eq!(next, [Some(small[2]), Some(other)], "it waited longest");
        // The run whose turn comes has nothing, and has ended in the end: others are not forgotten.
        turns.unit_ended(small[1]);
        turns.unit_ended(small[2]);
        turns.remove(small[0]);
        let left: Vec<_> = (0..3).map(|_| serve(&mut turns)).collect();
        assert!(left.contains(&Some(small[1])), "{left:?}");
    }

    #[test]
    fn who_waits_for_a_full_server_keeps_its_place() {
        let mut turns = Turns::default();
        turns.limit(ServerId(1), 1);
        let old = runs(&mut turns, 2, &Labels::new(), Some(1));
        let first = turns.next(&Labels::new()).expect("one may");
        turns.served(first);
        assert_eq!(turns.next(&Labels::new()), None, "it is full");
        // Others come, and one of them asks before the one that waits is woken.
        let new = runs(&mut turns, 2, &Labels::new(), Some(1));
        for expected in [old[1], old[0], new[0], new[1], old[1]] {
            turns.unit_ended(first);
            let next = turns.next(&Labels::new());
            assert_eq!(next, Some(expected));
            next.inspect(|run| turns.served(*run));
        }
    }

    #[test]
    fn another_kind_may_have_what_a_full_server_has_free_again() {
        let (eu, us) = (labels(&[("region", "eu")]), labels(&[("region", "us")]));
        let mut turns = Turns::default();
        turns.limit(ServerId(1), 1);
        turns.worker(&eu, true);
        turns.worker(&us, true);
        let anywhere = runs(&mut turns, 1, &Labels::new(), Some(1))[0];
        let near = runs(&mut turns, 1, &eu, Some(1))[0];
        let first = turns.next(&us).expect("one may");
        turns.served(first);
        assert_eq!((first, turns.next(&eu)), (anywhere, None), "it is full");
        // The one that has waited longest wants a worker that is not free.
        turns.worker(&eu, true);
        turns.unit_ended(first);
        assert_eq!(turns.next(&us), Some(anywhere));
        turns.served(anywhere);
        turns.unit_ended(anywhere);
        assert_eq!(turns.next(&eu), Some(near));
    }

    #[test]
    fn kinds_that_no_run_is_of_are_used_anew() {
        let mut turns = Turns::default();
        for server in 0..100 {
            let wanted = labels(&[("server", &server.to_string())]);
            let run = runs(&mut turns, 1, &wanted, None)[0];
            assert_eq!(turns.next(&wanted), Some(run));
            turns.remove(run);
        }
        assert_eq!(turns.kinds.len(), 1);
    }

    #[test]
    fn a_higher_limit_wakes_those_that_wait() {
        let mut turns = Turns::default();
        turns.limit(ServerId(1), 1);
        let runs = runs(&mut turns, 3, &Labels::new(), Some(1));
        let first = turns.next(&Labels::new()).expect("one may");
        turns.served(first);
        assert_eq!(turns.next(&Labels::new()), None, "it is full");
        turns.limit(ServerId(1), 3);
        let next: Vec<RunIndex> = (0..2)
            .filter_map(|_| {
                let run = turns.next(&Labels::new())?;
                turns.served(run);
                Some(run)
            })
            .collect();
        assert_eq!(next, runs[1..]);
    }
}
