//! The cluster's store as the home of a fleet that the leader conducts.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{
    super::super::{
        Failure,
        fleet::{Done, Home, Left, Shown},
    },
    known::Known,
};
use crate::{
    coordination::{FleetEntry, TakenOrder},
    fleet::FleetPlace,
};

/// Between attempts while the store is away; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Orders whose end is remembered, for whoever asks again.
const TAKEN: usize = 64;

/// A fleet's home.
pub(super) struct InStore {
    pub(super) known: Arc<Known>,
    /// Another coordinator is to go on.
    pub(super) leaving: CancellationToken,
}

impl InStore {
    /// Writes, again while the store is away: the units that are under way go on meanwhile.
    async fn write(&self, change: impl Fn(&mut FleetEntry) + Send + Sync) -> Result<(), Failure> {
        let mut pause = FIRST_PAUSE;
        loop {
            let written = self.known.change(|entry| {
                change(entry);
                Ok(())
            });
            let failure = match written.await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            if !failure.is_passing() {
                return Err(failure);
            }
            tracing::warn!(
                why = failure.message(),
                "the place of a fleet is not written yet"
            );
            let rest = tokio::time::sleep(pause);
            if self.leaving.run_until_cancelled(rest).await.is_none() {
                return Err(failure);
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

#[async_trait]
impl Home for InStore {
    async fn record(&self, place: &FleetPlace) -> Result<(), Failure> {
        self.write(|entry| entry.place.clone_from(place)).await
    }

    fn left(&self) -> Vec<Left> {
        self.known.look(|entry| {
            let left = entry.orders.iter().map(|given| Left {
                order: given.order.clone(),
                id: given.id.to_string(),
            });
            left.collect()
        })
    }

    async fn taken(
        &self,
        left: &Left,
        refused: Option<String>,
        place: Option<&FleetPlace>,
    ) -> Result<(), Failure> {
        let Ok(id) = left.id.parse() else {
            return Ok(());
        };
        self.write(|entry| {
            if let Some(place) = place {
                entry.place.clone_from(place);
            }
            entry.orders.retain(|given| given.id != id);
            let refused = refused.clone();
            entry.taken.push(TakenOrder { id, refused });
            let too_many = entry.taken.len().saturating_sub(TAKEN);
            entry.taken.drain(..too_many);
        })
        .await
    }

    async fn note(&self, done: &Done) {
        // The ledgers have what counts.
        if let Err(failure) = self.known.note(done).await {
            let why = failure.message();
            tracing::warn!(why, "what was done to a member cannot be noted");
        }
    }

    fn noted(&self, take: &mut dyn FnMut(Done)) {
        self.known.noted(take);
    }

    fn tell(&self, shown: Shown) {
        self.known.show(Some(shown));
    }
}
