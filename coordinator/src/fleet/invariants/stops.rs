//! Safety: a failed canary stops everything else. Once so many of a wave have failed as its policy bears, nothing
//! of it or of later waves begins that has not begun before, until an operator says so; nor does anything while
//! the fleet is paused, or after it was aborted.

use std::collections::BTreeSet;

use super::{Look, meant};
use crate::fleet::{Fleet, FleetOrder, Found, MemberId};

/// Who has failed, and what operators said since.
#[derive(Default)]
pub(super) struct Stops {
    failed: BTreeSet<MemberId>,
    /// Failures that an operator has seen.
    forgiven: BTreeSet<MemberId>,
    /// Members that were begun again by order.
    again: BTreeSet<MemberId>,
    /// Members whose commit an operator has ordered, and nobody has overruled.
    committed: BTreeSet<MemberId>,
    held: bool,
    aborted: bool,
}

impl Stops {
    pub(super) fn failed(&mut self, member: MemberId) {
        // One that has failed, and whose way back fails too, is one.
        if self.failed.insert(member) {
            self.forgiven.remove(&member);
        }
    }

    pub(super) fn begins(&self, look: &Look<'_>, member: MemberId) {
        let name = look.fleet.name(member);
        assert!(!self.held, "stops: {name} begins while the fleet is paused");
        assert!(
            !self.aborted,
            "stops: {name} begins after the fleet was aborted"
        );
        let goes_on = look.ledgers[&name].found != Found::Untouched || self.again.contains(&member);
        let Some(wave) = look.fleet.wave(member).filter(|_| !goes_on) else {
            return;
        };
        for earlier in 0..=wave {
            let of_wave = |member: &&MemberId| look.fleet.wave(**member) == Some(earlier);
            let failed = self
                .failed
                .difference(&self.forgiven)
                .filter(of_wave)
                .count();
            let policy = look.order.waves[earlier as usize].on_failure.stop_after;
            let size = look.fleet.tally(Some(earlier)).members();
            assert!(
                !policy.stops(size, failed as u32),
                "stops: {name} of wave {wave} begins, and {failed} of wave {earlier} have failed"
            );
        }
    }

    pub(super) fn commits(&self, look: &Look<'_>, member: MemberId) {
        let name = look.fleet.name(member);
        assert!(
            !self.held && !self.aborted || self.committed.contains(&member),
            "stops: {name} is committed, and nobody has ordered that"
        );
    }

    pub(super) fn ordered(&mut self, order: &FleetOrder, fleet: &Fleet) {
        if let Some(which) = order.which().filter(|_| order.goes_back()) {
            for member in meant(fleet, which) {
                self.committed.remove(&member);
            }
        }
        match order {
            FleetOrder::Pause => self.held = true,
            FleetOrder::Resume => {
                self.held = false;
                self.forgiven = self.failed.clone();
            }
            FleetOrder::Abort
            | FleetOrder::RollBack(crate::fleet::Which::All)
            | FleetOrder::RollBackByForce(crate::fleet::Which::All) => {
                self.aborted = true;
            }
            FleetOrder::RollBack(crate::fleet::Which::Wave(_))
            | FleetOrder::RollBackByForce(crate::fleet::Which::Wave(_)) => self.held = true,
            FleetOrder::Retry(which) => {
                // One that something is being done to is not tried again by that.
                let meant = meant(fleet, which).into_iter();
                for member in meant.filter(|member| !fleet.has_failed(*member)) {
                    self.failed.remove(&member);
                    self.again.insert(member);
                }
            }
            FleetOrder::Commit(which) => {
                for member in meant(fleet, which) {
                    self.committed.insert(member);
                    if !fleet.has_failed(member) {
                        self.failed.remove(&member);
                    }
                }
            }
            _ => {}
        }
    }

    /// What only a hook has said is not known any more.
    pub(super) fn crashed(&mut self, fleet: &Fleet, lost: bool) {
        self.held &= !lost;
        self.aborted &= !lost;
        // One that is being brought back had failed, whoever has lost what ordered that.
        let failed = fleet.members().filter(|member| fleet.has_failed(*member));
        self.failed.extend(failed);
        self.failed.retain(|member| fleet.has_failed(*member));
        // What nobody knows any more is not forgiven if it comes again.
        let failed = &self.failed;
        self.forgiven
            .retain(|member| !lost && failed.contains(member));
    }
}
