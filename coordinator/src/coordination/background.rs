//! The one place outside the driver and the sessions that spawns.

use std::future::Future;

use tokio::runtime::Handle;

/// Runs something that outlives the call that began it, and ends with whoever waits for it. Where the
/// runtime is gone nothing is done: what this process held runs out with its lease.
pub(super) fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(work);
    }
}
