//! Safety: after an epoch was raised, no older write lands in the ledger.

use std::collections::BTreeMap;

use upshift_shared::ids::RunId;

use super::Verdict;

/// The newest epoch of each run.
#[derive(Debug, Default)]
pub(in crate::simulation) struct Fencing {
    newest: BTreeMap<RunId, i64>,
}

impl Fencing {
    /// An epoch was raised.
    pub(in crate::simulation) fn raised(&mut self, run: RunId, epoch: i64) -> Verdict {
        let before = self.newest.insert(run, epoch).unwrap_or(0);
        if epoch > before {
            Ok(())
        } else {
            Err(format!("fencing: epoch {before} was raised to {epoch}"))
        }
    }

    /// A write has landed.
    pub(in crate::simulation) fn landed(&self, run: RunId, epoch: i64) -> Verdict {
        let newest = self.newest.get(&run).copied().unwrap_or(0);
        if epoch >= newest {
            Ok(())
        } else {
            Err(format!(
                "fencing: a write of epoch {epoch} landed after {newest} was raised"
            ))
        }
    }
}
