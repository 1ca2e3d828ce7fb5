//! What the driver keeps in memory of tasks and units: bounds of unfinished units only, so that
//! memory does not grow with the size of the database.

use std::collections::HashMap;

use upshift_shared::{
    ids::{TaskId, UnitId},
    ledger::Bounds,
};

use super::cut::{Batch, Frontier};

/// The tasks that have begun, by number.
#[derive(Debug, Default)]
pub(super) struct UnitBook {
    tasks: HashMap<TaskId, TaskPage>,
}

/// One task.
#[derive(Debug, Default)]
pub(super) struct TaskPage {
    /// What `now()` is for all its units, once it is prepared.
    pub(super) pinned_now: Option<String>,
    /// Where cutting goes on.
    pub(super) frontier: Frontier,
    /// Bounds of units that are cut and not finished.
    bounds: HashMap<UnitId, Bounds>,
}

impl UnitBook {
    /// The page of a task.
    pub(super) fn page(&mut self, task: TaskId) -> &mut TaskPage {
        self.tasks.entry(task).or_default()
    }

    /// The bounds of a unit; none for one that is not cut by a key.
    pub(super) fn bounds(&self, task: TaskId, unit: UnitId) -> Bounds {
        let page = self.tasks.get(&task);
        page.and_then(|page| page.bounds.get(&unit).cloned())
            .unwrap_or_default()
    }

    /// The task's units are all done.
    pub(super) fn close(&mut self, task: TaskId) {
        self.tasks.remove(&task);
    }
}

impl TaskPage {
    /// A unit that is in the ledger and not done.
    pub(super) fn remember(&mut self, unit: UnitId, bounds: Bounds) {
        self.bounds.insert(unit, bounds);
    }

    /// Units that have just been cut.
    pub(super) fn append(&mut self, batch: &Batch) {
        for (number, bounds) in (batch.first.0..).zip(&batch.bounds) {
            self.bounds.insert(UnitId(number), bounds.clone());
            self.frontier.next = number + 1;
            self.frontier.after.clone_from(&bounds.upper);
        }
    }

    /// A unit was split at `middle`; `new` is the upper part.
    pub(super) fn split(&mut self, unit: UnitId, new: UnitId, middle: Vec<String>) {
        let Some(bounds) = self.bounds.get_mut(&unit) else {
            return;
        };
        let upper = bounds.upper.replace(middle.clone());
        let lower = Some(middle);
        self.bounds.insert(new, Bounds { lower, upper });
        self.frontier.next = self.frontier.next.max(new.0 + 1);
    }

    /// A unit is done.
    pub(super) fn finished(&mut self, unit: UnitId) {
        self.bounds.remove(&unit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(lower: Option<&str>, upper: Option<&str>) -> Bounds {
        let one = |text: &str| vec![text.to_owned()];
        Bounds {
            lower: lower.map(one),
            upper: upper.map(one),
        }
    }

    #[test]
    fn a_split_keeps_the_range_and_does_not_move_the_frontier() {
        let mut book = UnitBook::default();
        let task = TaskId(0);
        let page = book.page(task);
        page.append(&Batch {
            first: UnitId(0),
            bounds: vec![bounds(None, Some("10")), bounds(Some("10"), Some("20"))],
            exhausted: false,
        });
        page.split(UnitId(0), UnitId(2), vec!["5".to_owned()]);
        assert_eq!(page.frontier.after, Some(vec!["20".to_owned()]));
        assert_eq!(page.frontier.next, 3);
        assert_eq!(book.bounds(task, UnitId(0)), bounds(None, Some("5")));
        assert_eq!(book.bounds(task, UnitId(2)), bounds(Some("5"), Some("10")));
        book.page(task).finished(UnitId(2));
        assert_eq!(book.bounds(task, UnitId(2)), Bounds::default());
    }
}
