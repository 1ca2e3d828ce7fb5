//! Units that were cut and never leased, as ranges of their numbers.

use std::{collections::VecDeque, ops::Range};

/// The units.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    count: u32,
    /// Empty only where there are no others. Mostly it is all of them, and at hand.
    first: Range<u32>,
    others: VecDeque<Range<u32>>,
}

impl Fresh {
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Behind those that are there.
    pub(super) fn add(&mut self, units: Range<u32>) {
        if units.is_empty() {
            return;
        }
        self.count += units.end - units.start;
        let last = self.others.back_mut().unwrap_or(&mut self.first);
        if Range::is_empty(last) {
            *last = units;
        } else if last.end == units.start {
            last.end = units.end;
        } else {
            self.others.push_back(units);
        }
    }

    /// The one that goes next.
    pub(super) fn pop(&mut self) -> Option<u32> {
        let unit = self.first.next()?;
        self.count -= 1;
        self.refill();
        Some(unit)
    }

    fn refill(&mut self) {
        if self.first.is_empty() {
            self.first = self.others.pop_front().unwrap_or_default();
        }
    }

    pub(super) fn contains(&self, unit: u32) -> bool {
        self.first.contains(&unit) || self.others.iter().any(|range| range.contains(&unit))
    }

    /// Takes a unit out. Linear in the ranges, but only for a commit that comes in from before this
    /// coordinator. `false` when it is not there.
    pub(super) fn take(&mut self, unit: u32) -> bool {
        let split = |range: &Range<u32>| (range.start..unit, unit + 1..range.end);
        if self.first.contains(&unit) {
            let (before, after) = split(&self.first);
            self.first = before;
            self.others.push_front(after);
        } else {
            let place = self.others.iter().position(|range| range.contains(&unit));
            let Some(place) = place else {
                return false;
            };
            let (before, after) = split(&self.others[place]);
            self.others[place] = before;
            self.others.insert(place + 1, after);
        }
        self.others.retain(|range| !range.is_empty());
        self.refill();
        self.count -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(fresh: &mut Fresh) -> Vec<u32> {
        std::iter::from_fn(|| fresh.pop()).collect()
    }

    #[test]
    fn units_come_out_as_they_went_in() {
        let mut fresh = Fresh::default();
        for units in [3..5, 5..6, 0..2, 9..9, 2..3, 8..9] {
            fresh.add(units);
        }
        assert_eq!(fresh.count(), 7);
        assert_eq!(all(&mut fresh), [3, 4, 5, 0, 1, 2, 8]);
        assert_eq!(fresh.count(), 0);
        fresh.add(1..2);
        assert_eq!(all(&mut fresh), [1]);
    }

    #[test]
    fn a_unit_can_be_taken_from_anywhere() {
        for taken in [0, 1, 3, 5, 6, 8] {
            let mut fresh = Fresh::default();
            fresh.add(0..4);
            fresh.add(5..7);
            fresh.add(8..9);
            assert!(!fresh.take(4) && !fresh.take(7) && !fresh.take(9));
            assert!(fresh.take(taken) && !fresh.take(taken) && !fresh.contains(taken));
            assert_eq!(fresh.count(), 6);
            let left: Vec<u32> = [0, 1, 2, 3, 5, 6, 8]
                .into_iter()
                .filter(|u| *u != taken)
                .collect();
            assert!(left.iter().all(|unit| fresh.contains(*unit)));
            assert_eq!(all(&mut fresh), left);
        }
    }
}
