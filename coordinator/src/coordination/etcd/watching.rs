//! Watches: a message for each change of a topic. A watch that breaks is opened anew where it was; where
//! etcd has compacted that away meanwhile, from now on, with a message all the same: the reader asks
//! for what is.

use std::{sync::Arc, time::Duration};

use etcd_client::{Client, GetOptions, WatchOptions, WatchStream};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::patience::authenticates_again;

/// How long after a broken watch the next one is tried.
const AGAIN_AFTER: Duration = Duration::from_millis(300);
/// A watch that is not open by then is tried again.
const OPEN_DEADLINE: Duration = Duration::from_secs(5);

/// Keys that begin alike, watched.
pub(super) struct Watching {
    pub(super) client: Arc<Client>,
    pub(super) prefix: String,
    /// The revision from which on changes have not been told.
    pub(super) next: i64,
    pub(super) tell: mpsc::Sender<()>,
}

impl Watching {
    /// Tells of changes until the reader is gone.
    pub(super) async fn go_on(mut self) {
        loop {
            let options = WatchOptions::new()
                .with_prefix()
                .with_start_revision(self.next);
            let gone = self.tell.clone();
            let mut client = self.client.watch_client();
            tokio::select! {
                () = gone.closed() => return,
                opened = timeout(OPEN_DEADLINE, client.watch(self.prefix.clone(), Some(options))) => {
                    match opened {
                        Ok(Ok(stream)) => {
                            if self.follow(stream).await.is_none() {
                                return;
                            }
                        }
                        Ok(Err(error)) => tracing::debug!(%error, "a watch could not be opened"),
                        Err(_) => tracing::debug!("a watch was not opened in time"),
                    }
                }
            }
            tokio::select! {
                () = gone.closed() => return,
                () = sleep(AGAIN_AFTER) => {}
            }
        }
    }

    /// Tells of what one stream brings, until it breaks; `None` when the reader is gone.
    async fn follow(&mut self, mut stream: WatchStream) -> Option<()> {
        let gone = self.tell.clone();
        loop {
            let message = tokio::select! {
                () = gone.closed() => return None,
                message = stream.message() => message,
            };
            let Ok(Some(message)) = message else {
                return Some(());
            };
            if message.canceled() {
                if message.compact_revision() > 0 {
                    self.next = message.compact_revision();
                    self.told()?;
                } else {
                    tracing::debug!(why = message.cancel_reason(), "etcd ended a watch");
                    self.authenticate_again().await;
                }
                return Some(());
            }
            if !message.events().is_empty() {
                self.told()?;
            }
            if let Some(header) = message.header().filter(|_| !message.events().is_empty()) {
                self.next = self.next.max(header.revision() + 1);
            }
        }
    }

    /// etcd ends a watch whose token it does not know any more, without saying so. Any request that is
    /// answered once shows that, and then authenticates again.
    async fn authenticate_again(&self) {
        let options = GetOptions::new().with_prefix().with_count_only();
        let mut client = self.client.kv_client();
        if let Err(error) = client.get(self.prefix.clone(), Some(options)).await {
            let again = authenticates_again(&self.client, &error).await;
            tracing::debug!(%error, again, "etcd did not answer");
        }
    }

    /// A full queue holds a message that says the same.
    fn told(&self) -> Option<()> {
        match self.tell.try_send(()) {
            Ok(()) | Err(mpsc::error::TrySendError::Full(())) => Some(()),
            Err(mpsc::error::TrySendError::Closed(())) => None,
        }
    }
}
