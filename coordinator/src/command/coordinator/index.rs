//! The index of runs as the leader has it: written to the cluster's store first, then here.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Mutex as Pen;
use upshift_shared::{Error, Result, ids::RunId};

use crate::coordination::{Coordination, RunEntry};

/// So many runs that nothing can be done with any more stay in the index.
const KEPT: usize = 1_000;
/// Entries are written side by side, as far as they do not share a pen.
const PENS: usize = 64;

/// The index.
pub(super) struct Index {
    coordination: Arc<dyn Coordination>,
    entries: Mutex<BTreeMap<RunId, RunEntry>>,
    /// Who changes an entry holds its pen until the store has it: of two orders given at the same time,
    /// or one given while another ends, none is overwritten by who has read before.
    pens: Vec<Pen<()>>,
}

impl Index {
    pub(super) fn new(coordination: Arc<dyn Coordination>) -> Self {
        Self {
            coordination,
            entries: Mutex::default(),
            pens: (0..PENS).map(|_| Pen::default()).collect(),
        }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<RunId, RunEntry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what earlier leaders have left.
    pub(super) async fn load(&self) -> Result<()> {
        let all = self.coordination.runs().await?;
        *self.entries() = all.into_iter().map(|entry| (entry.run, entry)).collect();
        self.prune().await
    }

    /// Forgets the oldest of the runs that nothing can be done with any more. It is asked for whenever one
    /// has come to that, so that there are few.
    pub(super) async fn prune(&self) -> Result<()> {
        let closed: Vec<RunId> = {
            let entries = self.entries();
            let closed = entries.values().filter(|entry| entry.closed);
            closed.map(|entry| entry.run).collect()
        };
        let too_many = closed.len().saturating_sub(KEPT);
        for run in &closed[..too_many] {
            self.forget(*run).await?;
        }
        Ok(())
    }

    pub(super) fn get(&self, run: RunId) -> Option<RunEntry> {
        self.entries().get(&run).cloned()
    }

    pub(super) fn all(&self) -> Vec<RunEntry> {
        self.entries().values().cloned().collect()
    }

    fn pen(&self, run: RunId) -> &Pen<()> {
        let mut hasher = std::hash::DefaultHasher::new();
        run.hash(&mut hasher);
        &self.pens[hasher.finish() as usize % PENS]
    }

    /// Makes an entry of the one that stands, durably; what stands then.
    ///
    /// # Errors
    /// What `change` says; or that the store does not take it. Where it did not answer, it may have it all
    /// the same: whoever leads next finds it there, and here the entry stands as before until it is written
    /// anew.
    pub(super) async fn change<E: From<Error>>(
        &self,
        run: RunId,
        change: impl FnOnce(Option<RunEntry>) -> Result<RunEntry, E>,
    ) -> Result<(), E> {
        let _pen = self.pen(run).lock().await;
        let entry = change(self.get(run))?;
        self.coordination.put_run(&entry).await?;
        self.entries().insert(run, entry);
        Ok(())
    }

    /// Takes an entry out, durably, unless something was ordered.
    pub(super) async fn forget(&self, run: RunId) -> Result<()> {
        let _pen = self.pen(run).lock().await;
        if self.get(run).is_some_and(|entry| entry.order.is_some()) {
            return Ok(());
        }
        self.coordination.forget_run(run).await?;
        self.entries().remove(&run);
        Ok(())
    }

    /// What is said of a run meanwhile; whoever leads next finds out by himself.
    pub(super) fn remark(&self, run: RunId, message: &str) {
        if let Some(entry) = self.entries().get_mut(&run) {
            message.clone_into(&mut entry.message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordination::Embedded;

    #[tokio::test]
    async fn only_what_is_closed_is_forgotten() {
        let store: Arc<dyn Coordination> = Arc::new(Embedded::new(BTreeMap::new(), None));
        let mut open = Vec::new();
        for number in 0..KEPT + 20 {
            let closed = number >= 10;
            let entry = RunEntry {
                run: RunId::generate(),
                database: format!("db{number}"),
                state: if closed { "committed" } else { "prepared" }.to_owned(),
                order: None,
                orders: 1,
                options: Vec::new(),
                closed,
                message: String::new(),
                traceparent: None,
            };
            store.put_run(&entry).await.expect("it is in memory");
            if !closed {
                open.push(entry.run);
            }
        }
        let index = Index::new(Arc::clone(&store));
        index.load().await.expect("it is in memory");
        assert_eq!(index.all().len(), KEPT + open.len());
        for run in open {
            assert!(index.get(run).is_some(), "{run} can still be committed");
        }
        assert_eq!(
            store.runs().await.expect("it is in memory").len(),
            KEPT + 10
        );
    }
}
