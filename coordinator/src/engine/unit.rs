//! The units of one open task.
//!
//! There may be a million of them, so only those that something has happened to have an entry: units that
//! were cut and never leased are ranges of numbers, those that are leased for the first time and finished
//! ones are bits.

mod fresh;
mod marks;
mod trouble;

use std::{ops::Range, time::Duration};

use upshift_shared::ids::UnitId;

use fresh::Fresh;
use marks::Marks;
use trouble::Trouble;

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

/// A unit that is on its way, and was not always well.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit {
    pub(super) state: UnitState,
    /// How often it failed.
    pub(super) failures: u32,
    /// How often its worker was lost.
    pub(super) losses: u32,
}

impl Unit {
    /// Leased for the first time.
    fn first() -> Self {
        Self {
            state: UnitState::Leased,
            failures: 0,
            losses: 0,
        }
    }

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
    marks: Marks,
    fresh: Fresh,
    /// Of those on their way all but the ones that are leased for the first time.
    trouble: Trouble,
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
            marks: Marks::default(),
            fresh: Fresh::default(),
            trouble: Trouble::default(),
            operation: None,
            cutter,
        };
        for (UnitId(unit), finished) in listed {
            if finished {
                units.marks.finish(unit);
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
        self.fresh.count() > 0 || self.trouble.offers() > 0
    }

    /// How many units there are to lease.
    pub(super) fn offers(&self) -> u32 {
        self.fresh.count().saturating_add(self.trouble.offers())
    }

    /// Takes the next unit to lease: those that were offered before go first. Gives its number and
    /// attempt.
    pub(super) fn lease(&mut self) -> Option<(u32, u32)> {
        if let Some(again) = self.trouble.lease() {
            return Some(again);
        }
        let unit = self.fresh.pop()?;
        self.marks.begin(unit);
        Some((unit, Unit::first().attempt()))
    }

    /// The entry of a unit that a lease was taken on and that is not finished, for something that has
    /// happened to it.
    pub(super) fn trouble(&mut self, unit: u32) -> Option<&mut Unit> {
        let on_the_way = self.marks.is_on_the_way(unit);
        on_the_way.then(|| self.trouble.of(unit))
    }

    /// The pause of a unit is over, if it still rests.
    pub(super) fn wake(&mut self, unit: u32) {
        if self.trouble.rests(unit) {
            self.trouble.offer(unit);
        }
    }

    /// Whether a unit of that number was ever cut.
    pub(super) fn exists(&self, unit: u32) -> bool {
        self.marks.is_finished(unit) || self.marks.is_on_the_way(unit) || self.fresh.contains(unit)
    }

    /// The unit's transaction has committed, whoever ran it. `false` when that was known, or there is
    /// no such unit.
    pub(super) fn finish(&mut self, unit: u32, elapsed: Duration) -> bool {
        if self.marks.is_on_the_way(unit) {
            self.trouble.end(unit);
        } else if self.marks.is_finished(unit) || !self.fresh.take(unit) {
            return false;
        }
        self.marks.finish(unit);
        self.unfinished -= 1;
        self.cutter.observe(unit, elapsed);
        true
    }

    /// Offers a unit again.
    pub(super) fn offer(&mut self, unit: u32) {
        if self.marks.is_on_the_way(unit) {
            self.trouble.offer(unit);
        }
    }

    /// The unit ran into a timeout and is to be cut in two.
    pub(super) fn want_split(&mut self, unit: u32) {
        if self.marks.is_on_the_way(unit) {
            self.trouble.want_split(unit);
            self.cutter.timed_out(unit);
        }
    }

    /// What the driver has to do next, when the task may use `slots` slots; it is then under way.
    pub(super) fn next_operation(&mut self, slots: u32) -> Option<Operation> {
        if self.operation.is_some() {
            return self.operation;
        }
        self.operation = if let Some(unit) = self.trouble.next_to_split() {
            Some(Operation::Split(unit))
        } else if !self.exhausted && self.fresh.count() < self.cutter.low_water(slots) {
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
        let finished = self.marks.is_finished(unit);
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
            self.trouble.end(unit);
            self.marks.forget(unit);
            self.unfinished -= 1;
            self.add_fresh(unit..unit + 1);
        }
        Ok(Split::Halved)
    }

    fn add_fresh(&mut self, units: Range<u32>) {
        self.unfinished += units.end - units.start;
        self.fresh.add(units);
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
