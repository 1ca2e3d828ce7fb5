//! Safety: the effect of a unit happens once. What is in effect is remembered by rows, apart from the ledger: no
//! row is changed twice, only what is in effect is taken back, and when a task is recorded as done or undone,
//! all of its rows are, or none.

use std::collections::BTreeMap;

use upshift_coordinator::engine::Direction;
use upshift_shared::ids::{RunId, TaskId};

use super::Verdict;
use crate::simulation::{
    ledger::{Operation, RunLedger, RunState},
    message::Unit,
};

/// Which ranges of rows are in effect.
#[derive(Debug, Default)]
pub(in crate::simulation) struct ExactlyOnce {
    effects: BTreeMap<(RunId, TaskId), Vec<(u64, u64)>>,
}

impl ExactlyOnce {
    /// A unit has committed.
    pub(in crate::simulation) fn effect(&mut self, unit: &Unit, range: (u64, u64)) -> Verdict {
        let effects = self.effects.entry((unit.run, unit.task)).or_default();
        let (lower, upper) = range;
        if lower == upper {
            return Ok(());
        }
        match unit.direction {
            Direction::Do => {
                let twice = effects.iter().find(|(l, u)| lower < *u && *l < upper);
                if let Some(twice) = twice {
                    return Err(format!(
                        "exactly once: {} of {} changed rows {range:?} of which {twice:?} were changed",
                        unit.unit, unit.task
                    ));
                }
                effects.push(range);
            }
            Direction::Undo => {
                let Some(place) = effects.iter().position(|effect| *effect == range) else {
                    return Err(format!(
                        "exactly once: {} of {} took rows {range:?} back, which were not changed",
                        unit.unit, unit.task
                    ));
                };
                effects.swap_remove(place);
            }
        }
        Ok(())
    }

    /// The ledger has recorded something.
    pub(in crate::simulation) fn recorded(
        &self,
        run: RunId,
        ledger: &RunLedger,
        operation: &Operation,
    ) -> Verdict {
        match operation {
            Operation::RecordDone(task) => self.expect(run, ledger, *task, true),
            Operation::RecordUndone(task) => self.expect(run, ledger, *task, false),
            Operation::Change { state, .. } if *state == RunState::Prepared => ledger
                .plan
                .tasks
                .iter()
                .try_for_each(|task| self.expect(run, ledger, task.id, true)),
            Operation::Change { state, .. } if *state == RunState::RolledBack => {
                let chosen = ledger.plan.chosen(ledger.rollback_to);
                let tasks = ledger.plan.tasks.iter().zip(chosen);
                let mut undone = tasks.filter(|(_, chosen)| *chosen);
                undone.try_for_each(|(task, _)| self.expect(run, ledger, task.id, false))
            }
            _ => Ok(()),
        }
    }

    /// All rows of the task have been changed, or none.
    fn expect(&self, run: RunId, ledger: &RunLedger, task: TaskId, changed: bool) -> Verdict {
        let effects = self.effects.get(&(run, task));
        // They do not overlap, so the sum says it.
        let sum: u64 = effects.into_iter().flatten().map(|(l, u)| u - l).sum();
        let rows = ledger.plan.task(task).rows;
        let expected = if changed { rows } else { 0 };
        if sum == expected {
            Ok(())
        } else {
            Err(format!(
                "exactly once: {task} was recorded with {sum} of its {rows} rows changed, not {expected}"
            ))
        }
    }

    /// Whether anything of the task is in effect.
    pub(in crate::simulation) fn in_effect(&self, run: RunId, task: TaskId) -> bool {
        self.effects
            .get(&(run, task))
            .is_some_and(|effects| !effects.is_empty())
    }
}
