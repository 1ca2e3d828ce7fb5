//! The coordination store: leases that run out on the virtual clock, keys that live with them, writes that
//! compare the revision at which the leader's key was made, the index of runs.
//!
//! It answers while most of its members are up and see each other. While they do not, no lease runs out; when
//! they do again, every lease gets its whole time anew, as etcd's new leader gives it.

use std::collections::BTreeMap;

use upshift_shared::ids::RunId;

use super::{
    Defect,
    message::Message,
    process::{Caller, Node},
    queue::Millis,
    world::World,
};

/// Members.
pub(super) const MEMBERS: usize = 3;
/// How long what a process holds outlives it.
pub(super) const LEASE: Millis = 5_000;

/// What is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Leader,
    Lock(usize),
}

/// A run, as the index has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) run: RunId,
    pub(super) database: usize,
    /// Whether somebody has to drive it.
    pub(super) active: bool,
    /// Grows with what is written: a write that comes late does not undo the one that came after it.
    pub(super) order: u64,
}

/// What is asked of the store.
#[derive(Debug, Clone)]
pub(super) enum Request {
    Grant,
    KeepAlive(u64),
    /// A key that nobody has, to live with the lease. `lead`: only while the leader's key is of that revision.
    Acquire {
        key: Key,
        lease: u64,
        token: u64,
        holder: usize,
        lead: Option<i64>,
    },
    Delete {
        key: Key,
        created: i64,
    },
    Leader,
    PutRun {
        entry: Entry,
        lead: i64,
    },
    Runs,
}

/// What it answers.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    Granted(u64),
    Kept,
    /// There is no such lease.
    Gone,
    Ours(i64),
    Taken,
    /// Somebody else leads.
    NoLead,
    Written,
    Leader(Option<usize>),
    Runs(Vec<Entry>),
}

#[derive(Debug)]
struct Record {
    token: u64,
    holder: usize,
    created: i64,
    lease: u64,
}

/// What all members agree on.
#[derive(Debug, Default)]
pub(super) struct Store {
    revision: i64,
    keys: BTreeMap<Key, Record>,
    runs: BTreeMap<RunId, Entry>,
    /// When each runs out.
    leases: BTreeMap<u64, Millis>,
    next_lease: u64,
    /// Since when it has not answered.
    silent: bool,
}

impl Store {
    /// The revision at which the leader began to lead; 0 where nobody does.
    pub(super) fn lead(&self) -> i64 {
        self.keys.get(&Key::Leader).map_or(0, |key| key.created)
    }

    /// The run, as the index has it.
    pub(super) fn entry(&self, run: RunId) -> Option<&Entry> {
        self.runs.get(&run)
    }

    fn expire(&mut self, now: Millis) {
        let over = |at: &Millis| *at <= now;
        if self.leases.values().any(over) {
            self.leases.retain(|_, at| !over(at));
            let leases = &self.leases;
            self.keys.retain(|_, key| leases.contains_key(&key.lease));
            self.revision += 1;
        }
    }

    /// Most members see each other, or no longer do.
    fn hears(&mut self, now: Millis, quorum: bool) {
        if !quorum && !self.silent {
            self.expire(now);
        }
        if quorum && self.silent {
            for at in self.leases.values_mut() {
                *at = now + LEASE;
            }
        }
        self.silent = !quorum;
    }

    fn answer(&mut self, now: Millis, request: Request, compare: bool) -> Reply {
        self.expire(now);
        let leads = |store: &Self, lead: i64| !compare || store.lead() == lead;
        match request {
            Request::Grant => {
                self.next_lease += 1;
                self.leases.insert(self.next_lease, now + LEASE);
                Reply::Granted(self.next_lease)
            }
            Request::KeepAlive(lease) => match self.leases.get_mut(&lease) {
                Some(at) => {
                    *at = now + LEASE;
                    Reply::Kept
                }
                None => Reply::Gone,
            },
            Request::Acquire { lease, .. } if !self.leases.contains_key(&lease) => Reply::Gone,
            Request::Acquire {
                key,
                lease,
                token,
                holder,
                lead,
            } => match self.keys.get(&key) {
                Some(there) if there.token == token => Reply::Ours(there.created),
                Some(_) => Reply::Taken,
                None if lead.is_some_and(|lead| !leads(self, lead)) => Reply::NoLead,
                None => {
                    self.revision += 1;
                    let record = Record {
                        token,
                        holder,
                        created: self.revision,
                        lease,
                    };
                    self.keys.insert(key, record);
                    Reply::Ours(self.revision)
                }
            },
            Request::Delete { key, created } => {
                if self.keys.get(&key).is_some_and(|k| k.created == created) {
                    self.revision += 1;
                    self.keys.remove(&key);
                }
                Reply::Written
            }
            Request::Leader => Reply::Leader(self.keys.get(&Key::Leader).map(|key| key.holder)),
            Request::PutRun { entry, lead } if leads(self, lead) => {
                let there = self.runs.get(&entry.run);
                if there.is_none_or(|there| there.order <= entry.order) {
                    self.revision += 1;
                    self.runs.insert(entry.run, entry);
                }
                Reply::Written
            }
            Request::PutRun { .. } => Reply::NoLead,
            Request::Runs => Reply::Runs(self.runs.values().copied().collect()),
        }
    }
}

impl World {
    /// A request has reached a member.
    pub(super) fn store_asked(&mut self, member: Node, by: Caller, call: u64, request: Request) {
        let quorum = self.has_quorum(member);
        let now = self.now;
        self.store.hears(now, quorum);
        if !quorum {
            return;
        }
        let claimed = match &request {
            Request::PutRun { lead, .. } => Some(*lead),
            Request::Acquire { lead, .. } => *lead,
            _ => None,
        };
        let compare = !self.has(Defect::StoreWithoutCompare);
        self.store.expire(now);
        let before = self.store.revision;
        let reply = self.store.answer(now, request, compare);
        if let Some(claimed) = claimed
            && self.store.revision > before
        {
            let verdict = self.invariants.lead.landed(claimed, self.store.lead());
            self.check(verdict);
        }
        let from = self.processes.caller(member);
        self.send(from, by, Message::StoreReply { call, reply });
    }

    /// Whether this member and those that it sees are most.
    fn has_quorum(&self, member: Node) -> bool {
        let others = (0..MEMBERS).map(Node::Member);
        let seen = others.filter(|other| {
            let up = self.processes.get(*other).up;
            let cut =
                self.processes.is_cut(member, *other) || self.processes.is_cut(*other, member);
            up && !cut
        });
        seen.count() * 2 > MEMBERS
    }

    /// A member has gone, or come back.
    pub(super) fn members_changed(&mut self) {
        let quorum = (0..MEMBERS).any(|n| {
            let member = Node::Member(n);
            self.processes.get(member).up && self.has_quorum(member)
        });
        let now = self.now;
        self.store.hears(now, quorum);
    }
}
