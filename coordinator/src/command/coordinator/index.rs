//! The index of runs as the leader has it: written to the cluster's store first, then here.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use upshift_shared::{Result, ids::RunId};

use crate::coordination::{Coordination, RunEntry};

/// So many runs that nothing is to be done with stay in the index.
const KEPT: usize = 1_000;

/// The index.
pub(super) struct Index {
    coordination: Arc<dyn Coordination>,
    entries: Mutex<BTreeMap<RunId, RunEntry>>,
}

impl Index {
    pub(super) fn new(coordination: Arc<dyn Coordination>) -> Self {
        Self {
            coordination,
            entries: Mutex::default(),
        }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<RunId, RunEntry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what earlier leaders have left, and forgets the oldest of what has ended.
    pub(super) async fn load(&self) -> Result<()> {
        let all = self.coordination.runs().await?;
        let idle: Vec<RunId> = all
            .iter()
            .filter(|entry| entry.order.is_none())
            .map(|entry| entry.run)
            .collect();
        let too_many = idle.len().saturating_sub(KEPT);
        for run in &idle[..too_many] {
            self.coordination.forget_run(*run).await?;
        }
        let kept = all
            .into_iter()
            .filter(|e| !idle[..too_many].contains(&e.run));
        *self.entries() = kept.map(|entry| (entry.run, entry)).collect();
        Ok(())
    }

    pub(super) fn get(&self, run: RunId) -> Option<RunEntry> {
        self.entries().get(&run).cloned()
    }

    pub(super) fn all(&self) -> Vec<RunEntry> {
        self.entries().values().cloned().collect()
    }

    /// Writes an entry, durably.
    pub(super) async fn put(&self, entry: RunEntry) -> Result<()> {
        self.coordination.put_run(&entry).await?;
        self.entries().insert(entry.run, entry);
        Ok(())
    }

    /// What is said of a run meanwhile; whoever leads next finds out by himself.
    pub(super) fn remark(&self, run: RunId, message: &str) {
        if let Some(entry) = self.entries().get_mut(&run) {
            message.clone_into(&mut entry.message);
        }
    }
}
