//! How many databases are worked on at once, by what the workers have to do.

use crate::engine::Load;

/// Units that wait for a slot, for each slot that there is, so that none idles until the next look: one
/// for so many.
const WAITING: u64 = 10;
/// While nobody knows how many units a database offers at once, it is thought to be so many.
const UNITS_OF_ONE: u64 = 16;

/// As many databases as it takes to give every slot a unit, and no more: databases share the slots
/// fairly, so each one more makes the others slower, and the longest of them, which began first, late.
/// For [`super::FleetEvent::Limited`], some times a second; `active` databases are being worked on.
///
/// Never less than one.
#[must_use]
pub fn room(load: &Load, active: u32) -> u32 {
    let wanted = load.capacity + load.capacity / WAITING;
    let there = load.units_in_flight + load.units_ready;
    let free = wanted.saturating_sub(there);
    // Each one more offers as many as those do that are there.
    let more = match there.checked_div(u64::from(active)) {
        Some(of_one) if there > 0 => free.div_ceil(of_one.max(1)),
        _ => free.div_ceil(UNITS_OF_ONE),
    };
    active
        .saturating_add(u32::try_from(more).unwrap_or(u32::MAX))
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(units_in_flight: u64, units_ready: u64, capacity: u64) -> Load {
        Load {
            runs: 0,
            units_in_flight,
            units_ready,
            capacity,
        }
    }

    #[test]
    fn more_begin_while_slots_would_idle() {
        for (load, active, expected) in [
            (load(0, 0, 0), 0, 1),
            (load(0, 0, 100), 0, 7),
            (load(28, 0, 100), 7, 28),
            (load(90, 0, 100), 30, 37),
            (load(100, 10, 100), 30, 30),
            (load(100, 500, 100), 30, 30),
        ] {
            assert_eq!(room(&load, active), expected, "{load:?}");
        }
    }
}
