//! When something that failed is tried again, and when that ends the run.

use std::{collections::BTreeSet, time::Duration};

use super::{Failure, FailureClass, runs::RunIndex};

/// A unit whose workers were lost so often is taken to be what kills them. Losses do not count as
/// attempts: a worker is mostly lost for reasons that are none of its unit's.
pub(super) const MAX_LOSSES: u32 = 5;

/// After a failure of class `Now`: at once, then so long, doubling.
const NOW: Duration = Duration::from_millis(50);
/// After a failure of class `Later`: so long, doubling.
const LATER: Duration = Duration::from_millis(500);
/// No pause is longer.
const LONGEST: Duration = Duration::from_secs(30);

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Try again after this pause.
    Again(Duration),
    /// Cut the unit in two.
    Split,
    /// The run fails.
    Fail,
}

/// What follows the `failures`th failure (from 1) of one thing.
pub(super) fn verdict(
    class: FailureClass,
    failures: u32,
    max_attempts: u32,
    splittable: bool,
) -> Verdict {
    let pause = match class {
        FailureClass::Operator | FailureClass::Never | FailureClass::Fenced => {
            return Verdict::Fail;
        }
        FailureClass::TimedOut if splittable => return Verdict::Split,
        FailureClass::Now if failures == 1 => Duration::ZERO,
        FailureClass::Now => doubled(NOW, failures - 2),
        FailureClass::Later | FailureClass::TimedOut => doubled(LATER, failures.saturating_sub(1)),
    };
    if failures > max_attempts {
        Verdict::Fail
    } else {
        Verdict::Again(pause)
    }
}

/// The failure of a unit that took [`MAX_LOSSES`] workers with it.
pub(super) fn poison(losses: u32) -> Failure {
    Failure {
        class: FailureClass::Operator,
        message: format!(
            "{losses} workers were lost while they ran this unit, so it is not offered again; see \
             what ended them (memory of the worker's machine, or of the server's backend, most \
             often), then resume"
        ),
        sqlstate: None,
    }
}

fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(LONGEST)
}

/// Whom an alarm wakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sleeper {
    pub(super) run: RunIndex,
    /// Place of the task in its run.
    pub(super) task: u32,
    /// The unit; `None` for what the driver does for the task.
    pub(super) unit: Option<u32>,
}

/// Everything that waits for its next attempt, and the one timer that the driver keeps for it.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    sleepers: BTreeSet<(Duration, Sleeper)>,
    /// The same by their runs: the end of one must not cost as much as all others have waiting.
    by_run: BTreeSet<(Sleeper, Duration)>,
    /// What the driver's timer is set to.
    timer: Option<Duration>,
}

impl Alarms {
    pub(super) fn set(&mut self, at: Duration, sleeper: Sleeper) {
        self.sleepers.insert((at, sleeper));
        self.by_run.insert((sleeper, at));
    }

    /// A run has ended: nothing of it is tried again.
    pub(super) fn forget(&mut self, run: RunIndex) {
        // `None` goes before every unit.
        let first = Sleeper {
            run,
            task: 0,
            unit: None,
        };
        let later = self.by_run.range((first, Duration::ZERO)..);
        let own = later.take_while(|(sleeper, _)| sleeper.run == run);
        let own: Vec<(Sleeper, Duration)> = own.copied().collect();
        for (sleeper, at) in own {
            self.by_run.remove(&(sleeper, at));
            self.sleepers.remove(&(at, sleeper));
        }
    }

    /// The driver's timer has fired: it is no longer set.
    pub(super) fn fired(&mut self) {
        self.timer = None;
    }

    /// The next sleeper whose time has come.
    pub(super) fn due(&mut self, now: Duration) -> Option<Sleeper> {
        let (at, sleeper) = *self.sleepers.first()?;
        if at > now {
            return None;
        }
        self.sleepers.remove(&(at, sleeper));
        self.by_run.remove(&(sleeper, at));
        Some(sleeper)
    }

    /// When the timer has to be set to, if that is another time than it is set to now.
    pub(super) fn timer(&mut self) -> Option<Duration> {
        let next = self.sleepers.first().map(|(at, _)| *at)?;
        if self.timer.is_some_and(|set| set <= next) {
            return None;
        }
        self.timer = Some(next);
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_end() {
        let millis = |class, failures| match verdict(class, failures, 20, false) {
            Verdict::Again(pause) => pause.as_millis(),
            other => panic!("{other:?}"),
        };
        let now: Vec<_> = (1..=5).map(|n| millis(FailureClass::Now, n)).collect();
        assert_eq!(now, [0, 50, 100, 200, 400]);
        let later: Vec<_> = (1..=8).map(|n| millis(FailureClass::Later, n)).collect();
        assert_eq!(later, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(millis(FailureClass::TimedOut, 1), 500);
    }

    #[test]
    fn a_run_that_has_ended_wakes_nobody() {
        let (gone, stays) = (RunIndex::of(1), RunIndex::of(2));
        let sleeper = |run, task, unit| Sleeper { run, task, unit };
        let mut alarms = Alarms::default();
        let seconds = Duration::from_secs;
        for (at, sleeper) in [
            (3, sleeper(gone, 0, None)),
            (1, sleeper(gone, 2, Some(7))),
            (2, sleeper(stays, 0, None)),
            (1, sleeper(stays, 4, Some(0))),
        ] {
            alarms.set(seconds(at), sleeper);
        }
        alarms.forget(gone);
        assert_eq!(alarms.due(seconds(1)), Some(sleeper(stays, 4, Some(0))));
        assert_eq!(alarms.due(seconds(1)), None);
        assert_eq!(alarms.timer(), Some(seconds(2)));
        assert_eq!(alarms.due(seconds(9)), Some(sleeper(stays, 0, None)));
        assert_eq!(alarms.due(seconds(9)), None);
    }

    #[test]
    fn what_follows_a_failure() {
        use FailureClass::{Fenced, Later, Never, Now, Operator, TimedOut};
        let cases = [
            (Now, 3, false, Verdict::Again(Duration::from_millis(100))),
            (Now, 4, false, Verdict::Fail),
            (Later, 3, true, Verdict::Again(Duration::from_secs(2))),
            (Later, 4, true, Verdict::Fail),
            (TimedOut, 9, true, Verdict::Split),
            (TimedOut, 4, false, Verdict::Fail),
            (Operator, 1, true, Verdict::Fail),
            (Never, 1, true, Verdict::Fail),
            (Fenced, 1, true, Verdict::Fail),
        ];
        for (class, failures, splittable, expected) in cases {
            assert_eq!(
                verdict(class, failures, 3, splittable),
                expected,
                "{class:?} {failures}"
            );
        }
    }
}
