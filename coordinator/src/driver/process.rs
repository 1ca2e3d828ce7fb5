//! The whole system in one process: the session server on a private socket, workers that connect to
//! it, signals, and the loop that drives the run.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use upshift_shared::{Error, Result, pg::Target};
use upshift_worker::session::ResolveDatabase;

use super::{
    Ended, Order,
    hub::{Hub, Input},
    workforce::Workforce,
};
use crate::{
    coordination::Member,
    metrics::Metrics,
    server::{self, PrivateSocket, SessionService},
    signals::Signals,
};

/// How long what works beside the run may take to end.
const DISMISSAL: Duration = Duration::from_secs(20);

/// This process, for people.
#[must_use]
pub fn member() -> Member {
    let host = nix::unistd::gethostname().ok();
    let host = host.and_then(|host| host.into_string().ok());
    Member {
        name: format!(
            "{}:{}",
            host.as_deref().unwrap_or("localhost"),
            std::process::id()
        ),
        address: String::new(),
    }
}

/// Drives a run to its end, or to where it has to stop, with workers of this process. `last_words` makes,
/// from how it ended, what the user is shown last.
///
/// # Errors
/// When the process itself fails: sockets, signals. How the run ended is in [`Ended`].
pub async fn drive(
    order: Order,
    last_words: impl FnOnce(&Ended) -> String + Send + 'static,
) -> Result<Ended> {
    let known = OneDatabase {
        name: order.database.clone(),
        target: order.target.clone(),
    };
    let (mut crew, hub) = Crew::assemble(Arc::new(known), order.limits.workers)?;
    crew.heed_signals(&hub)?;
    let conducted = hub.drive(order, last_words).await;
    crew.dismiss().await;
    conducted?.release().await
}

/// Everything in this process that works beside its runs.
pub struct Crew {
    /// The loop.
    driving: JoinSet<()>,
    /// The server, the listener to signals.
    beside: JoinSet<()>,
    stop_loop: CancellationToken,
    stop_server: CancellationToken,
    readers: TaskTracker,
    /// Its directory goes when the process is done.
    _socket: PrivateSocket,
}

impl std::fmt::Debug for Crew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crew").finish_non_exhaustive()
    }
}

impl Crew {
    /// The loop, the session server and so many workers, which resolve the names of databases so; and the
    /// way to the loop.
    ///
    /// # Errors
    /// When there can be no private socket.
    pub fn assemble(resolver: Arc<dyn ResolveDatabase>, workers: u32) -> Result<(Self, Hub)> {
        let io = |context: &str| {
            let context = context.to_owned();
            move |source| Error::Io { context, source }
        };
        let socket = PrivateSocket::create().map_err(io("making a private directory"))?;
        let listener = socket
            .listen()
            .map_err(io("listening on a private socket"))?;
        let address = format!("unix:{}", socket.path().display());
        let (hub, driver) = Hub::new(Arc::new(Metrics::default()));
        let mut workforce = Workforce::new(address, resolver);
        let mut crew = Self {
            driving: JoinSet::new(),
            beside: JoinSet::new(),
            stop_loop: CancellationToken::new(),
            stop_server: CancellationToken::new(),
            readers: TaskTracker::new(),
            _socket: socket,
        };
        let session = SessionService::new(hub.sessions(), crew.readers.clone());
        let serving = server::serve(listener, session, crew.stop_server.clone());
        let failed = hub.clone();
        crew.beside.spawn(async move {
            if let Err(error) = serving.await {
                let what = format!("the session server failed: {error}");
                let _ended = failed.send(Input::OutOfService(what)).await;
            }
        });
        workforce.set(workers);
        let stop = crew.stop_loop.clone();
        crew.driving.spawn(driver.with(workforce, stop));
        Ok((crew, hub))
    }

    /// From now on Ctrl-C and SIGTERM stop all runs.
    fn heed_signals(&mut self, hub: &Hub) -> Result<()> {
        let signals = listen_to_signals(hub.clone(), self.stop_server.clone())?;
        self.beside.spawn(signals);
        Ok(())
    }

    /// The loop and its workers first, then the server that they speak to.
    pub async fn dismiss(mut self) {
        self.stop_loop.cancel();
        let driven = async { while self.driving.join_next().await.is_some() {} };
        if timeout(DISMISSAL, driven).await.is_err() {
            tracing::warn!("the driver did not end in time");
        }
        self.stop_server.cancel();
        self.readers.close();
        let beside = async { while self.beside.join_next().await.is_some() {} };
        if timeout(DISMISSAL, beside).await.is_err() {
            tracing::warn!("the server did not end in time");
        }
    }
}

/// In one process there is one database, and its connection is known already.
struct OneDatabase {
    name: String,
    target: Target,
}

impl ResolveDatabase for OneDatabase {
    fn resolve(&self, name: &str) -> Result<Target> {
        if name == self.name {
            Ok(self.target.clone())
        } else {
            Err(Error::Config(format!(
                "this process does not know a database \"{name}\""
            )))
        }
    }
}

/// Ctrl-C and SIGTERM, until `end`.
fn listen_to_signals(hub: Hub, end: CancellationToken) -> Result<impl Future<Output = ()>> {
    let mut signals = Signals::listen()?;
    Ok(async move {
        loop {
            tokio::select! {
                () = signals.next() => {}
                () = end.cancelled() => return,
            }
            if hub.interrupt().await.is_err() {
                return;
            }
        }
    })
}
