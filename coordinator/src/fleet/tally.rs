//! How many members stand how, of each wave.

use std::ops::Range;

use super::member::MemberState;

/// Members by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    counts: [u32; MemberState::ALL.len()],
    /// Those that count as failed, rolled back by now or not.
    pub failed: u32,
}

impl Tally {
    /// How many stand so.
    #[must_use]
    pub fn of(&self, state: MemberState) -> u32 {
        self.counts[state as usize]
    }

    /// How many there are.
    #[must_use]
    pub fn members(&self) -> u32 {
        self.counts.iter().sum()
    }

    /// To how many something is being done.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.sum(MemberState::is_active)
    }

    /// To how many nothing more is done without an order.
    #[must_use]
    pub fn ended(&self) -> u32 {
        self.sum(MemberState::has_ended)
    }

    fn sum(&self, which: impl Fn(MemberState) -> bool) -> u32 {
        let states = MemberState::ALL.into_iter().filter(|state| which(*state));
        states.map(|state| self.of(state)).sum()
    }

    pub(super) fn enter(&mut self, state: MemberState) {
        self.counts[state as usize] += 1;
    }

    pub(super) fn leave(&mut self, state: MemberState) {
        self.counts[state as usize] -= 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.failed += other.failed;
    }
}

/// A wave under way.
#[derive(Debug)]
pub(super) struct WaveSide {
    /// Its members, which follow each other.
    pub(super) members: Range<u32>,
    pub(super) tally: Tally,
    /// Those to which something is being done; the same as `tally.active()`, at no cost.
    pub(super) active: u32,
    /// Those that have ended.
    pub(super) ended: u32,
    /// Somebody was told that it has ended, …
    pub(super) end_told: bool,
    /// … and that it waits to be approved.
    pub(super) approval_told: bool,
}

impl WaveSide {
    pub(super) fn new(members: Range<u32>) -> Self {
        Self {
            members,
            tally: Tally::default(),
            active: 0,
            ended: 0,
            end_told: false,
            approval_told: false,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended == self.members.end - self.members.start
    }

    pub(super) fn enter(&mut self, state: MemberState) {
        self.tally.enter(state);
        self.active += u32::from(state.is_active());
        self.ended += u32::from(state.has_ended());
    }

    pub(super) fn leave(&mut self, state: MemberState) {
        self.tally.leave(state);
        self.active -= u32::from(state.is_active());
        self.ended -= u32::from(state.has_ended());
    }
}
