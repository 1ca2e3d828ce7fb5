//! Whose turn it is: runs that may have a unit to offer stand in queues, one for each kind of run (those
//! that want the same labels), and the one that was served longest ago goes first. Where a server has as
//! many units as it may, its runs wait aside, in their order, until one of them has ended; then one of each
//! kind gets the turn that it had, because workers may be in the wrong place for the others.
//!
//! What one unit costs here grows with the number of kinds, never with that of runs.

use std::collections::{BTreeMap, HashMap, VecDeque};

use upshift_shared::ids::RunId;

use super::ServerId;

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

/// Runs that want the same labels.
#[derive(Debug)]
struct Kind {
    wanted: Labels,
    queue: VecDeque<(u64, RunId)>,
    /// Workers that are not in the wrong place for it.
    workers: u32,
}

/// A server, which may have a limit.
#[derive(Debug, Default)]
struct Server {
    max_units: Option<u32>,
    in_flight: u32,
    /// By their kinds.
    parked: BTreeMap<usize, VecDeque<(u64, RunId)>>,
}

impl Server {
    fn is_full(&self) -> bool {
        self.max_units.is_some_and(|max| self.in_flight >= max)
    }
}

/// The queues.
#[derive(Debug, Default)]
pub(super) struct Turns {
    kinds: Vec<Kind>,
    places: HashMap<RunId, Place>,
    servers: BTreeMap<ServerId, Server>,
    next: u64,
}

impl Turns {
    /// A run is there, and in no queue yet. `workers` tells how many workers are not in the wrong place
    /// for what it wants.
    pub(super) fn add(
        &mut self,
        run: RunId,
        (wanted, server): (Labels, Option<ServerId>),
        workers: impl FnOnce(&Labels) -> u32,
    ) {
        let known = self.kinds.iter().position(|kind| kind.wanted == wanted);
        let kind = known.unwrap_or_else(|| {
            let workers = workers(&wanted);
            self.kinds.push(Kind {
                wanted,
                queue: VecDeque::new(),
                workers,
            });
            self.kinds.len() - 1
        });
        let standing = Standing::Out;
        self.places.insert(
            run,
            Place {
                kind,
                server,
                standing,
            },
        );
    }

    /// A run has ended.
    pub(super) fn remove(&mut self, run: RunId) {
        let Some(place) = self.places.remove(&run) else {
            return;
        };
        // It may have been given the turn of another one.
        if let (Standing::Queued(_), Some(server)) = (place.standing, place.server) {
            self.wake(server);
        }
    }

    /// Something has happened to a run: it may have a unit to offer.
    pub(super) fn enter(&mut self, run: RunId) {
        if self
            .places
            .get(&run)
            .is_some_and(|place| place.standing == Standing::Out)
        {
            self.queue(run);
        }
    }

    fn queue(&mut self, run: RunId) {
        let Some(place) = self.places.get_mut(&run) else {
            return;
        };
        place.standing = Standing::Queued(self.next);
        self.kinds[place.kind].queue.push_back((self.next, run));
        self.next += 1;
    }

    /// The run whose turn it is, of those for which a worker with these labels is in the right place, or
    /// for which none is. It is in no queue then: [`Self::enter`], [`Self::served`] or
    /// [`Self::has_nothing`] has to follow.
    pub(super) fn next(&mut self, worker: &Labels) -> Option<RunId> {
        loop {
            let fits = |kind: &&mut Kind| kind.workers == 0 || !contradicts(worker, &kind.wanted);
            let places = &self.places;
            let first = self.kinds.iter_mut().filter(fits).filter_map(|kind| {
                let stands = |(number, run): &(u64, RunId)| {
                    let place = places.get(run);
                    place.is_some_and(|place| place.standing == Standing::Queued(*number))
                };
                while kind.queue.front().is_some_and(|entry| !stands(entry)) {
                    kind.queue.pop_front();
                }
                let number = kind.queue.front()?.0;
                Some((number, kind))
            });
            let (_, kind) = first.min_by_key(|(number, _)| *number)?;
            let (number, run) = kind.queue.pop_front()?;
            let place = self.places.get_mut(&run)?;
            place.standing = Standing::Out;
            let full = place.server.and_then(|server| {
                let server = self.servers.get_mut(&server)?;
                server.is_full().then_some(server)
            });
            match full {
                None => return Some(run),
                Some(server) => {
                    place.standing = Standing::Parked(number);
                    let parked = server.parked.entry(place.kind).or_default();
                    insert(parked, (number, run));
                }
            }
        }
    }

    /// The run has given a unit to a worker; it goes behind the others.
    pub(super) fn served(&mut self, run: RunId) {
        let server = self.places.get(&run).and_then(|place| place.server);
        if let Some(server) = server {
            self.servers.entry(server).or_default().in_flight += 1;
        }
        self.queue(run);
    }

    /// It was the run's turn, and it had nothing: another one of its server may go.
    pub(super) fn has_nothing(&mut self, run: RunId) {
        if let Some(server) = self.places.get(&run).and_then(|place| place.server) {
            self.wake(server);
        }
    }

    /// A unit of the run is no longer in a worker's hands.
    pub(super) fn unit_ended(&mut self, run: RunId) {
        let Some(id) = self.places.get(&run).and_then(|place| place.server) else {
            return;
        };
        if let Some(server) = self.servers.get_mut(&id) {
            server.in_flight = server.in_flight.saturating_sub(1);
        }
        self.wake(id);
    }

    /// From now on at most so many units on a server; those in flight end.
    pub(super) fn limit(&mut self, id: ServerId, max_units: u32) {
        let server = self.servers.entry(id).or_default();
        server.max_units = Some(max_units.max(1));
        let free = server
            .max_units
            .unwrap_or(0)
            .saturating_sub(server.in_flight);
        let parked: usize = server.parked.values().map(VecDeque::len).sum();
        for _ in 0..free.min(parked as u32) {
            self.wake(id);
        }
    }

    /// Gives the turn of a server to the next runs that wait for it, one of each kind: those for which it
    /// is too late will wait again.
    fn wake(&mut self, id: ServerId) {
        let Some(server) = self.servers.get_mut(&id) else {
            return;
        };
        if server.is_full() {
            return;
        }
        for (kind, parked) in &mut server.parked {
            while let Some((number, run)) = parked.pop_front() {
                let place = self.places.get_mut(&run);
                let waits = place.filter(|place| place.standing == Standing::Parked(number));
                if let Some(place) = waits {
                    place.standing = Standing::Queued(number);
                    insert(&mut self.kinds[*kind].queue, (number, run));
                    break;
                }
            }
        }
        server.parked.retain(|_, parked| !parked.is_empty());
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
    pub(super) fn waiting(&self) -> impl Iterator<Item = RunId> {
        let waits = |place: &Place| place.standing != Standing::Out;
        self.places
            .iter()
            .filter(move |(_, place)| waits(place))
            .map(|(run, _)| *run)
    }
}

/// Puts a turn where it belongs: it is among the oldest, as a rule, which are in front.
fn insert(queue: &mut VecDeque<(u64, RunId)>, turn: (u64, RunId)) {
    let place = queue.partition_point(|(number, _)| *number < turn.0);
    queue.insert(place, turn);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    /// Runs that all have something to offer.
    fn runs(turns: &mut Turns, count: usize, wanted: &Labels, server: Option<u32>) -> Vec<RunId> {
        let runs: Vec<RunId> = (0..count).map(|_| RunId::generate()).collect();
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
    fn a_higher_limit_wakes_those_that_wait() {
        let mut turns = Turns::default();
        turns.limit(ServerId(1), 1);
        let runs = runs(&mut turns, 3, &Labels::new(), Some(1));
        let first = turns.next(&Labels::new()).expect("one may");
        turns.served(first);
        assert_eq!(turns.next(&Labels::new()), None, "it is full");
        turns.limit(ServerId(1), 3);
        let next: Vec<RunId> = (0..2)
            .filter_map(|_| {
                let run = turns.next(&Labels::new())?;
                turns.served(run);
                Some(run)
            })
            .collect();
        assert_eq!(next, runs[1..]);
    }
}
