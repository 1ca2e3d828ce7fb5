//! Ctrl-C and SIGTERM, for what runs until it is told to stop.

use std::{sync::LazyLock, time::Duration};

use tokio::{task::JoinSet, time::timeout};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};
use upshift_shared::Result;

use crate::signals::Signals;

/// What this process has started in groups of their own ends before it does: a program has 5 seconds for that.
const LAST: Duration = Duration::from_secs(8);

/// Of the process, as signals are.
static ENDING: LazyLock<(CancellationToken, TaskTracker)> = LazyLock::new(|| {
    let programs = TaskTracker::new();
    programs.close();
    (CancellationToken::new(), programs)
});

/// For a program that is to end when the process is told to stop twice: it holds the one for as long as it goes
/// on, and ends when the other is cancelled.
pub(super) fn of_program() -> (TaskTrackerToken, CancellationToken) {
    let (ends, programs) = &*ENDING;
    (programs.token(), ends.clone())
}

/// The first one cancels `token`; the second one ends the process, and programs that hooks are before it: what
/// was begun is taken up again by others. A third one does not wait for these.
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
                let (ends, programs) = &*ENDING;
                ends.cancel();
                tokio::select! {
                    _ = timeout(LAST, programs.wait()) => {}
                    () = signals.next() => {}
                }
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
