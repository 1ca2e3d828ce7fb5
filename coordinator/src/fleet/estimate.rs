//! How long a fleet takes: a schedule by its order, waves and caps, each database at the time that it is
//! expected to take; and what no schedule takes less than.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use upshift_shared::fleet::FleetFile;

use super::{
    lines::{Kind, Lines},
    member::Member,
    roster::{Roster, number},
};

/// How long a fleet takes. Pauses for approval and outside of the window are not in it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Estimate {
    /// Seconds that it is expected to take.
    pub seconds: f64,
    /// No schedule takes less, wave by wave: the longest database of a wave, its work over the databases
    /// that may be worked on at once, that of a server over the databases of it.
    pub lower_bound: f64,
}

/// Nanoseconds, so that times have an order.
type Nanos = u64;

/// Schedules the members that take part, at most `slots` at once where that is less than the order's
/// caps.
#[must_use]
pub fn makespan(order: &FleetFile, members: &[Member], slots: Option<u32>) -> Estimate {
    let (roster, _) = Roster::new(order, members.to_vec());
    let mut estimate = Estimate::default();
    let mut first = 0;
    for (number_of_wave, wave) in (0..).zip(&order.waves) {
        let own = roster.entries.iter().skip(first);
        let count = own.take_while(|entry| entry.wave == number_of_wave).count();
        let caps = [Some(order.caps.in_all()), slots, wave.max_databases];
        let cap = caps.into_iter().flatten().min().unwrap_or(u32::MAX).max(1);
        let members = number(first)..number(first + count);
        let one = of_wave(&roster, members, cap);
        estimate.seconds += one.seconds;
        estimate.lower_bound += one.lower_bound;
        first += count;
    }
    estimate
}

fn of_wave(roster: &Roster, members: std::ops::Range<u32>, cap: u32) -> Estimate {
    let nanos = |member: u32| (f64::from(roster.entries[member as usize].seconds) * 1e9) as Nanos;
    let mut lines = Lines::default();
    let mut work: HashMap<u32, Nanos> = HashMap::new();
    let (mut longest, mut all) = (0, 0);
    for member in members {
        let server = roster.entries[member as usize].server;
        lines.push(Kind::Forward, 0, server, member);
        *work.entry(server).or_default() += nanos(member);
        longest = longest.max(nanos(member));
        all += nanos(member);
    }
    let of_servers = work
        .iter()
        .map(|(server, work)| work / Nanos::from(roster.servers[*server as usize].cap));
    let bound = of_servers
        .max()
        .unwrap_or(0)
        .max(longest)
        .max(all / Nanos::from(cap));
    let mut active: HashMap<u32, u32> = HashMap::new();
    let mut ends: BinaryHeap<Reverse<(Nanos, u32)>> = BinaryHeap::new();
    let mut now = 0;
    loop {
        while number(ends.len()) < cap
            && let Some(member) = lines.pop(Kind::Forward, 0)
        {
            let server = roster.entries[member as usize].server;
            let busy = active.entry(server).or_default();
            *busy += 1;
            if *busy >= roster.servers[server as usize].cap {
                lines.set_room(server, false);
            }
            ends.push(Reverse((now + nanos(member), server)));
        }
        let Some(Reverse((end, server))) = ends.pop() else {
            break;
        };
        now = end;
        active.entry(server).and_modify(|busy| *busy -= 1);
        lines.set_room(server, true);
    }
    Estimate {
        seconds: now as f64 / 1e9,
        lower_bound: bound as f64 / 1e9,
    }
}
