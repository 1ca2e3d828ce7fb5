//! Which task goes next: the ready queue by critical path, the tasks that have units to offer, and
//! the locks that let one task at a time write a table.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap},
};

use upshift_shared::ids::TaskId;

use super::GraphTask;

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

/// The queues of one run. Volatile: rebuilt from the graph when a run is submitted.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Tasks whose dependencies are all recorded.
    ready: BinaryHeap<Place>,
    /// Open tasks that have a unit to offer and are below their cap.
    offering: BTreeSet<Place>,
    /// The last of these, which goes next.
    next: Option<Place>,
    /// Which task writes a relation.
    writers: BTreeMap<u32, u32>,
    /// Ready tasks that wait for a relation. Whenever its writer is done, one of them is put back
    /// into the ready queue, and when that one cannot go either, the next.
    parked: BTreeMap<u32, BinaryHeap<Place>>,
    /// Tasks on their way to having units: being prepared, or being cut.
    coming: u32,
}

impl Schedule {
    pub(super) fn ready(&mut self, place: Place) {
        self.ready.push(place);
    }

    /// The next task that may begin, and takes its write locks. `writes` says which relations a task
    /// writes.
    pub(super) fn admit<'a>(&mut self, writes: impl Fn(u32) -> &'a [u32]) -> Option<u32> {
        while let Some(place) = self.ready.pop() {
            let relations = writes(place.task());
            let taken = relations.iter().find(|r| self.writers.contains_key(r));
            let Some(taken) = taken else {
                for relation in relations {
                    self.writers.insert(*relation, place.task());
                }
                return Some(place.task());
            };
            self.parked.entry(*taken).or_default().push(place);
            // This one may have been woken for a relation that stays free: wake another.
            for relation in relations {
                if !self.writers.contains_key(relation) {
                    self.wake(*relation);
                }
            }
        }
        None
    }

    /// The task is recorded: its relations are free.
    pub(super) fn release(&mut self, task: u32, relations: &[u32]) {
        for relation in relations {
            if self.writers.get(relation) == Some(&task) {
                self.writers.remove(relation);
                self.wake(*relation);
            }
        }
    }

    fn wake(&mut self, relation: u32) {
        let Some(waiting) = self.parked.get_mut(&relation) else {
            return;
        };
        if let Some(place) = waiting.pop() {
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

/// For each task the longest path of work from its start to the end of the run, in microseconds.
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
        let after = dependents.of(task).iter().map(|d| paths[*d as usize]).max();
        let own = micros(tasks[task as usize].seconds);
        paths[task as usize] = own.saturating_add(after.unwrap_or(0));
    }
    Ok(paths)
}

/// Never zero, so that of two tasks without an estimate the one with more behind it goes first.
fn micros(seconds: f64) -> u64 {
    // `as` saturates, and makes 0 of NaN.
    ((seconds * 1e6) as u64).clamp(1, u64::MAX / 4)
}
