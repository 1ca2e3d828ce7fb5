//! The runs that there are, each under a small number. Whatever is done for a unit calls its run by that:
//! the id is looked up once for an event, and then nothing has to be.

use std::collections::HashMap;

use upshift_shared::ids::RunId;

use super::run::Run;

/// The number of a run while it is there; the next one may have it when it has ended. Nothing that is in
/// flight or waits may be left of it then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RunIndex(u32);

impl RunIndex {
    /// As a place in an array.
    pub(super) fn place(self) -> usize {
        self.0 as usize
    }

    /// The run at a place.
    pub(super) fn of(number: u32) -> Self {
        Self(number)
    }
}

/// The runs. Side by side, so that the way to one is short: with ten thousand of them, what a unit costs
/// is mostly the memory that has to be fetched for it.
#[derive(Debug, Default)]
pub(super) struct Runs {
    by_id: HashMap<RunId, RunIndex>,
    runs: Vec<Option<Run>>,
    unused: Vec<RunIndex>,
}

impl Runs {
    pub(super) fn find(&self, id: RunId) -> Option<RunIndex> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn get(&self, index: RunIndex) -> Option<&Run> {
        self.runs.get(index.place())?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: RunIndex) -> Option<&mut Run> {
        self.runs.get_mut(index.place())?.as_mut()
    }

    /// The number that the next run will have.
    pub(super) fn next(&self) -> RunIndex {
        let unused = self.unused.last().copied();
        unused.unwrap_or(RunIndex(self.runs.len() as u32))
    }

    /// Takes a run in, under the number that [`Self::next`] said.
    pub(super) fn insert(&mut self, id: RunId, run: Run) {
        let index = self.next();
        match self.unused.pop() {
            Some(_) => self.runs[index.place()] = Some(run),
            None => self.runs.push(Some(run)),
        }
        self.by_id.insert(id, index);
    }

    /// A run has ended.
    pub(super) fn remove(&mut self, index: RunIndex) -> Option<Run> {
        let run = self.runs.get_mut(index.place())?.take()?;
        self.by_id.remove(&run.id());
        self.unused.push(index);
        Some(run)
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}
