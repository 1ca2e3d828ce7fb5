//! Safety: nothing of a wave begins before all of the former wave have ended and, where it asks for that, it was
//! approved.

use std::collections::BTreeSet;

use super::Look;
use crate::fleet::{Fleet, FleetOrder, Found, MemberId};

/// Which members have ended, and what was approved.
pub(super) struct Waves {
    members: Vec<MemberId>,
    ended: BTreeSet<MemberId>,
    approved: BTreeSet<u32>,
    approved_all: bool,
}

impl Waves {
    pub(super) fn new(fleet: &Fleet) -> Self {
        Self {
            members: fleet.members().collect(),
            ended: BTreeSet::new(),
            approved: BTreeSet::new(),
            approved_all: false,
        }
    }

    pub(super) fn begins(&self, look: &Look<'_>, member: MemberId) {
        let Some(wave) = look.fleet.wave(member) else {
            return;
        };
        for earlier in &self.members {
            let own = look.fleet.wave(*earlier);
            assert!(
                own.is_none_or(|own| own >= wave)
                    || self.ended.contains(earlier)
                    || look.fleet.state(*earlier).has_ended(),
                "waves: {} of wave {wave} begins before {} of wave {own:?} has ended",
                look.fleet.name(member),
                look.fleet.name(*earlier),
            );
        }
        // Those that have begun go on, whatever became of the approval since.
        if look.ledgers[&look.fleet.name(member)].found != Found::Untouched || self.approved_all {
            return;
        }
        for earlier in 0..wave {
            let is_empty = look.fleet.tally(Some(earlier)).members() == 0;
            let asks = look.order.waves[earlier as usize].approval && !is_empty;
            assert!(
                !asks || self.approved.contains(&earlier),
                "waves: wave {wave} begins, and {earlier} was not approved"
            );
        }
    }

    pub(super) fn handled(&mut self, look: &Look<'_>) {
        let ended = self.members.iter().copied();
        self.ended
            .extend(ended.filter(|member| look.fleet.state(*member).has_ended()));
    }

    pub(super) fn ordered(&mut self, order: &FleetOrder) {
        match order {
            FleetOrder::Approve { wave: None } => self.approved_all = true,
            FleetOrder::Approve { wave: Some(wave) } => drop(self.approved.insert(*wave)),
            _ => {}
        }
    }

    pub(super) fn crashed(&mut self, lost: bool) {
        if lost {
            self.approved.clear();
            self.approved_all = false;
        }
    }
}
