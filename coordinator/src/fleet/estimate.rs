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

#[cfg(test)]
mod tests {
    use upshift_shared::fleet::{Caps, Order, Share, Wave};

    use super::{
        super::{
            Found,
            script::{member, order},
        },
        *,
    };

    /// Databases of two servers that take so many seconds, 60 s in all.
    fn databases() -> Vec<Member> {
        let of = |server: &str, seconds: [f64; 3]| {
            let names = seconds.map(|seconds| (format!("{server}{seconds}"), seconds));
            names.map(|(name, seconds)| member(server, &name, seconds))
        };
        let (one, other) = (of("a", [20.0, 10.0, 5.0]), of("b", [10.0, 10.0, 5.0]));
        let mut members = [one, other].concat();
        members[4].name = upshift_shared::fleet::MemberName::on("b", "again");
        members
    }

    fn capped(caps: Caps) -> FleetFile {
        FleetFile {
            caps,
            order: Order::LargeFirst,
            ..order(vec![Wave::rest("all")])
        }
    }

    #[test]
    fn caps_and_slots_say_how_long_it_takes() {
        let caps = |in_all: Option<u32>, per_server: Option<u32>| Caps {
            max_databases: in_all,
            per_server,
            ..Caps::default()
        };
        for (caps, slots, seconds, bound) in [
            // One after the other: all the work.
            (caps(Some(1), None), None, 60.0, 60.0),
            (caps(None, None), Some(1), 60.0, 60.0),
            // All at once: the longest.
            (caps(None, None), None, 20.0, 20.0),
            // Two at once: half of the work, the long ones first.
            (caps(Some(2), None), None, 30.0, 30.0),
            (caps(Some(2), None), Some(9), 30.0, 30.0),
            // A server after the other's longest: 35 s on one of them.
            (caps(None, Some(1)), None, 35.0, 35.0),
            (caps(Some(4), Some(2)), None, 20.0, 20.0),
        ] {
            let made = makespan(&capped(caps.clone()), &databases(), slots);
            let expected = Estimate {
                seconds,
                lower_bound: bound,
            };
            assert_eq!(made, expected, "{caps:?} {slots:?}");
        }
    }

    #[test]
    fn waves_come_one_after_the_other() {
        let mut file = capped(Caps::default());
        file.waves.insert(
            0,
            Wave {
                take: Share::Count(3),
                max_databases: Some(1),
                ..Wave::rest("canary")
            },
        );
        let mut members = databases();
        for member in &mut members {
            member.wave = Some(u32::from(member.server == "b"));
        }
        let made = makespan(&file, &members, None);
        // 20, 10 and 5 one after the other, then the longest of the others.
        assert_eq!((made.seconds, made.lower_bound), (45.0, 45.0));
        // What is left alone takes no time, and of none there is nothing to wait for.
        for member in &mut members {
            member.found = Found::Current;
        }
        assert_eq!(makespan(&file, &members, None), Estimate::default());
        assert_eq!(makespan(&file, &[], None), Estimate::default());
    }

    /// A long one that begins last makes everybody wait; the bound holds for any order.
    #[test]
    fn the_order_counts_and_the_bound_holds() {
        let long = [("a", 1.0), ("b", 1.0), ("c", 1.0), ("d", 1.0), ("z", 4.0)];
        let members = long.map(|(name, seconds)| member("s", name, seconds));
        for (order, seconds) in [
            (Order::LargeFirst, 4.0),
            (Order::SmallFirst, 6.0),
            (Order::ByName, 6.0),
        ] {
            let file = FleetFile {
                order,
                ..capped(Caps::default())
            };
            let made = makespan(&file, &members, Some(2));
            assert_eq!(
                (made.seconds, made.lower_bound),
                (seconds, 4.0),
                "{order:?}"
            );
        }
    }
}
