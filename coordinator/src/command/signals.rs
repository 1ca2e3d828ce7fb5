//! Ctrl-C and SIGTERM, for what runs until it is told to stop.

use std::time::Duration;

use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use upshift_shared::{Error, Result};

/// The first one cancels `token`; the second one ends the process: what was begun is taken up again by
/// others.
pub(super) fn cancel_on_signal(
    background: &mut JoinSet<()>,
    token: CancellationToken,
) -> Result<()> {
    let listen = |kind| {
        signal(kind).map_err(|source| Error::Io {
            context: "listening to signals".to_owned(),
            source,
        })
    };
    let (mut interrupt, mut terminate) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
    );
    background.spawn(async move {
        loop {
            tokio::select! {
                Some(()) = interrupt.recv() => {}
                Some(()) = terminate.recv() => {}
            }
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
