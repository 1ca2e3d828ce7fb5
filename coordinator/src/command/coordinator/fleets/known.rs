//! A fleet as the leader has it: written to the cluster's store first, then here; and what is told of it
//! meanwhile, which goes with the leader.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Mutex as Pen, watch};

use super::super::super::{
    Failure,
    fleet::{Done, Shown},
};
use crate::coordination::{Coordination, FleetEntry, FleetFailure};

/// So much of what was done to members is kept, the newest.
const NOTED: usize = 10_000;
/// Members of which the store keeps that they failed before their ledgers could say so.
const FAILURES: usize = 1_000;
/// Characters of the reason.
const WHY: usize = 200;

/// A fleet.
pub(super) struct Known {
    coordination: Arc<dyn Coordination>,
    entry: Mutex<FleetEntry>,
    /// Who changes the entry holds it until the store has it.
    pen: Pen<()>,
    changes: watch::Sender<()>,
    live: Mutex<Live>,
}

/// What is told of it.
#[derive(Default)]
struct Live {
    shown: Option<Arc<Shown>>,
    noted: VecDeque<Done>,
    conducted: bool,
}

impl Known {
    pub(super) fn new(coordination: Arc<dyn Coordination>, entry: FleetEntry) -> Arc<Self> {
        Arc::new(Self {
            coordination,
            entry: Mutex::new(entry),
            pen: Pen::default(),
            changes: watch::Sender::new(()),
            live: Mutex::default(),
        })
    }

    pub(super) fn entry(&self) -> FleetEntry {
        lock(&self.entry).clone()
    }

    /// A look at the entry, without a copy.
    pub(super) fn look<T>(&self, look: impl FnOnce(&FleetEntry) -> T) -> T {
        look(&lock(&self.entry))
    }

    /// Told of every change of the entry.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Makes an entry of the one that stands, durably.
    ///
    /// # Errors
    /// What `change` says; or that the store does not take it. Where it did not answer, it may have it all
    /// the same, and here the entry stands as before until it is written anew.
    pub(super) async fn change<T>(
        &self,
        change: impl FnOnce(&mut FleetEntry) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let _pen = self.pen.lock().await;
        let mut entry = self.entry();
        let made = change(&mut entry)?;
        if self.look(|stands| *stands != entry) {
            self.coordination.put_fleet(&entry).await?;
            *lock(&self.entry) = entry;
        }
        self.changes.send_replace(());
        Ok(made)
    }

    /// Begins to conduct it, where nobody does.
    pub(super) fn begin(&self) -> bool {
        let mut live = lock(&self.live);
        !std::mem::replace(&mut live.conducted, true)
    }

    /// Whether there is something to do; where there is not, it is conducted no more, and whoever orders
    /// something from then on has to have it conducted.
    pub(super) fn goes_on(&self) -> bool {
        let mut live = lock(&self.live);
        live.conducted = self.look(|entry| entry.under_way);
        live.conducted
    }

    /// Nobody conducts it any more, whatever there is to do.
    pub(super) fn leave(&self) {
        lock(&self.live).conducted = false;
    }

    /// What is said of it meanwhile; whoever leads next finds out by himself.
    pub(super) fn remark(&self, message: &str) {
        message.clone_into(&mut lock(&self.entry).message);
    }

    pub(super) fn shown(&self) -> Option<Arc<Shown>> {
        lock(&self.live).shown.clone()
    }

    pub(super) fn show(&self, shown: Option<Shown>) {
        lock(&self.live).shown = shown.map(Arc::new);
    }

    /// What was noted: what the store has of earlier times, then what this leader has seen.
    pub(super) fn noted(&self, take: &mut dyn FnMut(Done)) {
        let (at, failures) = self.look(|entry| (entry.at, entry.failures.clone()));
        for (member, failure) in failures {
            take(Done {
                member: member.into(),
                what: failure.what,
                outcome: "failed".to_owned(),
                why: Some(failure.why),
                seconds: 0.0,
                at,
                output: Vec::new(),
            });
        }
        lock(&self.live).noted.iter().cloned().for_each(take);
    }

    /// Notes what was done to a member. Of one that failed before its ledger could say so nobody else
    /// knows: that goes to the store, as far as there is room.
    pub(super) async fn note(&self, done: &Done) -> Result<(), Failure> {
        {
            let mut live = lock(&self.live);
            if live.noted.len() == NOTED {
                live.noted.pop_front();
            }
            live.noted.push_back(done.clone());
        }
        if !matches!(done.what.as_str(), "upgrade" | "hook_before") {
            return Ok(());
        }
        let member = done.member.to_string();
        let failed = (done.outcome == "failed").then(|| FleetFailure {
            what: done.what.clone(),
            why: done
                .why
                .iter()
                .flat_map(|why| why.chars())
                .take(WHY)
                .collect(),
        });
        let is_known = self.look(|entry| match (&failed, entry.failures.get(&member)) {
            (Some(failure), Some(known)) => failure == known,
            (Some(_), None) => entry.failures.len() >= FAILURES,
            (None, known) => known.is_none(),
        });
        if is_known {
            return Ok(());
        }
        let noted = self.change(|entry| {
            match failed {
                Some(failure) => entry.failures.insert(member, failure),
                None => entry.failures.remove(&member),
            };
            Ok(())
        });
        noted.await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
