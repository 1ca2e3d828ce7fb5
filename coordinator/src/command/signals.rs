//! Ctrl-C and SIGTERM, for what runs until it is told to stop.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use upshift_shared::Result;

use crate::signals::Signals;

/// The first one cancels `token`; the second one ends the process: what was begun is taken up again by
/// others.
pub(super) fn cancel_on_signal(
    background: &mut JoinSet<()>,
    token: CancellationToken,
) -> Result<()> {
    let mut signals = Signals::listen()?;
    background.spawn(async move {
        loop {
            signals.next().await;
            if token.is_cancelled() {
                tracing::warn!("told to stop twice: ends at once");
                std::process::exit(1);
            }
            token.cancel();
        }
    });
    Ok(())
}

/// What comes of `work`, unless `token` is cancelled before; `None` then.
pub(super) async fn unless<T>(
    token: &CancellationToken,
    work: impl Future<Output = Result<T>>,
) -> Result<Option<T>> {
    tokio::select! {
        done = work => done.map(Some),
        () = token.cancelled() => Ok(None),
    }
}

/// Waits, unless `token` is cancelled before.
pub(super) async fn pause(token: &CancellationToken, pause: Duration) {
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        () = token.cancelled() => {}
    }
}
