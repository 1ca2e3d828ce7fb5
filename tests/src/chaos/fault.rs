//! What can happen to a cluster.

use rand::{RngExt, rngs::StdRng};

/// A host of a cluster.
pub(super) const COORDINATORS: [&str; 2] = ["coord1", "coord2"];
/// Likewise.
pub(super) const WORKERS: [&str; 2] = ["work1", "work2"];
/// Likewise.
pub(super) const MEMBERS: [&str; 3] = ["etcd1", "etcd2", "etcd3"];
/// Likewise.
pub(super) const DATABASE: &str = "db";
/// Likewise.
pub(super) const OPERATOR: &str = "oper";

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// kill -9 of all processes of a coordinator's or worker's host.
    Kill(&'static str),
    /// SIGSTOP of the same.
    Pause(&'static str),
    /// SIGTERM to a coordinator or worker.
    Stop(&'static str),
    /// What one host says does not reach the other.
    OneWay(&'static str, &'static str),
    /// Two hosts do not reach each other.
    Cut(&'static str, &'static str),
    /// A host reaches nobody.
    Isolate(&'static str),
    /// Packets are late, and some get lost.
    Slow(&'static str, &'static str),
    /// kill -9 of a member of etcd.
    KillMember(usize),
    /// The database's server crashes.
    Crash,
}

fn one<'a>(rng: &mut StdRng, of: &[&'a str]) -> &'a str {
    of[rng.random_range(0..of.len())]
}

impl Fault {
    /// One by chance.
    pub fn of(rng: &mut StdRng) -> Self {
        let parts = [&COORDINATORS[..], &WORKERS[..]].concat();
        let part = one(rng, &parts);
        let other = match rng.random_range(0..3) {
            0 => DATABASE,
            1 => one(rng, &MEMBERS),
            _ if COORDINATORS.contains(&part) => one(rng, &WORKERS),
            _ => one(rng, &COORDINATORS),
        };
        let (from, to) = match rng.random_bool(0.5) {
            true => (part, other),
            false => (other, part),
        };
        match rng.random_range(0..12) {
            0 | 1 => Self::Kill(part),
            2 | 3 => Self::Pause(part),
            4 => Self::Stop(part),
            5 | 6 => Self::OneWay(from, to),
            7 => Self::Cut(from, to),
            8 => Self::Isolate(part),
            9 => Self::Slow(from, to),
            10 => Self::KillMember(rng.random_range(0..MEMBERS.len())),
            _ => Self::Crash,
        }
    }
}
