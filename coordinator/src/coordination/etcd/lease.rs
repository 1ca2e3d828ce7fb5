//! The lease of a process: everything that it holds in etcd lives as long as this. It is kept alive from
//! the side, over a stream that is opened anew where it breaks, until it is dropped; it is lost when no
//! answer came for as long as etcd keeps it, by this machine's own clock, so that whoever was paused
//! learns of it before anybody else can have been given what it held.

use std::{sync::Arc, time::Duration};

use etcd_client::{Client, LeaseClient, LeaseKeepAliveStream, LeaseKeeper};
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::watch,
    time::{interval, sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use upshift_shared::clock::Stopwatch;

use super::{
    background,
    patience::{Patience, is_passing},
};

/// How long after a broken stream the next one is tried.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// The least time that an answer is waited for, where nothing runs out before.
const LEAST_WAIT: Duration = Duration::from_millis(300);
/// So many streams are opened beside each other, by whichever members that reaches: one of three that takes
/// requests and answers none, as one that is paused does, costs no more than the time until the next attempt.
const AT_ONCE: usize = 4;

/// A lease. Dropped by its last holder, it is no longer kept alive and runs out.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) id: i64,
    ttl: Duration,
    /// Since the last request that etcd answered was sent: the lease holds at least so long after it.
    renewed: watch::Receiver<Stopwatch>,
    lost: watch::Receiver<Option<String>>,
    _keep: DropGuard,
}

impl Lease {
    /// Asks for a lease of whole seconds, at least one.
    ///
    /// # Errors
    /// When etcd does not grant it.
    pub(super) async fn grant(
        client: &Arc<Client>,
        ttl: Duration,
    ) -> upshift_shared::Result<Arc<Self>> {
        let seconds = i64::try_from(ttl.as_secs().max(1)).unwrap_or(i64::MAX);
        let mut patience = Patience::default();
        let (granted, id, seconds) = loop {
            let asked = Stopwatch::start();
            match client.lease_client().grant(seconds, None).await {
                // A server may grant more than was asked for: it is relied on only for what was.
                Ok(answer) => break (asked, answer.id(), answer.ttl().min(seconds)),
                Err(error) => {
                    let what = "asking for a lease";
                    patience.bear(Some(client), what, error).await?;
                }
            }
        };
        let (tell, lost) = watch::channel(None);
        let stop = CancellationToken::new();
        // What etcd reckons with, and not a fraction of a second more.
        let ttl = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        let (tell_renewed, renewed) = watch::channel(granted);
        let keeper = Keeper {
            client: Arc::clone(client),
            id,
            ttl,
            renewed: tell_renewed,
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
            ttl,
            renewed,
            lost,
            _keep: stop.drop_guard(),
        }))
    }

    /// Whether it still holds, as far as this process knows: by the clock too, which a process that was
    /// paused reads before it learns of anything else.
    pub(super) fn holds(&self) -> bool {
        self.lost.borrow().is_none() && self.renewed.borrow().elapsed() < self.ttl
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
    renewed: watch::Sender<Stopwatch>,
}

impl Keeper {
    /// Keeps it alive until that is no longer possible; returns why.
    async fn keep(self) -> String {
        let mut why = String::new();
        loop {
            let Some(left) = self.left() else {
                return format!("the lease ran out: etcd did not answer in time {why}");
            };
            let opened = timeout(left, self.opened(&mut why)).await;
            let ended = match opened {
                Ok(Ok((sent, keeper, stream))) => {
                    self.renewed.send_replace(sent);
                    self.over(keeper, stream).await
                }
                Ok(Err(ended)) => ended,
                Err(_) => continue,
            };
            match ended {
                Ended::Gone => return "etcd has ended the lease".to_owned(),
                Ended::Broken(reason) => why = format!("({reason})"),
            }
        }
    }

    /// A stream, on which the first renewal was answered, and since when that holds the lease: of several
    /// attempts, each begun a little after the last one, whichever is answered first.
    async fn opened(
        &self,
        why: &mut String,
    ) -> Result<(Stopwatch, LeaseKeeper, LeaseKeepAliveStream), Ended> {
        let patience = self.patience(self.ttl);
        let mut attempts = FuturesUnordered::new();
        let mut next = interval(AGAIN_AFTER);
        loop {
            tokio::select! {
                _ = next.tick(), if attempts.len() < AT_ONCE => attempts.push(async {
                    let sent = Stopwatch::start();
                    let opening = opened(self.client.lease_client(), self.id);
                    (sent, timeout(patience, opening).await)
                }),
                Some((sent, answer)) = attempts.next() => match answer {
                    Ok(Ok((keeper, stream))) => return Ok((sent, keeper, stream)),
                    Ok(Err(Ended::Gone)) => return Err(Ended::Gone),
                    Ok(Err(Ended::Broken(reason))) => *why = format!("({reason})"),
                    Err(_) => "(no answer)".clone_into(why),
                },
            }
        }
    }

    /// How long it holds yet.
    fn left(&self) -> Option<Duration> {
        self.ttl.checked_sub(self.renewed.borrow().elapsed())
    }

    /// How long an answer is waited for: so that a member that is silent leaves time to ask others, of
    /// which the next one may be silent too.
    fn patience(&self, left: Duration) -> Duration {
        left.min((self.ttl / 6).max(LEAST_WAIT))
    }

    /// The same over one stream.
    async fn over(&self, mut keeper: LeaseKeeper, mut stream: LeaseKeepAliveStream) -> Ended {
        loop {
            sleep(self.ttl / 3).await;
            let sent = Stopwatch::start();
            let Some(left) = self.left() else {
                return Ended::Broken("no answer".to_owned());
            };
            let answer = timeout(self.patience(left), async {
                keeper.keep_alive().await?;
                stream.message().await
            });
            match answer.await {
                Ok(Ok(Some(answer))) if answer.ttl() > 0 => {
                    self.renewed.send_replace(sent);
                }
                Ok(Ok(Some(_))) => return Ended::Gone,
                Ok(Ok(None)) => return Ended::Broken("the stream ended".to_owned()),
                Ok(Err(error)) => return Ended::Broken(error.to_string()),
                Err(_) => return Ended::Broken("no answer".to_owned()),
            }
        }
    }
}

/// A stream, on which the first renewal was answered.
async fn opened(
    mut client: LeaseClient,
    id: i64,
) -> Result<(LeaseKeeper, LeaseKeepAliveStream), Ended> {
    client.keep_alive(id).await.map_err(|error| match &error {
        // So the client says that etcd does not know it.
        etcd_client::Error::LeaseKeepAliveError(_) => Ended::Gone,
        error if is_passing(error) => Ended::Broken(error.to_string()),
        error => Ended::Broken(format!("etcd refuses: {error}")),
    })
}

enum Ended {
    /// etcd does not know the lease any more.
    Gone,
    /// Another stream may do.
    Broken(String),
}
