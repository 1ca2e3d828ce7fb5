//! One fleet, conducted by whoever leads until it has ended: the code is that of `upshift fleet run`, its
//! runs are driven among all others of the cluster.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use upshift_shared::{fleet::FleetFile, telemetry::trace::Parent};

use super::{
    super::{
        super::{
            Failure,
            fleet::{Asked, AtHand, Shown, Telling, UNITS},
            host::ClusterHost,
        },
        leader::Leading,
    },
    home::InStore,
    known::Known,
    submission::Submission,
};
use crate::{coordination::TakenOrder, fleet::MemberState};

/// Between attempts while something is away that the fleet as a whole needs; doubled up to
/// [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// Workers that are thought to be there while none has come yet.
const WORKERS: u32 = 8;

/// How a fleet was conducted.
struct Conducted {
    /// Whether nothing was done but what was ordered.
    only_orders: bool,
    ended: Result<Shown, Failure>,
}

impl Leading {
    /// Conducts a fleet, unless somebody does.
    pub(super) fn conduct_fleet(self: &Arc<Self>, known: &Arc<Known>) {
        if self.is_leaving() || !known.begin() {
            return;
        }
        let (leading, of) = (Arc::clone(self), Arc::clone(known));
        self.spawn(async move {
            if Box::pin(leading.fleet_to_its_end(&of)).await.is_err() {
                // Whoever leads next goes on.
                of.leave();
            }
        });
    }

    /// `Err` where another coordinator is to go on.
    async fn fleet_to_its_end(self: &Arc<Self>, known: &Arc<Known>) -> Result<(), Left> {
        let mut pause = FIRST_PAUSE;
        while known.goes_on() {
            let only_orders = known.look(|entry| entry.only_orders);
            let work = AssertUnwindSafe(Box::pin(self.conduct_once(known, only_orders)));
            let ended = work.catch_unwind().await.unwrap_or_else(|_| {
                Err(Failure::failed(
                    "the coordinator has a defect, please report it with what it has logged",
                ))
            });
            if self.is_leaving() {
                return Err(Left);
            }
            let conducted = Conducted { only_orders, ended };
            let passing = conducted
                .ended
                .as_ref()
                .err()
                .filter(|failure| failure.is_passing());
            let written = match passing {
                Some(failure) => Err(failure.clone()),
                None => ended_in(known, &conducted).await,
            };
            match written {
                Ok(()) => pause = FIRST_PAUSE,
                Err(failure) => {
                    tracing::warn!(why = failure.message(), "a fleet is gone on with later");
                    known.remark(failure.message());
                    let rest = tokio::time::sleep(pause);
                    self.leaving().run_until_cancelled(rest).await.ok_or(Left)?;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        Ok(())
    }

    /// The order of a fleet, and what it was submitted with. Fails where it may not be carried out here.
    pub(super) async fn order_of(&self, known: &Known) -> Result<(FleetFile, Submission), Failure> {
        let submission = known.look(|entry| entry.submission);
        let submission = Submission::read(submission, &*self.fleets.coordination).await?;
        let order = submission.order()?;
        Ok((order, submission))
    }

    async fn conduct_once(
        self: &Arc<Self>,
        known: &Arc<Known>,
        only_orders: bool,
    ) -> Result<Shown, Failure> {
        let (mut order, submission) = self.order_of(known).await?;
        let config = Arc::new(tokio::task::block_in_place(|| self.config())?);
        // The configuration may have been another one when it was accepted.
        self.refuse_hooks(&order)?;
        let pack = tokio::task::block_in_place(|| submission.unpack())?;
        pack.folder().clone_into(&mut order.pack);
        let home = InStore {
            known: Arc::clone(known),
            leaving: self.leaving().clone(),
        };
        let at_hand = AtHand {
            order,
            place: known.look(|entry| entry.place.clone()),
            changed: false,
            home: Arc::new(home),
            config,
            telling: Telling::silent(),
        };
        let looked_at = self.leaving().run_until_cancelled(at_hand.look()).await;
        let looked_at = looked_at.ok_or_else(|| Failure::failed("stopped"))??;
        // It was read.
        drop(pack);
        let slots = self.hub.load().await?.capacity;
        let asked = Asked {
            workers: u32::try_from(slots).unwrap_or(u32::MAX).max(WORKERS),
            orders: Vec::new(),
            only_orders,
        };
        let traceparent = known.look(|entry| entry.traceparent.clone());
        let host = ClusterHost {
            units: UNITS,
            trace: Parent::parse(traceparent.as_deref().unwrap_or_default()),
            ..self.host(false)
        };
        let limits = self.run_limits();
        let notes = known.notes().await?;
        let conducted = looked_at.conduct((host, limits), asked, self.leaving());
        Box::pin(known.noting(notes, conducted)).await
    }
}

/// Another coordinator is to go on.
struct Left;

/// Writes that a fleet has ended, unless something was ordered meanwhile.
async fn ended_in(known: &Known, conducted: &Conducted) -> Result<(), Failure> {
    known
        .change(|entry| {
            let other = entry.only_orders != conducted.only_orders;
            match &conducted.ended {
                // It was ordered while it ended.
                Ok(_) if !entry.orders.is_empty() || other => {}
                Ok(shown) => {
                    entry.under_way = false;
                    entry.message.clear();
                    entry.standing.clone_from(&shown.standing);
                    entry.states.clone_from(&shown.states);
                    entry.failed = shown.failed;
                    entry.closed = is_closed(&shown.states);
                }
                Err(failure) => {
                    entry.under_way = false;
                    "failed".clone_into(&mut entry.standing);
                    failure.message().clone_into(&mut entry.message);
                    // Nobody can carry them out before that is mended.
                    let orders = std::mem::take(&mut entry.orders).into_iter();
                    entry.taken.extend(orders.map(|given| TakenOrder {
                        id: given.id,
                        refused: Some(failure.message().to_owned()),
                    }));
                }
            }
            Ok(())
        })
        .await
}

/// Whether nothing can be done with a fleet any more whose members stand so.
fn is_closed(states: &BTreeMap<String, u32>) -> bool {
    let closed = [
        MemberState::Committed,
        MemberState::RolledBack,
        MemberState::Current,
        MemberState::Refused,
    ];
    let closed = closed.map(MemberState::as_str);
    states.keys().all(|state| closed.contains(&state.as_str()))
}
