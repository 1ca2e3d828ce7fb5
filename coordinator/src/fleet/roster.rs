//! What is kept of each member: some tens of bytes, whatever becomes of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use upshift_shared::fleet::{FleetFile, MemberName};

use super::{
    member::{Found, Member, MemberId, MemberState},
    order, waves,
};

/// Of a member that is left alone.
pub(super) const NO_WAVE: u32 = u32::MAX;

/// What the ledger of a member says, as far as is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ledger {
    /// It could not be asked: anything may be true of it.
    Unknown,
    Untouched,
    Current,
    Refused,
    Begun,
    Prepared,
    Committed,
    RollingBack,
    RolledBack,
}

/// A member.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Box<str>,
    pub(super) server: u32,
    pub(super) wave: u32,
    pub(super) seconds: f32,
    pub(super) state: MemberState,
    pub(super) ledger: Ledger,
    /// Its upgrade has failed, or what had to follow: it counts for the policy of its wave.
    pub(super) failed: bool,
    /// Its hook after has failed.
    pub(super) hook_failed: bool,
    /// An operator's order about it is not done yet.
    pub(super) ordered: bool,
    /// It is to come back whatever is lost with that.
    pub(super) forced: bool,
}

impl Entry {
    /// How it stands when nothing is being done to it and it waits for nothing.
    pub(super) fn at_rest(&self) -> MemberState {
        match (self.failed, self.ledger) {
            _ if self.hook_failed => MemberState::Failed,
            (true, Ledger::RollingBack) => MemberState::Stuck,
            (_, Ledger::RolledBack) => MemberState::RolledBack,
            (true, _) => MemberState::Failed,
            (_, Ledger::Untouched) => MemberState::RolledBack,
            (_, Ledger::Current) => MemberState::Current,
            (_, Ledger::Refused) => MemberState::Refused,
            (_, Ledger::Prepared) => MemberState::Prepared,
            (_, Ledger::Committed) => MemberState::Committed,
            // It may have begun, and nothing is known to be wrong with it.
            (_, Ledger::Unknown | Ledger::Begun | Ledger::RollingBack) => MemberState::Waiting,
        }
    }
}

/// A server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: Box<str>,
    pub(super) cap: u32,
    /// The same by the file alone.
    pub(super) of_file: u32,
    pub(super) active: u32,
}

/// All members, waves first, in the order in which they begin.
#[derive(Debug)]
pub(super) struct Roster {
    pub(super) entries: Vec<Entry>,
    by_name: Vec<u32>,
    pub(super) servers: Vec<Server>,
    /// Why members have failed or are left alone.
    pub(super) reasons: BTreeMap<u32, Box<str>>,
}

impl Roster {
    /// Their waves and their order; of members of the same name the first one counts.
    pub(super) fn new(order: &FleetFile, mut members: Vec<Member>) -> (Self, Vec<Found>) {
        let mut names = BTreeSet::new();
        members.retain(|member| names.insert(member.name.clone()));
        drop(names);
        let assigned = waves::assign(&order.waves, &members);
        let mut all: Vec<(u32, Member)> = assigned
            .into_iter()
            .map(|wave| wave.unwrap_or(NO_WAVE))
            .zip(members)
            .collect();
        all.sort_by(|(wave, one), (other_wave, other)| {
            let waves = wave.cmp(other_wave);
            waves.then_with(|| order::compare(order.order, one, other))
        });
        let mut servers: Vec<Server> = Vec::new();
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let (mut entries, mut found) = (Vec::with_capacity(all.len()), Vec::new());
        for (wave, member) in all {
            let cap = order
                .caps
                .of_server(&member.server, &member.name.entry)
                .max(1);
            let number = *numbers.entry(member.server).or_insert_with_key(|name| {
                servers.push(Server {
                    name: name.as_str().into(),
                    cap,
                    of_file: cap,
                    active: 0,
                });
                number(servers.len() - 1)
            });
            let server = &mut servers[number as usize];
            server.cap = server.cap.min(cap);
            server.of_file = server.cap;
            entries.push(Entry {
                name: member.name.to_string().into(),
                server: number,
                wave,
                seconds: member.seconds as f32,
                state: MemberState::Waiting,
                ledger: Ledger::Untouched,
                failed: false,
                hook_failed: false,
                ordered: false,
                forced: false,
            });
            found.push(member.found);
        }
        let mut by_name: Vec<u32> = (0..number(entries.len())).collect();
        by_name.sort_by(|a, b| entries[*a as usize].name.cmp(&entries[*b as usize].name));
        let roster = Self {
            entries,
            by_name,
            servers,
            reasons: BTreeMap::new(),
        };
        (roster, found)
    }

    pub(super) fn find(&self, name: &MemberName) -> Option<MemberId> {
        let name = name.to_string();
        let place = self.by_name.binary_search_by(|member| {
            let own: &str = &self.entries[*member as usize].name;
            own.cmp(&name)
        });
        Some(MemberId(self.by_name[place.ok()?]))
    }

    pub(super) fn entry(&self, member: MemberId) -> &Entry {
        &self.entries[member.0 as usize]
    }

    pub(super) fn entry_mut(&mut self, member: MemberId) -> &mut Entry {
        &mut self.entries[member.0 as usize]
    }

    pub(super) fn name(&self, member: MemberId) -> MemberName {
        MemberName::from(self.entry(member).name.to_string())
    }
}

/// Members and servers are fewer than 2³².
pub(super) fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
