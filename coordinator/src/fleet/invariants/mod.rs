//! What must hold of a fleet, a file each: looked at at every command, and when it has ended.

mod caps;
mod once;
mod stops;
mod waits;
mod waves;

use std::collections::{BTreeMap, BTreeSet};

use upshift_shared::fleet::{FleetFile, MemberName};

use super::{
    Fleet, FleetOrder, MemberId, Which,
    script::{Job, Row},
};

/// What there is to look at.
pub(super) struct Look<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) order: &'a FleetFile,
    pub(super) jobs: &'a [(MemberId, Job)],
    pub(super) ledgers: &'a BTreeMap<MemberName, Row>,
}

/// Those that remember something.
pub(super) struct Invariants {
    waves: waves::Waves,
    stops: stops::Stops,
}

impl Invariants {
    pub(super) fn new(fleet: &Fleet) -> Self {
        Self {
            waves: waves::Waves::new(fleet),
            stops: stops::Stops::default(),
        }
    }

    /// A member is begun; its ledger is as it was before.
    pub(super) fn begins(&self, look: &Look<'_>, member: MemberId) {
        self.waves.begins(look, member);
        self.stops.begins(look, member);
    }

    /// A member is committed.
    pub(super) fn commits(&self, look: &Look<'_>, member: MemberId) {
        self.stops.commits(look, member);
    }

    /// All that was commanded has been begun.
    pub(super) fn handled(&mut self, look: &Look<'_>) {
        caps::handled(look);
        once::handled(look);
        waits::handled(look);
        self.waves.handled(look);
    }

    /// A hook, an upgrade or a way back of a member has failed.
    pub(super) fn failed(&mut self, member: MemberId) {
        self.stops.failed(member);
    }

    /// An operator's order was taken.
    pub(super) fn ordered(&mut self, order: &FleetOrder, fleet: &Fleet) {
        self.waves.ordered(order);
        self.stops.ordered(order, fleet);
    }

    pub(super) fn crashed(&mut self, fleet: &Fleet, lost: bool) {
        self.waves.crashed(lost);
        self.stops.crashed(fleet, lost);
    }
}

/// The members that an order means.
fn meant(fleet: &Fleet, which: &Which) -> BTreeSet<MemberId> {
    let all = fleet.members();
    match which {
        Which::All => all.collect(),
        Which::Wave(wave) => all
            .filter(|member| fleet.wave(*member) == Some(*wave))
            .collect(),
        Which::These(names) => names.iter().filter_map(|name| fleet.find(name)).collect(),
    }
}
