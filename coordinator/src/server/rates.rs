//! How often somebody may ask. Whoever asks more often is told to wait, and nothing is done for it.

use std::{net::IpAddr, num::NonZeroU32};

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use tonic::{Request, Status};

use super::identity::Identity;

/// Requests a second, of one who asks.
const A_SECOND: NonZeroU32 = NonZeroU32::new(20).expect("it is not zero");
/// So many may come at once.
const AT_ONCE: NonZeroU32 = NonZeroU32::new(100).expect("it is not zero");
/// Sessions a second of those who share a certificate on one machine, and at once: all of them come back
/// together when the lead changes.
const SESSIONS_A_SECOND: NonZeroU32 = NonZeroU32::new(100).expect("it is not zero");
const SESSIONS_AT_ONCE: NonZeroU32 = NonZeroU32::new(2_000).expect("it is not zero");
/// Lines a second that strangers can bring about in the log, and at once.
const LINES_A_SECOND: NonZeroU32 = NonZeroU32::new(1).expect("it is not zero");
const LINES_AT_ONCE: NonZeroU32 = NonZeroU32::new(20).expect("it is not zero");
/// When so many who ask are known, those are forgotten who have not asked for long.
const KNOWN: usize = 4_096;

/// Counts requests by who asks, and from where.
pub struct Rates(DefaultKeyedRateLimiter<(String, Option<IpAddr>)>);

impl Default for Rates {
    fn default() -> Self {
        let quota = Quota::per_second(A_SECOND).allow_burst(AT_ONCE);
        Self(RateLimiter::keyed(quota))
    }
}

impl Rates {
    /// For sessions of workers.
    pub(super) fn of_sessions() -> Self {
        let quota = Quota::per_second(SESSIONS_A_SECOND).allow_burst(SESSIONS_AT_ONCE);
        Self(RateLimiter::keyed(quota))
    }

    /// Counts a request.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` where there were too many.
    pub fn count<T>(&self, who: &Identity, request: &Request<T>) -> Result<(), Status> {
        if self.0.len() > KNOWN {
            self.0.retain_recent();
        }
        let from = request.remote_addr().map(|address| address.ip());
        self.0
            .check_key(&(who.name.clone(), from))
            .map_err(|_| Status::resource_exhausted("too many requests: wait a second"))
    }
}

impl std::fmt::Debug for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Rates").finish_non_exhaustive()
    }
}

/// How often the log speaks of those who are turned away: it must not be theirs to fill.
pub(super) struct Log(DefaultDirectRateLimiter);

impl Default for Log {
    fn default() -> Self {
        let quota = Quota::per_second(LINES_A_SECOND).allow_burst(LINES_AT_ONCE);
        Self(RateLimiter::direct(quota))
    }
}

impl Log {
    /// Whether there is room for one more line.
    pub(super) fn has_room(&self) -> bool {
        self.0.check().is_ok()
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Log").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_too_often_is_told_to_wait() {
        let rates = Rates::default();
        let request = Request::new(());
        let who = Identity::local();
        let count = || rates.count(&who, &request);
        assert!((0..AT_ONCE.get()).all(|_| count().is_ok()));
        let refused = (0..AT_ONCE.get()).filter(|_| count().is_err()).count();
        assert!(refused > 50, "{refused}");
    }
}
