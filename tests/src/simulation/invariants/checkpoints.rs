//! Safety: a checkpoint is recorded when the work of its module and of all before it is.

use super::Verdict;
use crate::simulation::ledger::{Operation, RunLedger};

/// Looks at the ledger whenever a checkpoint is recorded.
#[derive(Debug, Default)]
pub(in crate::simulation) struct Checkpoints;

impl Checkpoints {
    /// The ledger has recorded something.
    pub(in crate::simulation) fn recorded(
        &self,
        ledger: &RunLedger,
        operation: &Operation,
    ) -> Verdict {
        let Operation::RecordCheckpoint(place) = operation else {
            return Ok(());
        };
        let mut before = ledger
            .plan
            .tasks
            .iter()
            .filter(|task| task.module <= *place);
        match before.find(|task| !ledger.is_recorded(task.id)) {
            None => Ok(()),
            Some(task) => Err(format!(
                "checkpoints: {place} was recorded before {}",
                task.id
            )),
        }
    }
}
