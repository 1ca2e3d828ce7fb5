//! Bugs that can be put back: each is one line that the models, or what they stand for, once lacked.

/// A bug to put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// A unit does its work without looking whether its row is in the ledger.
    EffectWithoutRow,
    /// The ledger takes writes of any epoch.
    WritesWithoutEpoch,
    /// Whoever raises the epoch does not wait for those who hold an older one.
    RaiseWithoutLock,
    /// A unit that was split is done with the range that it had before.
    SplitUnchecked,
    /// The engine is not told of lost workers: their units are not offered again.
    LostUnitsKept,
    /// The engine is not told of draining workers: their credits are kept.
    DrainedCreditsKept,
    /// The store takes writes of whoever once led.
    StoreWithoutCompare,
    /// A cut, or a split, whose answer was lost is not taken a second time.
    CutsNotRepeatable,
    /// A database's lock is known by a token of each asking: one that is taken late is nobody's, and stays.
    LocksOrphaned,
    /// A write to the index of runs that comes late undoes the one that came after it.
    IndexUnordered,
    /// A report of a unit done counts whichever way the unit went.
    ReportsOfEitherWay,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::EffectWithoutRow,
        Self::WritesWithoutEpoch,
        Self::RaiseWithoutLock,
        Self::SplitUnchecked,
        Self::LostUnitsKept,
        Self::DrainedCreditsKept,
        Self::StoreWithoutCompare,
        Self::CutsNotRepeatable,
        Self::LocksOrphaned,
        Self::IndexUnordered,
        Self::ReportsOfEitherWay,
    ];
}
