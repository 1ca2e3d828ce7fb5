//! How often somebody may ask. Whoever asks more often is told to wait, and nothing is done for it.

use std::{net::IpAddr, num::NonZeroU32};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tonic::{Request, Status};

use super::identity::Identity;

/// Requests a second, of one who asks.
const A_SECOND: NonZeroU32 = NonZeroU32::new(20).expect("it is not zero");
/// So many may come at once.
const AT_ONCE: NonZeroU32 = NonZeroU32::new(100).expect("it is not zero");
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
