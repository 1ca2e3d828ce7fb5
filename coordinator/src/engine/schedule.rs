//! Which task goes next: the ready queue by critical path, the tasks that have units to offer, and
//! the locks that let one task at a time write a table.
//!
//! A task that writes many tables, or wants one alone, would never find them free while short tasks take one
//! after the other: where it waits for a while only, it claims them, and whatever has less behind it waits.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap},
};

use upshift_shared::ids::TaskId;

use super::{Access, GraphTask};

/// A task in a queue. The greatest goes first: the longest path of work that hangs on it, then the
/// place in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Microseconds of the longest path from the start of this task to the end of the run.
    pub(super) path: u64,
    task: Reverse<u32>,
}

impl Place {
    pub(super) fn new(path: u64, task: u32) -> Self {
        Self {
            path,
            task: Reverse(task),
        }
    }

    pub(super) fn task(self) -> u32 {
        self.task.0
    }
}

/// What a task wants of its run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wants<'a> {
    /// The relations that it uses, each once.
    pub(super) uses: &'a [(u32, Access)],
    /// How long it takes one worker.
    pub(super) micros: u64,
}

/// What is waited for may take this part of what hangs on the one that waits: longer, and workers would stand
/// idle before tables that are free.
const WORTH_A_CLAIM: u64 = 4;

/// The queues of one run. Volatile: rebuilt from the graph when a run is submitted.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Tasks whose dependencies are all recorded.
    ready: BinaryHeap<Place>,
    /// Open tasks that have a unit to offer and are below their cap.
    offering: BTreeSet<Place>,
    /// The last of these, which goes next.
    next: Option<Place>,
    /// Which tasks use a relation.
    users: BTreeMap<u32, Users>,
    /// Ready tasks that wait for a relation, and how they want to use it. Whenever it may be free, the first
    /// is put back into the ready queue, and when that one cannot go either, the next.
    parked: BTreeMap<u32, BinaryHeap<(Place, Access)>>,
    /// Relations that parked tasks claim, and whether alone. Whoever claims one gets it before those with
    /// less behind them.
    claims: BTreeMap<u32, BTreeSet<(Place, bool)>>,
    /// Tasks on their way to having units: being prepared, or being cut.
    coming: u32,
}

/// Who uses a relation.
#[derive(Debug, Default)]
struct Users {
    /// The one that writes it, and whether alone.
    writer: Option<(u32, bool)>,
    readers: Vec<u32>,
}

impl Users {
    fn all(&self) -> impl Iterator<Item = u32> {
        let writer = self.writer.map(|(writer, _)| writer);
        writer.into_iter().chain(self.readers.iter().copied())
    }

    fn allow(&self, access: Access) -> bool {
        match access {
            Access::Read => self.writer.is_none_or(|(_, alone)| !alone),
            Access::Write => self.writer.is_none(),
            Access::Alone => self.writer.is_none() && self.readers.is_empty(),
        }
    }
}

impl Schedule {
    pub(super) fn ready(&mut self, place: Place) {
        self.ready.push(place);
    }

    /// The next task that may begin, and takes the relations that it uses. `wants` says what a task uses, and
    /// how long it takes.
    pub(super) fn admit<'a>(&mut self, wants: impl Fn(u32) -> Wants<'a>) -> Option<u32> {
        while let Some(place) = self.ready.pop() {
            let uses = wants(place.task()).uses;
            let obstacle = uses.iter().find(|(r, how)| self.is_barred(*r, *how, place));
            let Some((obstacle, how)) = obstacle else {
                self.claim(place, uses, false);
                self.take(place.task(), uses);
                return Some(place.task());
            };
            let parked = self.parked.entry(*obstacle).or_default();
            parked.push((place, *how));
            let users = uses.iter().filter_map(|(r, _)| self.users.get(r));
            let longest = users.flat_map(Users::all).map(|t| wants(t).micros).max();
            let soon = longest.is_some_and(|longest| longest <= place.path / WORTH_A_CLAIM);
            let starves = uses.len() > 1 || uses[0].1 == Access::Alone;
            self.claim(place, uses, soon && starves);
            // This one may have been woken for a relation that stays free: wake another.
            uses.iter().for_each(|(relation, _)| self.wake(*relation));
        }
        None
    }

    fn take(&mut self, task: u32, uses: &[(u32, Access)]) {
        for (relation, how) in uses {
            let users = self.users.entry(*relation).or_default();
            match how {
                Access::Read => users.readers.push(task),
                Access::Write => users.writer = Some((task, false)),
                Access::Alone => users.writer = Some((task, true)),
            }
            // Others may use it at the same time.
            self.wake(*relation);
        }
    }

    /// Whether a task may not use a relation so: others do, or one with more behind it is about to.
    fn is_barred(&self, relation: u32, how: Access, place: Place) -> bool {
        let taken = self.users.get(&relation).is_some_and(|u| !u.allow(how));
        let claimed = || {
            let claims = self.claims.get(&relation)?;
            let mut first = claims.iter().rev();
            first.find(|(_, alone)| how != Access::Read || *alone)
        };
        taken || claimed().is_some_and(|(first, _)| *first > place)
    }

    fn claim(&mut self, place: Place, uses: &[(u32, Access)], claims: bool) {
        for (relation, how) in uses.iter().filter(|(_, how)| *how != Access::Read) {
            let claim = (place, *how == Access::Alone);
            if claims {
                self.claims.entry(*relation).or_default().insert(claim);
            } else if let Some(of) = self.claims.get_mut(relation) {
                of.remove(&claim);
                if of.is_empty() {
                    self.claims.remove(relation);
                }
            }
        }
    }

    /// The task is recorded: what it used is free.
    pub(super) fn release(&mut self, task: u32, uses: &[(u32, Access)]) {
        for (relation, _) in uses {
            let Some(users) = self.users.get_mut(relation) else {
                continue;
            };
            users.writer = users.writer.filter(|(writer, _)| *writer != task);
            users.readers.retain(|reader| *reader != task);
            if users.writer.is_none() && users.readers.is_empty() {
                self.users.remove(relation);
            }
            self.wake(*relation);
        }
    }

    /// Puts the first of those that wait for a relation back into the ready queue, if it may have it.
    fn wake(&mut self, relation: u32) {
        let first = self.parked.get(&relation).and_then(BinaryHeap::peek);
        if first.is_none_or(|(first, how)| self.is_barred(relation, *how, *first)) {
            return;
        }
        let Some(waiting) = self.parked.get_mut(&relation) else {
            return;
        };
        if let Some((place, _)) = waiting.pop() {
            self.ready.push(place);
        }
        if waiting.is_empty() {
            self.parked.remove(&relation);
        }
    }

    /// An open task has a unit to offer from now on (`true`), or has none any more.
    pub(super) fn offer(&mut self, place: Place, offers: bool) {
        if offers {
            self.offering.insert(place);
        } else {
            self.offering.remove(&place);
        }
        self.next = self.offering.last().copied();
    }

    /// The task whose unit goes next.
    pub(super) fn next_offer(&self) -> Option<u32> {
        self.next.map(Place::task)
    }

    /// The tasks that have a unit to offer.
    pub(super) fn offering(&self) -> impl Iterator<Item = u32> {
        self.offering.iter().map(|place| place.task())
    }

    /// A task is being prepared or cut (`true`), or no longer is.
    pub(super) fn coming(&mut self, begins: bool) {
        if begins {
            self.coming += 1;
        } else {
            self.coming -= 1;
        }
    }

    /// Tasks that have units to offer or soon will. While these are fewer than the slots, more tasks
    /// are begun; tasks that wait for their next attempt do not stand in the way of others.
    pub(super) fn supply(&self) -> usize {
        self.offering.len() + self.coming as usize
    }
}

/// Who waits for whom, by place in the run: `of(t)` are the tasks that depend on `t`.
#[derive(Debug, Default)]
pub(super) struct Dependents {
    starts: Vec<u32>,
    tasks: Vec<u32>,
}

impl Dependents {
    pub(super) fn of(&self, task: u32) -> &[u32] {
        let task = task as usize;
        &self.tasks[self.starts[task] as usize..self.starts[task + 1] as usize]
    }

    /// From the graph's tasks; `index` gives each task's place. Fails with words for what is wrong.
    pub(super) fn new(tasks: &[GraphTask], index: &HashMap<TaskId, u32>) -> Result<Self, String> {
        let mut starts = vec![0_u32; tasks.len() + 1];
        for task in tasks {
            for dependency in &task.depends {
                let Some(place) = index.get(dependency) else {
                    return Err(format!(
                        "task {} depends on {dependency}, which is not in the graph",
                        task.id
                    ));
                };
                starts[*place as usize + 1] += 1;
            }
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let mut next = starts.clone();
        let mut dependents = vec![0_u32; starts.last().copied().unwrap_or(0) as usize];
        for (place, task) in (0_u32..).zip(tasks) {
            for dependency in &task.depends {
                let slot = &mut next[index[dependency] as usize];
                dependents[*slot as usize] = place;
                *slot += 1;
            }
        }
        Ok(Self {
            starts,
            tasks: dependents,
        })
    }
}

/// For each task the longest path of work from its start to the end of the run, in microseconds. Of tasks behind
/// it that write the same table, one goes after the other.
/// Fails where tasks depend on each other in a circle.
pub(super) fn critical_paths(
    tasks: &[GraphTask],
    dependents: &Dependents,
) -> Result<Vec<u64>, String> {
    let mut waits: Vec<u32> = tasks.iter().map(|t| t.depends.len() as u32).collect();
    let mut order: Vec<u32> = (0_u32..)
        .zip(&waits)
        .filter_map(|(place, waits)| (*waits == 0).then_some(place))
        .collect();
    let mut done = 0;
    while let Some(task) = order.get(done).copied() {
        done += 1;
        for dependent in dependents.of(task) {
            let waits = &mut waits[*dependent as usize];
            *waits -= 1;
            if *waits == 0 {
                order.push(*dependent);
            }
        }
    }
    if order.len() < tasks.len() {
        let stuck = tasks.iter().zip(&waits).find(|(_, waits)| **waits > 0);
        let name = stuck
            .map(|(task, _)| task.id.to_string())
            .unwrap_or_default();
        return Err(format!("task {name} depends on itself through others"));
    }
    let mut paths = vec![0_u64; tasks.len()];
    for task in order.into_iter().rev() {
        let after = longest_behind(tasks, dependents.of(task), &paths);
        let own = micros(tasks[task as usize].seconds);
        paths[task as usize] = own.saturating_add(after);
    }
    Ok(paths)
}

/// How long what directly hangs on a task takes at least, and all that hangs on that.
fn longest_behind(tasks: &[GraphTask], dependents: &[u32], paths: &[u64]) -> u64 {
    let mut longest_first: Vec<u32> = dependents.to_vec();
    longest_first.sort_unstable_by_key(|d| Reverse(paths[*d as usize]));
    let mut taken: HashMap<u32, u64> = HashMap::new();
    let mut longest = 0;
    for dependent in longest_first {
        let (task, path) = (&tasks[dependent as usize], paths[dependent as usize]);
        longest = longest.max(path);
        if dependents.len() == 1 {
            break;
        }
        for (relation, _) in task.tables.iter().filter(|(_, how)| *how != Access::Read) {
            let taken = taken.entry(*relation).or_default();
            longest = longest.max(taken.saturating_add(path));
            *taken = taken.saturating_add(micros(task.seconds));
        }
    }
    longest
}

/// Never zero, so that of two tasks without an estimate the one with more behind it goes first.
pub(super) fn micros(seconds: f64) -> u64 {
    // `as` saturates, and makes 0 of NaN.
    ((seconds * 1e6) as u64).clamp(1, u64::MAX / 4)
}
