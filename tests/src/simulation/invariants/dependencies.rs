//! Safety: no unit runs before what it depends on is recorded, nor is it taken back before what depends on it.

use upshift_coordinator::engine::Direction;
use upshift_shared::ids::TaskId;

use super::Verdict;
use crate::simulation::{ledger::RunLedger, message::Unit};

/// Looks at the ledger, and at what is in effect, whenever a unit commits.
#[derive(Debug, Default)]
pub(in crate::simulation) struct Dependencies;

impl Dependencies {
    /// A unit has committed. `in_effect`: whether anything of a task is.
    pub(in crate::simulation) fn effect(
        &self,
        ledger: &RunLedger,
        unit: &Unit,
        in_effect: impl Fn(TaskId) -> bool,
    ) -> Verdict {
        let Unit {
            task,
            unit: number,
            direction,
            ..
        } = unit;
        match direction {
            Direction::Do => {
                let depends = &ledger.plan.task(*task).depends;
                match depends
                    .iter()
                    .find(|earlier| !ledger.is_recorded(**earlier))
                {
                    None => Ok(()),
                    Some(earlier) => Err(format!(
                        "dependencies: {number} of {task} ran before {earlier} was recorded"
                    )),
                }
            }
            Direction::Undo => {
                let mut later = ledger.plan.tasks.iter();
                let later = later.find(|l| l.depends.contains(task) && in_effect(l.id));
                match later {
                    None => Ok(()),
                    Some(later) => Err(format!(
                        "dependencies: {number} of {task} was taken back before {} was",
                        later.id
                    )),
                }
            }
        }
    }
}
