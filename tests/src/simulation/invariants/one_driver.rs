//! Safety: of a run, at most one driver has the current epoch.

use std::collections::BTreeMap;

use upshift_shared::ids::RunId;

use super::Verdict;
use crate::simulation::process::Caller;

/// Which life of which coordinator got which epoch.
#[derive(Debug, Default)]
pub(in crate::simulation) struct OneDriver {
    holders: BTreeMap<(RunId, i64), (Caller, u64)>,
}

impl OneDriver {
    /// A driver goes to work with an epoch. `drive`: which of those of its process.
    pub(in crate::simulation) fn took(
        &mut self,
        (run, epoch): (RunId, i64),
        holder: Caller,
        drive: u64,
    ) -> Verdict {
        let other = self.holders.insert((run, epoch), (holder, drive));
        match other {
            Some(other) if other != (holder, drive) => Err(format!(
                "one driver: epoch {epoch} was taken by {} and by {}",
                other.0.node, holder.node
            )),
            _ => Ok(()),
        }
    }
}
