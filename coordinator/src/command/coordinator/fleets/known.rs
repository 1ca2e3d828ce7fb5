//! A fleet as the leader has it: written to the cluster's store first, then here; and what is told of it
//! meanwhile, which goes with the leader.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Mutex as Pen, watch};
use upshift_shared::ids::RunId;

use super::super::super::{
    Failure,
    fleet::{Done, Shown},
};
use super::notes::Notes;
use crate::coordination::{Coordination, FleetEntry, FleetFailure};

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
    notes: Notes,
}

/// What is told of it.
#[derive(Default)]
struct Live {
    shown: Option<Arc<Shown>>,
    conducted: bool,
}

impl Known {
    pub(super) fn new(coordination: Arc<dyn Coordination>, entry: FleetEntry) -> Arc<Self> {
        Arc::new(Self {
            notes: Notes::new(Arc::clone(&coordination)),
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

    /// Under which number it is kept what is noted; it gets one where it has none.
    pub(super) async fn notes(&self) -> Result<RunId, Failure> {
        if let Some(notes) = self.look(|entry| entry.notes) {
            return Ok(notes);
        }
        self.change(|entry| Ok(*entry.notes.get_or_insert_with(RunId::generate)))
            .await
    }

    /// Does something; meanwhile, and at its end, it is kept what is noted.
    pub(super) async fn noting<T>(&self, notes: RunId, work: impl Future<Output = T>) -> T {
        let done = tokio::select! {
            done = work => done,
            never = self.notes.keep(notes) => match never {},
        };
        self.notes.write(notes).await;
        done
    }

    /// What was noted, in order, and of each member that failed before its ledger could say so, that.
    pub(super) async fn noted(&self) -> Result<Vec<Done>, Failure> {
        let (at, notes, failures) =
            self.look(|entry| (entry.at, entry.notes, entry.failures.clone()));
        let mut noted = match notes {
            Some(notes) => self.notes.all(notes).await?,
            None => Vec::new(),
        };
        // The last of what says how it stands before there is a ledger.
        let mut last = HashMap::new();
        for done in &noted {
            if is_of_beginning(done) {
                last.insert(
                    done.member.to_string(),
                    (done.what.clone(), done.outcome == "failed"),
                );
            }
        }
        for (member, FleetFailure { what, why }) in failures {
            if last
                .get(&member)
                .is_some_and(|(noted, failed)| *failed && *noted == what)
            {
                continue;
            }
            noted.push(Done {
                member: member.into(),
                what,
                outcome: "failed".to_owned(),
                why: Some(why),
                seconds: 0.0,
                at,
                output: Vec::new(),
            });
        }
        Ok(noted)
    }

    /// Notes what was done to a member. Of one that failed before its ledger could say so nobody else
    /// knows: that goes to the store, as far as there is room.
    pub(super) async fn note(&self, done: &Done) -> Result<(), Failure> {
        self.notes.take(done);
        if !is_of_beginning(done) {
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

/// Whether a member may have failed by it of which its ledger says nothing yet.
fn is_of_beginning(done: &Done) -> bool {
    matches!(done.what.as_str(), "upgrade" | "hook_before")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
