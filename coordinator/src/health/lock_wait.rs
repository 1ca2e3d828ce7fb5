//! Lock waits of others: sessions that are not ours and have waited for some time for a lock that ours
//! hold, or queue for.
//!
//! The one signal that is on unless it is turned off. A unit of ours gives way after `lock_timeout`, five
//! seconds by default, so an application should not have to wait longer for us than we wait for it. It
//! only ever slows down, because a pause could not take back a lock that a unit holds, and a run that
//! nobody watches must come to its end; fewer units at once hold fewer locks.

use std::time::Duration;

use serde_json::Value;
use upshift_shared::throttle::{Threshold, ThrottleLimits};

use super::{Moment, OURS, Signal, Verdict};
use crate::figures;

/// No session of others has to wait for longer than [`WAIT`].
const MOST: Threshold<u32> = Threshold::UpTo(0);
const WAIT: Duration = Duration::from_secs(5);
/// A wait of so many times that slows down more.
const LONG: f64 = 6.0;

/// Sessions that may wait, or `None` where nobody wants to know.
pub(super) fn most(limits: &ThrottleLimits) -> Option<u32> {
    limits.max_lock_waits.unwrap_or(MOST).up_to()
}

/// From when on a wait counts.
pub(super) fn wait(limits: &ThrottleLimits) -> Duration {
    limits.lock_wait_millis.map_or(WAIT, Duration::from_millis)
}

/// The signal.
#[derive(Debug)]
pub(super) struct LockWaits {
    most: u32,
    wait: Duration,
}

impl LockWaits {
    pub(super) fn new(most: u32, wait: Duration) -> Self {
        Self { most, wait }
    }
}

impl Signal for LockWaits {
    fn name(&self) -> &'static str {
        "lock waits"
    }

    /// `pg_blocking_pids` stops the lock manager for a moment, so it is asked only of sessions that have
    /// waited for long enough, of which there usually are none. (It is volatile: PostgreSQL does not ask
    /// it earlier.) `waitstart` is there from PostgreSQL 14 on.
    fn question(&self, _version: u32) -> String {
        let millis = self.wait.as_millis();
        format!(
            "(SELECT jsonb_build_object('sessions', count(*), 'longest', coalesce(max(w.seconds), 0))
              FROM (
                SELECT l.pid,
                       max(extract(epoch FROM clock_timestamp() - l.waitstart))::float8 AS seconds
                FROM pg_catalog.pg_locks l
                WHERE NOT l.granted
                  AND l.waitstart < clock_timestamp() - {millis} * interval '1 millisecond'
                  AND l.pid NOT IN ({OURS})
                GROUP BY l.pid
              ) w
              WHERE pg_blocking_pids(w.pid) && ARRAY({OURS}))"
        )
    }

    fn judge(&mut self, answer: &Value, _moment: Moment) -> Verdict {
        let sessions = answer["sessions"].as_u64().unwrap_or(0);
        if sessions <= u64::from(self.most) {
            return Verdict::Go;
        }
        let longest = answer["longest"].as_f64().unwrap_or(0.0);
        let reason = format!(
            "{} of others waiting for locks of this run for more than {}, the longest for {}",
            figures::counted(sessions, "session"),
            figures::seconds(self.wait.as_secs_f64()),
            figures::seconds(longest)
        );
        if longest > self.wait.as_secs_f64() * LONG {
            Verdict::quarter(reason)
        } else {
            Verdict::half(reason)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::health::testing::table;

    #[test]
    fn sessions_that_wait_for_ours_slow_the_run_down() {
        let waiting = |sessions, longest| json!({"sessions": sessions, "longest": longest});
        table(
            &mut LockWaits::new(0, WAIT),
            &[
                (0, false, waiting(0, 0.0), "go"),
                (
                    2,
                    false,
                    waiting(1, 5.5),
                    "slow 0.5: 1 session of others waiting for locks of this run for more than \
                     5.0 s, the longest for 5.5 s",
                ),
                (
                    4,
                    true,
                    waiting(2, 31.0),
                    "slow 0.25: 2 sessions of others waiting for locks of this run for more than \
                     5.0 s, the longest for 31 s",
                ),
                (6, true, waiting(0, 0.0), "go"),
            ],
        );
        table(
            &mut LockWaits::new(2, WAIT),
            &[(0, false, waiting(2, 60.0), "go")],
        );
    }

    #[test]
    fn it_is_on_unless_it_is_turned_off() {
        let mut limits = ThrottleLimits::default();
        assert_eq!((most(&limits), wait(&limits)), (Some(0), WAIT));
        limits.max_lock_waits = Some(Threshold::Off);
        assert_eq!(most(&limits), None);
    }
}
