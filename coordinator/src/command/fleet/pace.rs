//! How long databases take: what their plans are expected to, mended by what those took that are done.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use upshift_shared::clock;

use crate::fleet::Found;

/// What is expected to take less tells what any database takes beside its tasks: a session, a plan, a
/// ledger.
const SMALL: f64 = 5.0;
/// What is expected counts as much as so many seconds that were seen.
const EXPECTED_COUNTS: f64 = 60.0;

/// What was learned of databases that are done.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Learned>);

#[derive(Debug, Default, Clone, Copy)]
struct Learned {
    /// Of small ones: how many, and seconds.
    small: (f64, f64),
    /// Of others: seconds of one worker that were expected, and seconds that it took beyond a small one.
    large: (f64, f64),
}

impl Learned {
    /// What any database takes.
    fn fixed(self) -> f64 {
        let (many, seconds) = self.small;
        if many > 0.0 { seconds / many } else { 0.0 }
    }

    fn seconds(self, expected: f64) -> f64 {
        let (of, took) = self.large;
        self.fixed() + expected * (EXPECTED_COUNTS + took) / (EXPECTED_COUNTS + of)
    }
}

impl Pace {
    /// One that was expected to take so many seconds of one worker has taken so long, among others.
    pub(super) fn learn(&self, expected: f64, took: Duration) {
        let mut learned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let took = took.as_secs_f64();
        if expected < SMALL {
            learned.small.0 += 1.0;
            learned.small.1 += took;
        } else {
            learned.large.0 += expected;
            learned.large.1 += (took - learned.fixed()).max(0.0);
        }
    }

    /// How long one is thought to take.
    fn takes(&self, expected: f64) -> Duration {
        let learned = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = learned.seconds(expected);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// How long it would take, where it would not be through by `until`, since 1970, if it began now.
    pub(super) fn is_too_long(&self, expected: f64, until: Option<Duration>) -> Option<Found> {
        let left = until?.saturating_sub(clock::since_epoch());
        let takes = self.takes(expected);
        (takes > left).then_some(Found::TooLong(takes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_says_how_long_others_take() {
        let pace = Pace::default();
        let seconds = |expected| pace.takes(expected).as_secs_f64().round();
        assert_eq!(seconds(600.0), 600.0);
        // Small ones say nothing of large ones, but what any takes at least.
        for _ in 0..1_000 {
            pace.learn(0.02, Duration::from_secs(2));
        }
        assert_eq!((seconds(0.0), seconds(600.0)), (2.0, 602.0));
        // Others had the workers too.
        pace.learn(540.0, Duration::from_secs(1_142));
        assert_eq!(seconds(600.0), 1_202.0);
    }

    #[test]
    fn what_has_to_be_through_is_only_begun_where_it_would_be() {
        let pace = Pace::default();
        let hour = Some(clock::since_epoch() + Duration::from_secs(3_600));
        assert_eq!(pace.is_too_long(60.0, hour), None);
        let takes = Duration::from_secs(18_000);
        assert_eq!(
            pace.is_too_long(18_000.0, hour),
            Some(Found::TooLong(takes))
        );
        assert_eq!(pace.is_too_long(18_000.0, None), None);
    }
}
