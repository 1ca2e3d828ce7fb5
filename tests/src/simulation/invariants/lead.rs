//! Safety: after a lead was lost, no write of whoever had it lands in the store.

use super::Verdict;

/// Looks at the leader's key whenever a write lands.
#[derive(Debug, Default)]
pub(in crate::simulation) struct Lead;

impl Lead {
    /// A write of whoever led since revision `claimed` has landed, while the leader's key is of revision
    /// `current` (0: there is none).
    pub(in crate::simulation) fn landed(&self, claimed: i64, current: i64) -> Verdict {
        if claimed == current {
            Ok(())
        } else {
            Err(format!(
                "lead: a write of the leader since revision {claimed} landed, but that of {current} leads"
            ))
        }
    }
}
