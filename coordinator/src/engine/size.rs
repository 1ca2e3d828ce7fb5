//! How large the units of a task are, and how many are cut at a time.
//!
//! Units aim at 1 to 3 seconds: long enough that the cost of a transaction does not show, short enough
//! that a lost one costs little and locks are not held for long. Where nobody waits for what they lock
//! they may be longer: a unit that joins another table may have to hash all of it first, and then takes
//! ten times as long as that. Every cut is a query, so units are cut in batches that grow while the size
//! fits.

use std::{collections::BTreeSet, ops::Range, time::Duration};

/// Rows of the first units: even at a millisecond a row they end within seconds.
const START: u64 = 5_000;
/// The same where nobody waits for them: …
const PATIENT_START: Range<u64> = 40_000..400_000;
/// … a part of the whole for each slot.
const PATIENT_PARTS: u64 = 4;
/// Below this, a unit's transaction costs more than its rows.
const FLOOR: u64 = 100;
/// Above this, a unit's before-images are written in one transaction for too long.
const CEILING: u64 = 5_000_000;
/// Seconds that a unit should take.
const AIM: f64 = 2.0;
/// Sizes whose units take seconds in this range are left as they are.
const FITS: Range<f64> = 1.0..3.0;
/// Where nobody waits for them, so many times what a unit takes before its first row, …
const WORTH: f64 = 10.0;
/// … and at most so many seconds.
const PATIENCE: f64 = 600.0;
/// A size whose units take so much less or more than they should is left as it is.
const NEAR: Range<f64> = 0.5..1.5;
/// At most so much larger or smaller at once: the next rows may be unlike the last.
const STEP: u64 = 4;
/// The same where nobody waits for them.
const PATIENT_STEP: u64 = 8;
/// A batch has at least so many units for each slot, …
const BATCH_LEAST: u32 = 4;
/// … the same before the size is known, where nobody waits for them, …
const PATIENT_BATCH_LEAST: u32 = 2;
/// … and at most so many: what has been cut is not cut again when the pace changes.
const BATCH_MOST: u32 = 64;
/// Weight of the newest unit in the smoothed pace.
const NEWEST: f64 = 0.3;

/// Decides the size of a task's next units from how long the last ones took. Durable only in its
/// effect: the ledger has the bounds of what was cut, a resumed run starts from [`START`] again.
#[derive(Debug)]
pub(super) struct Cutter {
    rows: u64,
    batch: u32,
    patient: bool,
    /// Units of the newest batch, with those before it that were to have as many rows each, and these rows.
    newest: (Range<u32>, u64),
    /// The same of the others, by number.
    older: Vec<(Range<u32>, u64)>,
    /// Units that were split: they no longer have their batch's size.
    split: BTreeSet<u32>,
    /// Smoothed seconds a row.
    pace: Option<f64>,
    /// Where nobody waits for them, of each size so far: its rows, how many units of it were done, and their seconds.
    sizes: Vec<(u64, u32, f64)>,
}

impl Cutter {
    /// `first` are the rows of the first units, where somebody asked for them; `patient` are about all rows
    /// of the task, where nobody waits for its units.
    pub(super) fn new(first: Option<u64>, patient: Option<u64>) -> Self {
        let part = |rows| rows / PATIENT_PARTS;
        let start = patient.map_or(START, |rows| {
            part(rows).clamp(PATIENT_START.start, PATIENT_START.end)
        });
        Self {
            rows: first.unwrap_or(start).clamp(1, CEILING),
            batch: 0,
            patient: patient.is_some(),
            newest: (0..0, 0),
            older: Vec::new(),
            split: BTreeSet::new(),
            pace: None,
            sizes: Vec::new(),
        }
    }

    /// Rows a unit, and units, of the next batch, for a task that may use `slots` slots.
    pub(super) fn next(&mut self, slots: u32) -> (u64, u32) {
        let wanted = self.pace.map(|pace| self.wanted(pace));
        let fits = wanted == Some(self.rows);
        self.rows = wanted.unwrap_or(self.rows);
        let grown = if fits || self.rows == CEILING || self.rows == FLOOR {
            self.batch.saturating_mul(2)
        } else {
            self.batch
        };
        let least = match self.patient && !fits {
            true => PATIENT_BATCH_LEAST,
            false => BATCH_LEAST,
        };
        self.batch = grown.clamp(
            slots.saturating_mul(least),
            slots.saturating_mul(BATCH_MOST),
        );
        (self.rows, self.batch)
    }

    /// Rows that the next units should have at this pace.
    fn wanted(&self, pace: f64) -> u64 {
        if self.patient {
            return self.patiently();
        }
        if FITS.contains(&(pace * self.rows as f64)) {
            return self.rows;
        }
        let wanted = (AIM / pace.max(1e-12)) as u64;
        wanted
            .clamp(self.rows / STEP, self.rows.saturating_mul(STEP))
            .clamp(FLOOR, CEILING)
    }

    /// The same where nobody waits for them: what a unit takes before its first row shall not show.
    fn patiently(&self) -> u64 {
        let (before, row) = self.parts();
        let wanted = (before * WORTH).clamp(AIM, PATIENCE);
        let seconds = before + row * self.rows as f64;
        if NEAR.contains(&(seconds / wanted)) {
            return self.rows;
        }
        let rows = ((wanted - before).max(AIM) / row) as u64;
        rows.clamp(
            self.rows / PATIENT_STEP,
            self.rows.saturating_mul(PATIENT_STEP),
        )
        .clamp(FLOOR, CEILING)
    }

    /// Seconds of a unit before its first row, and of each row: the line that comes nearest to what
    /// units took. With one size so far, all of it is the rows'.
    fn parts(&self) -> (f64, f64) {
        const LEAST: f64 = 1e-9;
        let units: f64 = self.sizes.iter().map(|size| f64::from(size.1)).sum();
        let seconds: f64 = self.sizes.iter().map(|size| size.2).sum();
        let rows: f64 = self
            .sizes
            .iter()
            .map(|size| size.0 as f64 * f64::from(size.1))
            .sum();
        let (rows, seconds) = (rows / units.max(1.0), seconds / units.max(1.0));
        let (mut spread, mut together) = (0.0, 0.0);
        for (of_unit, count, took) in &self.sizes {
            let apart = *of_unit as f64 - rows;
            spread += f64::from(*count) * apart * apart;
            together += apart * (took - f64::from(*count) * seconds);
        }
        let only = (seconds / rows.max(1.0)).max(LEAST);
        if spread < 1.0 {
            return (0.0, only);
        }
        let row = (together / spread).clamp(LEAST, only.max(LEAST));
        ((seconds - row * rows).max(0.0), row)
    }

    /// With fewer units left uncut ones are asked for, so that no slot waits for the query.
    pub(super) fn low_water(&self, slots: u32) -> u32 {
        if self.patient && self.pace.is_none() {
            // Cutting by pages takes no time, and the size of the next ones is not known yet.
            return 1;
        }
        slots.max(self.batch / 4)
    }

    /// Units were cut at the size that [`Self::next`] gave last.
    pub(super) fn cut(&mut self, units: Range<u32>) {
        if units.is_empty() {
            return;
        }
        let (newest, rows) = &mut self.newest;
        if *rows == self.rows && newest.end == units.start {
            newest.end = units.end;
        } else {
            let older = std::mem::replace(&mut self.newest, (units, self.rows));
            self.older.extend((!older.0.is_empty()).then_some(older));
        }
    }

    /// A unit took this long.
    pub(super) fn observe(&mut self, unit: u32, elapsed: Duration) {
        let Some(rows) = self.rows_of(unit) else {
            return;
        };
        let seconds = elapsed.as_secs_f64();
        if self.patient {
            self.observe_patiently(rows, seconds);
        }
        let newest = seconds / rows as f64;
        self.pace = Some(match self.pace {
            None => newest,
            Some(pace) => pace + NEWEST * (newest - pace),
        });
    }

    fn observe_patiently(&mut self, rows: u64, seconds: f64) {
        match self.sizes.iter_mut().find(|size| size.0 == rows) {
            Some((_, count, sum)) => {
                *count += 1;
                *sum += seconds;
            }
            None => self.sizes.push((rows, 1, seconds)),
        }
    }

    /// A unit ran into the statement timeout, however long that is: those to come shall be half as
    /// large, at the most.
    pub(super) fn timed_out(&mut self, unit: u32) {
        if let Some(rows) = self.rows_of(unit) {
            let at_least = AIM / (rows as f64 / 2.0);
            self.pace = Some(self.pace.map_or(at_least, |pace| pace.max(at_least)));
        }
    }

    /// A unit was split.
    pub(super) fn split(&mut self, unit: u32) {
        self.split.insert(unit);
    }

    fn rows_of(&self, unit: u32) -> Option<u64> {
        if self.split.contains(&unit) {
            return None;
        }
        if self.newest.0.contains(&unit) {
            return Some(self.newest.1);
        }
        let after = self.older.partition_point(|(units, _)| units.start <= unit);
        let (units, rows) = self.older.get(after.checked_sub(1)?)?;
        units.contains(&unit).then_some(*rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_units_are_as_large_as_asked() {
        assert_eq!(Cutter::new(None, None).next(4), (START, 16));
        assert_eq!(Cutter::new(Some(50), None).next(4), (50, 16));
        assert_eq!(Cutter::new(Some(0), None).next(1), (1, 4));
        assert_eq!(Cutter::new(Some(u64::MAX), None).next(1), (CEILING, 4));
    }

    /// Sizes and batches when a row takes so many microseconds and a unit so many milliseconds more.
    fn cuts(micros_a_row: u64, overhead_millis: u64, slots: u32, times: usize) -> Vec<(u64, u32)> {
        let cutter = Cutter::new(None, None);
        cuts_of(cutter, (micros_a_row, overhead_millis), slots, times)
    }

    fn cuts_of(
        mut cutter: Cutter,
        (micros_a_row, overhead_millis): (u64, u64),
        slots: u32,
        times: usize,
    ) -> Vec<(u64, u32)> {
        let mut first = 0;
        let mut cuts = Vec::new();
        for _ in 0..times {
            let (rows, units) = cutter.next(slots);
            cutter.cut(first..first + units);
            let elapsed =
                Duration::from_micros(rows * micros_a_row) + Duration::from_millis(overhead_millis);
            for unit in first..first + units {
                cutter.observe(unit, elapsed);
            }
            first += units;
            cuts.push((rows, units));
        }
        cuts
    }

    #[test]
    fn sizes_come_to_fit_and_batches_grow() {
        // 50,000 rows a second: 100,000 rows in two seconds.
        let expected = [
            (5_000, 16),
            (20_000, 16),
            (80_000, 16),
            (80_000, 32),
            (80_000, 64),
            (80_000, 128),
            (80_000, 256),
            (80_000, 256),
        ];
        assert_eq!(cuts(20, 0, 4, 8), expected);
        // 1,000 rows a second: 2,000.
        assert_eq!(cuts(1_000, 0, 1, 3), [(5_000, 4), (2_000, 4), (2_000, 8)]);
    }

    #[test]
    fn what_nobody_waits_for_is_worth_what_it_takes_before_its_first_row() {
        let patient = |rows, cost, times| cuts_of(Cutter::new(None, Some(rows)), cost, 2, times);
        // 500,000 rows a second and nothing else: two seconds are enough.
        let expected = [(400_000, 4), (1_000_000, 4), (1_000_000, 8)];
        assert_eq!(patient(1_000_000_000, (2, 0), 3), expected);
        assert_eq!(patient(600_000, (2, 0), 1), [(150_000, 4)]);
        assert_eq!(patient(1, (2, 0), 1), [(40_000, 4)]);
        // Two seconds more a unit, for a table to be hashed: twenty seconds are not too much.
        let rows: Vec<u64> = patient(1_000_000_000, (10, 2_000), 4)
            .iter()
            .map(|cut| cut.0)
            .collect();
        assert_eq!(rows, [400_000, 133_333, 1_066_664, 1_066_664]);
    }

    #[test]
    fn sizes_stay_within_their_bounds() {
        assert_eq!(cuts(1_000_000, 0, 1, 4).last(), Some(&(FLOOR, 8)));
        assert_eq!(cuts(0, 1, 1, 9).last().map(|cut| cut.0), Some(CEILING));
        assert_eq!(cuts(0, 0, 1, 9).last().map(|cut| cut.0), Some(CEILING));
    }

    #[test]
    fn a_timeout_halves_the_units_to_come() {
        let mut cutter = Cutter::new(None, None);
        cutter.next(1);
        cutter.cut(0..4);
        cutter.timed_out(0);
        assert_eq!(cutter.next(1).0, 2_500);
        cutter.cut(4..8);
        cutter.split(4);
        cutter.timed_out(4);
        assert_eq!(cutter.next(1).0, 2_500, "a split unit's size is not known");
    }
}
