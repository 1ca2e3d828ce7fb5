//! How fleets stand, for whoever asks: as the leader knows where it conducts them, else by the ledgers of
//! their members.

use std::{collections::BTreeMap, sync::Arc};

use upshift_proto::v1::{FleetStatusResponse, FleetSummary};
use upshift_shared::{clock, fleet::MemberName};

use super::{
    super::{
        super::{
            Failure,
            fleet::{For, OfMember, Report, Shown, survey},
        },
        leader::Leading,
    },
    home::InStore,
    known::Known,
};
use crate::{coordination::FleetEntry, fleet::Fleet};

/// What is said of a fleet whose members are being looked at.
const LOOKS: &str = "its databases are looked at";

impl Leading {
    /// How a fleet stands.
    pub(in super::super) async fn shown_fleet(
        self: &Arc<Self>,
        fleet: &str,
        brief: bool,
    ) -> Result<FleetStatusResponse, Failure> {
        let known = self.fleets.get(fleet)?;
        let (under_way, message) = known.look(|entry| (entry.under_way, entry.message.clone()));
        let mut shown = match known.shown() {
            Some(shown) if brief => shown.without_members(),
            Some(shown) => (*shown).clone(),
            None if under_way || brief => of_entry(&known.entry()),
            None => self.by_ledgers(&known).await?,
        };
        shown.conducted = under_way;
        Ok(FleetStatusResponse {
            json: serde_json::to_string(&shown).expect("it is plain data"),
            under_way,
            message,
        })
    }

    /// By the ledgers, once for all who ask.
    async fn by_ledgers(self: &Arc<Self>, known: &Arc<Known>) -> Result<Shown, Failure> {
        let _turn = self.fleets.looking.lock().await;
        if let Some(shown) = known.shown() {
            return Ok((*shown).clone());
        }
        let (shown, _) = self.looked_at(known, For::Status).await?;
        if known.look(|entry| !entry.under_way) {
            known.show(Some(shown.clone()));
        }
        Ok(shown)
    }

    async fn looked_at(
        self: &Arc<Self>,
        known: &Arc<Known>,
        why: For,
    ) -> Result<(Shown, BTreeMap<MemberName, OfMember>), Failure> {
        let (order, _) = self.order_of(known).await?;
        let config = Arc::new(tokio::task::block_in_place(|| self.config())?);
        let home = InStore {
            known: Arc::clone(known),
            leaving: self.leaving().clone(),
        };
        let place = known.look(|entry| entry.place.clone());
        let why = (&place, why);
        let surveyed = Box::pin(survey((&order, &home), config, why)).await?;
        let now = clock::since_epoch();
        let mut fleet = Fleet::new(order, surveyed.members, place, now);
        if surveyed.incomplete {
            fleet.miss_members();
        }
        let under_way = known.look(|entry| entry.under_way);
        let shown = match under_way {
            true => Shown::of(&fleet, now, true),
            false => Shown::at_rest(fleet, now),
        };
        Ok((shown, surveyed.runs))
    }

    /// What became of the databases of a fleet, as JSON.
    pub(in super::super) async fn report_of_fleet(
        self: &Arc<Self>,
        fleet: &str,
    ) -> Result<String, Failure> {
        let known = self.fleets.get(fleet)?;
        let _turn = self.fleets.looking.lock().await;
        let (mut shown, runs) = self.looked_at(&known, For::Report).await?;
        // Who conducts it knows better how it goes.
        if let Some(live) = known.shown().filter(|_| shown.conducted) {
            shown = (*live).clone();
        }
        let noted = known.noted().await?;
        let report = Report::of(shown, runs, |take| noted.into_iter().for_each(take));
        Ok(serde_json::to_string(&report).expect("it is plain data"))
    }

    /// The fleets that are known.
    pub(in super::super) fn summaries(&self) -> Vec<FleetSummary> {
        let all = self.fleets.all();
        all.iter().map(|known| summary(known)).collect()
    }
}

fn summary(known: &Known) -> FleetSummary {
    let entry = known.entry();
    let shown = match known.shown() {
        Some(shown) => shown.without_members(),
        None => of_entry(&entry),
    };
    FleetSummary {
        fleet: entry.fleet,
        under_way: entry.under_way,
        standing: shown.standing,
        states: shown.states.into_iter().collect(),
        failed: shown.failed,
        message: entry.message,
        by: entry.by,
        at: entry.at,
    }
}

/// What the store says of it.
fn of_entry(entry: &FleetEntry) -> Shown {
    Shown {
        fleet: entry.fleet.clone(),
        at: clock::since_epoch().as_secs(),
        conducted: entry.under_way,
        standing: match entry.under_way {
            true => LOOKS.to_owned(),
            false => entry.standing.clone(),
        },
        states: entry.states.clone(),
        failed: entry.failed,
        missed: Vec::new(),
        waves: Vec::new(),
        members: Vec::new(),
    }
}
