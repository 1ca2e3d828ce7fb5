//! The lease of a process: everything that it holds in etcd lives as long as this. It is kept alive from
//! the side, over a stream that is opened anew where it breaks, until it is dropped; it is lost when no
//! answer came for as long as etcd keeps it, by this machine's own clock, so that whoever was paused
//! learns of it before anybody else can have been given what it held.

use std::{sync::Arc, time::Duration};

use etcd_client::{Client, LeaseKeepAliveStream, LeaseKeeper};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use upshift_shared::{Result, clock::Stopwatch};

use super::{Patience, background};

/// How long after a broken stream the next one is tried.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// A lease. Dropped by its last holder, it is no longer kept alive and runs out.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) id: i64,
    lost: watch::Receiver<Option<String>>,
    _keep: DropGuard,
}

impl Lease {
    /// Asks for a lease of whole seconds, at least one.
    ///
    /// # Errors
    /// When etcd does not grant it.
    pub(super) async fn grant(client: &Arc<Client>, ttl: Duration) -> Result<Arc<Self>> {
        let seconds = i64::try_from(ttl.as_secs().max(1)).unwrap_or(i64::MAX);
        let mut patience = Patience::default();
        let (granted, id, seconds) = loop {
            let asked = Stopwatch::start();
            match client.lease_client().grant(seconds, None).await {
                // A server may grant more than was asked for: it is relied on only for what was.
                Ok(answer) => break (asked, answer.id(), answer.ttl().min(seconds)),
                Err(error) => patience.bear("asking for a lease", error).await?,
            }
        };
        let (tell, lost) = watch::channel(None);
        let stop = CancellationToken::new();
        let keeper = Keeper {
            client: Arc::clone(client),
            id,
            // What etcd reckons with, and not a fraction of a second more.
            ttl: Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
            last: granted,
        };
        let stopped = stop.clone();
        background::spawn(async move {
            tokio::select! {
                why = keeper.keep() => {
                    tell.send_replace(Some(why));
                }
                () = stopped.cancelled() => {}
            }
        });
        Ok(Arc::new(Self {
            id,
            lost,
            _keep: stop.drop_guard(),
        }))
    }

    /// Whether it still holds, as far as this process knows.
    pub(super) fn holds(&self) -> bool {
        self.lost.borrow().is_none()
    }

    /// Returns when it no longer holds, with why.
    pub(super) async fn lost(&self) -> String {
        let mut lost = self.lost.clone();
        let why = lost.wait_for(Option::is_some).await;
        why.ok()
            .and_then(|why| why.clone())
            .unwrap_or_else(|| "nobody keeps the lease alive any more".to_owned())
    }
}

struct Keeper {
    client: Arc<Client>,
    id: i64,
    ttl: Duration,
    /// Since the last request that etcd answered was sent: the lease holds at least so long after it.
    last: Stopwatch,
}

impl Keeper {
    /// Keeps it alive until that is no longer possible; returns why.
    async fn keep(mut self) -> String {
        let mut why = String::new();
        loop {
            let Some(left) = self.ttl.checked_sub(self.last.elapsed()) else {
                return format!("the lease ran out: etcd did not answer in time {why}");
            };
            let opened = timeout(left, self.client.lease_client().keep_alive(self.id)).await;
            let ended = match opened {
                Ok(Ok((keeper, stream))) => self.over(keeper, stream).await,
                Ok(Err(error)) => Ended::Broken(error.to_string()),
                Err(_) => Ended::Broken("no answer".to_owned()),
            };
            match ended {
                Ended::Gone => return "etcd has ended the lease".to_owned(),
                Ended::Broken(reason) => why = format!("({reason})"),
            }
            sleep(AGAIN_AFTER).await;
        }
    }

    /// The same over one stream.
    async fn over(&mut self, mut keeper: LeaseKeeper, mut stream: LeaseKeepAliveStream) -> Ended {
        loop {
            let sent = Stopwatch::start();
            let Some(left) = self.ttl.checked_sub(self.last.elapsed()) else {
                return Ended::Broken("no answer".to_owned());
            };
            let answer = timeout(left.min(self.ttl / 2), async {
                keeper.keep_alive().await?;
                stream.message().await
            });
            match answer.await {
                Ok(Ok(Some(answer))) if answer.ttl() > 0 => self.last = sent,
                Ok(Ok(Some(_))) => return Ended::Gone,
                Ok(Ok(None)) => return Ended::Broken("the stream ended".to_owned()),
                Ok(Err(error)) => return Ended::Broken(error.to_string()),
                Err(_) => return Ended::Broken("no answer".to_owned()),
            }
            sleep(self.ttl / 3).await;
        }
    }
}

enum Ended {
    /// etcd does not know the lease any more.
    Gone,
    /// Another stream may do.
    Broken(String),
}
