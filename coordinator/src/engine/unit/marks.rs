//! How far the units of a task are, two bits for each, side by side: a unit touches one place in memory.

/// Which units were begun, and which are finished.
#[derive(Debug, Default)]
pub(super) struct Marks(Vec<Word>);

/// Of 64 units.
#[derive(Debug, Default, Clone, Copy)]
struct Word {
    begun: u64,
    finished: u64,
}

impl Marks {
    fn of(&self, unit: u32) -> (Word, u64) {
        let word = self.0.get(unit as usize / 64).copied();
        (word.unwrap_or_default(), 1 << (unit % 64))
    }

    fn of_mut(&mut self, unit: u32) -> (&mut Word, u64) {
        let place = unit as usize / 64;
        if place >= self.0.len() {
            self.0.resize(place + 1, Word::default());
        }
        (&mut self.0[place], 1 << (unit % 64))
    }

    /// A lease was taken on it.
    pub(super) fn begin(&mut self, unit: u32) {
        let (word, bit) = self.of_mut(unit);
        word.begun |= bit;
    }

    /// It is no longer what a lease was taken on.
    pub(super) fn forget(&mut self, unit: u32) {
        let (word, bit) = self.of_mut(unit);
        word.begun &= !bit;
    }

    pub(super) fn finish(&mut self, unit: u32) {
        let (word, bit) = self.of_mut(unit);
        word.finished |= bit;
    }

    /// Whether a lease was taken on it, and it is not finished.
    pub(super) fn is_on_the_way(&self, unit: u32) -> bool {
        let (word, bit) = self.of(unit);
        word.begun & !word.finished & bit != 0
    }

    pub(super) fn is_finished(&self, unit: u32) -> bool {
        let (word, bit) = self.of(unit);
        word.finished & bit != 0
    }
}
