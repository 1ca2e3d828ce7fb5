//! The one place that reads the clock. Durable times come from PostgreSQL; this is for durations.

use std::time::{Duration, Instant};

/// The present instant.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that may, so that all durations are measured alike"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// What this machine takes for the time since 1970, for what other machines compare with theirs:
/// certificates. Nothing that is durable of a run comes from it.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that may, so that it is seen what does"
)]
pub fn since_epoch() -> Duration {
    let epoch = std::time::SystemTime::UNIX_EPOCH;
    std::time::SystemTime::now()
        .duration_since(epoch)
        .unwrap_or_default()
}

/// Measures from when it was made.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    #[must_use]
    pub fn start() -> Self {
        Self(now())
    }

    /// The time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        now().duration_since(self.0)
    }
}
