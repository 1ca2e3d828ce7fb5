//! The units of one open task.
//!
//! There may be a million of them, so only those that are on the way have an entry: units that were
//! cut and never offered are ranges of numbers, finished ones are bits.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
    time::Duration,
};

use upshift_shared::ids::UnitId;

use super::size::Cutter;

/// Where a unit stands.
///
/// ```text
///              LeaseUnit              UnitFinished (from whomever, whenever)
///  (fresh) ──────────────► Leased ─────────────────────────────────────────► (finished)
///                            │ ▲
///    failed: Now, Later      │ │ LeaseUnit
///  ┌─────────────────────────┤ └───────────────────────────┐
///  ▼          pause over     │  WorkerLost, failed at once │
///  Resting ──────────────────┼───────────────────────► Offered
///                            │ TimedOut                    ▲ UnitSplit: None
///                            └───────────────► Splitting ──┴──► two fresh units
/// ```
///
/// All of it is volatile: the ledger knows which units were cut (`upshift.cut`) and which are
/// finished (`upshift.unit`, written by the unit itself), and that is all that a resumed run needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnitState {
    /// To be leased again. Set after a loss, a pause, or a split that could not be.
    Offered,
    /// A worker has it. Set by the engine with `LeaseUnit`.
    Leased,
    /// Waits for its next attempt. Set by `UnitFailed`.
    Resting,
    /// Is to be cut in two, or being so. Set by `UnitFailed` with a timeout.
    Splitting,
}

/// A unit that is on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit {
    pub(super) state: UnitState,
    /// How often it failed.
    pub(super) failures: u32,
    /// How often its worker was lost.
    pub(super) losses: u32,
}

impl Unit {
    /// The attempt at hand, from 1.
    pub(super) fn attempt(self) -> u32 {
        1 + self.failures + self.losses
    }
}

/// What the driver is to do next for an open task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// Cut so many units of so many rows.
    Cut {
        /// Rows a unit.
        rows: u64,
        /// Units.
        units: u32,
    },
    /// Cut this unit in two.
    Split(u32),
}

/// The units of one open task.
#[derive(Debug)]
pub(super) struct Units {
    /// The number that the next unit to be cut gets.
    next: u32,
    /// Units that exist and are not finished.
    unfinished: u32,
    exhausted: bool,
    finished: Bits,
    fresh: VecDeque<Range<u32>>,
    fresh_count: u32,
    offered: VecDeque<u32>,
    live: HashMap<u32, Unit>,
    to_split: VecDeque<u32>,
    /// What the driver was asked last.
    operation: Option<Operation>,
    cutter: Cutter,
}

impl Units {
    /// `listed` are the units that exist, and whether each is finished.
    pub(super) fn new(mut listed: Vec<(UnitId, bool)>, exhausted: bool, cutter: Cutter) -> Self {
        listed.sort_unstable();
        listed.dedup_by_key(|(unit, _)| *unit);
        let mut units = Self {
            next: listed.last().map_or(0, |(unit, _)| unit.0 + 1),
            unfinished: 0,
            exhausted,
            finished: Bits::default(),
            fresh: VecDeque::new(),
            fresh_count: 0,
            offered: VecDeque::new(),
            live: HashMap::new(),
            to_split: VecDeque::new(),
            operation: None,
            cutter,
        };
        for (UnitId(unit), finished) in listed {
            if finished {
                units.finished.set(unit);
            } else {
                units.add_fresh(unit..unit + 1);
            }
        }
        units
    }

    /// Whether everything is finished and there is nothing more to cut.
    pub(super) fn complete(&self) -> bool {
        self.exhausted && self.unfinished == 0 && self.operation.is_none()
    }

    /// Whether there is a unit to lease.
    pub(super) fn has_offer(&self) -> bool {
        self.fresh_count > 0 || !self.offered.is_empty()
    }

    /// How many units there are to lease.
    pub(super) fn offers(&self) -> u32 {
        self.fresh_count
            .saturating_add(u32::try_from(self.offered.len()).unwrap_or(u32::MAX))
    }

    /// Takes the next unit to lease: those that were offered before go first. Gives its number and
    /// attempt.
    pub(super) fn lease(&mut self) -> Option<(u32, u32)> {
        if let Some(unit) = self.offered.pop_front() {
            let entry = self.live.get_mut(&unit)?;
            entry.state = UnitState::Leased;
            return Some((unit, entry.attempt()));
        }
        let range = self.fresh.front_mut()?;
        let unit = range.start;
        range.start += 1;
        if range.start == range.end {
            self.fresh.pop_front();
        }
        self.fresh_count -= 1;
        let entry = Unit {
            state: UnitState::Leased,
            failures: 0,
            losses: 0,
        };
        self.live.insert(unit, entry);
        Some((unit, 1))
    }

    /// The entry of a unit that a lease was taken on and that is not finished.
    pub(super) fn live(&mut self, unit: u32) -> Option<&mut Unit> {
        self.live.get_mut(&unit)
    }

    /// Whether a unit of that number was ever cut.
    pub(super) fn exists(&self, unit: u32) -> bool {
        self.finished.get(unit)
            || self.live.contains_key(&unit)
            || self.fresh.iter().any(|range| range.contains(&unit))
    }

    /// The unit's transaction has committed, whoever ran it. `false` when that was known, or there is
    /// no such unit.
    pub(super) fn finish(&mut self, unit: u32, elapsed: Duration) -> bool {
        if let Some(entry) = self.live.remove(&unit) {
            match entry.state {
                UnitState::Offered => self.offered.retain(|u| *u != unit),
                UnitState::Splitting => self.to_split.retain(|u| *u != unit),
                UnitState::Leased | UnitState::Resting => {}
            }
        } else if self.finished.get(unit) || !self.take_fresh(unit) {
            return false;
        }
        self.finished.set(unit);
        self.unfinished -= 1;
        self.cutter.observe(unit, elapsed);
        true
    }

    /// Offers a unit again.
    pub(super) fn offer(&mut self, unit: u32) {
        if let Some(entry) = self.live.get_mut(&unit) {
            entry.state = UnitState::Offered;
            self.offered.push_back(unit);
        }
    }

    /// The unit ran into a timeout and is to be cut in two.
    pub(super) fn want_split(&mut self, unit: u32) {
        if let Some(entry) = self.live.get_mut(&unit) {
            entry.state = UnitState::Splitting;
            self.to_split.push_back(unit);
            self.cutter.timed_out(unit);
        }
    }

    /// What the driver has to do next, when the task may use `slots` slots; it is then under way.
    pub(super) fn next_operation(&mut self, slots: u32) -> Option<Operation> {
        if self.operation.is_some() {
            return self.operation;
        }
        self.operation = if let Some(unit) = self.to_split.pop_front() {
            Some(Operation::Split(unit))
        } else if !self.exhausted && self.fresh_count < self.cutter.low_water(slots) {
            let (rows, units) = self.cutter.next(slots);
            Some(Operation::Cut { rows, units })
        } else {
            None
        };
        self.operation
    }

    /// The driver cut units. `Err` says why that cannot be.
    pub(super) fn cut(&mut self, first: u32, count: u32, exhausted: bool) -> Result<(), String> {
        if !matches!(self.operation, Some(Operation::Cut { .. })) {
            return Err("no cut was asked for".to_owned());
        }
        let end = first.checked_add(count);
        let Some(end) = end.filter(|_| first >= self.next || count == 0) else {
            return Err(format!("its next unit is {}", UnitId(self.next)));
        };
        if count == 0 && !exhausted {
            return Err("a cut without units must be the last".to_owned());
        }
        self.operation = None;
        self.exhausted = exhausted;
        self.cutter.cut(first..end);
        if count > 0 {
            self.next = end;
            self.add_fresh(first..end);
        }
        Ok(())
    }

    /// The driver split a unit, or could not. `Err` says why that cannot be.
    pub(super) fn split(&mut self, unit: u32, new: Option<u32>) -> Result<Split, String> {
        if self.operation != Some(Operation::Split(unit)) {
            return Err(format!("no split of {} was asked for", UnitId(unit)));
        }
        if new.is_some_and(|new| new < self.next) {
            return Err(format!("its next unit is {}", UnitId(self.next)));
        }
        self.operation = None;
        // A late commit may have finished it meanwhile.
        let finished = self.finished.get(unit);
        let Some(new) = new else {
            return Ok(if finished {
                Split::Moot
            } else {
                Split::Refused
            });
        };
        self.next = new + 1;
        self.cutter.split(unit);
        self.add_fresh(new..new + 1);
        if !finished {
            self.live.remove(&unit);
            self.unfinished -= 1;
            self.add_fresh(unit..unit + 1);
        }
        Ok(Split::Halved)
    }

    fn add_fresh(&mut self, units: Range<u32>) {
        let count = units.end - units.start;
        self.unfinished += count;
        self.fresh_count += count;
        match self.fresh.back_mut() {
            Some(last) if last.end == units.start => last.end = units.end,
            _ => self.fresh.push_back(units),
        }
    }

    /// Takes a unit out of the fresh ones. Linear in their ranges, but only for a commit that comes
    /// in from before this coordinator.
    fn take_fresh(&mut self, unit: u32) -> bool {
        let Some(i) = self.fresh.iter().position(|range| range.contains(&unit)) else {
            return false;
        };
        let range = self.fresh[i].clone();
        self.fresh[i] = range.start..unit;
        self.fresh.insert(i + 1, unit + 1..range.end);
        self.fresh.retain(|range| !range.is_empty());
        self.fresh_count -= 1;
        true
    }
}

/// What came of a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Split {
    /// There are two units now.
    Halved,
    /// It cannot be split any further.
    Refused,
    /// The unit is finished already.
    Moot,
}

/// A set of small numbers, a bit each.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn get(&self, bit: u32) -> bool {
        self.0
            .get(bit as usize / 64)
            .is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    fn set(&mut self, bit: u32) {
        let word = bit as usize / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (bit % 64);
    }
}
