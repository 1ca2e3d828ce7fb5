//! The one place outside the driver and the sessions that spawns.

use std::future::Future;

/// Runs something that outlives the call that began it, and ends with whoever waits for it.
#[expect(
    clippy::disallowed_methods,
    reason = "watches, keepers of leases and deletions of what was dropped outlive the calls that began them"
)]
pub(super) fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(work);
}
