//! The checkpoints of one run.

use std::collections::BTreeSet;

/// Checkpoints are prepared in the order of the modules: that of a module promises that the work of
/// all modules before it is done as well, so that a rollback to it has only what comes after to undo.
///
/// ```text
///  waiting ──all tasks of this and earlier modules recorded──► asked ──CheckpointRecorded──► recorded
/// ```
///
/// Volatile; a resumed run asks again for those that the ledger has, which changes nothing there.
#[derive(Debug)]
pub(super) struct Checkpoints {
    /// Tasks of each module that are not recorded.
    unrecorded: Vec<u32>,
    /// The first module whose checkpoint was not asked for.
    next: u32,
    asked: BTreeSet<u32>,
}

impl Checkpoints {
    pub(super) fn new(modules: u32) -> Self {
        Self {
            unrecorded: vec![0; modules as usize],
            next: 0,
            asked: BTreeSet::new(),
        }
    }

    /// The module has one more task to record. Going back, there are no modules.
    pub(super) fn wait_for(&mut self, module: u32) {
        if let Some(left) = self.unrecorded.get_mut(module as usize) {
            *left += 1;
        }
    }

    /// One of its tasks is recorded.
    pub(super) fn task_recorded(&mut self, module: u32) {
        if let Some(left) = self.unrecorded.get_mut(module as usize) {
            *left -= 1;
        }
    }

    /// The next module whose checkpoint can be recorded, if it was not asked for yet.
    pub(super) fn ask(&mut self) -> Option<u32> {
        let module = self.next;
        let complete = self.unrecorded.get(module as usize) == Some(&0);
        complete.then(|| {
            self.next += 1;
            self.asked.insert(module);
            module
        })
    }

    /// `false` when this checkpoint was not asked for.
    pub(super) fn recorded(&mut self, module: u32) -> bool {
        self.asked.remove(&module)
    }

    /// Whether all are recorded.
    pub(super) fn complete(&self) -> bool {
        self.next as usize == self.unrecorded.len() && self.asked.is_empty()
    }
}
