//! The fleets of a cluster: kept in its store, conducted by whoever leads until they have ended, and ordered
//! by operators meanwhile. What became of each database its ledger says.

mod conducting;
mod home;
mod known;
mod notes;
mod ordering;
mod planning;
mod showing;
mod submission;
mod submitting;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Mutex as Turn;
use upshift_shared::Result;

use super::{super::Failure, leader::Leading};
use crate::coordination::{Coordination, FleetEntry};
use known::Known;
pub(super) use ordering::in_words;

/// What the leader has of fleets.
pub(super) struct Fleets {
    coordination: Arc<dyn Coordination>,
    known: Mutex<BTreeMap<String, Arc<Known>>>,
    /// One is submitted at a time: it takes room in the store.
    submitting: Turn<()>,
    /// And one is looked at as a whole, for whoever wants to see it.
    looking: Turn<()>,
}

impl Fleets {
    pub(super) fn new(coordination: Arc<dyn Coordination>) -> Self {
        Self {
            coordination,
            known: Mutex::default(),
            submitting: Turn::default(),
            looking: Turn::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<Arc<Known>> {
        self.known().values().cloned().collect()
    }

    fn get(&self, fleet: &str) -> Result<Arc<Known>, Failure> {
        let known = self.known().get(fleet).cloned();
        known.ok_or_else(|| {
            Failure::refused(format!(
                "this cluster knows no fleet {fleet}: see upshift cluster fleets"
            ))
        })
    }

    /// Reads what earlier leaders have left, and takes out what nobody needs any more.
    async fn load(&self) -> Result<()> {
        let all = self.coordination.fleets().await?;
        let mut orphans = self.coordination.submissions().await?;
        orphans.retain(|orphan| {
            let is_of =
                |entry: &FleetEntry| entry.submission == *orphan || entry.notes == Some(*orphan);
            !all.iter().any(is_of)
        });
        let known = all.into_iter().map(|entry| {
            let fleet = entry.fleet.clone();
            (fleet, Known::new(Arc::clone(&self.coordination), entry))
        });
        *self.known() = known.collect();
        for submission in orphans {
            self.coordination.forget_submission(submission).await?;
        }
        Ok(())
    }
}

impl Leading {
    /// Goes on with the fleets that earlier leaders were at.
    pub(super) async fn begin_fleets(self: &Arc<Self>) -> Result<()> {
        self.fleets.load().await?;
        for known in self.fleets.all() {
            self.conduct_fleet(&known);
        }
        Ok(())
    }
}
