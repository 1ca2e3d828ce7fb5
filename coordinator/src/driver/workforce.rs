//! The workers of this process: how many there are can change while a run goes on. More are begun at
//! once; of fewer, the last ones finish the unit that they have and leave.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::{AbortHandle, JoinError, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use upshift_shared::Result;
use upshift_worker::{
    link::Link,
    pool::Pool,
    session::{self, Offer, ResolveDatabase},
};

use super::hub::Input;

/// A worker that cannot keep a session is given up after so many attempts.
const WORKER_ATTEMPTS: u32 = 5;

/// Connections that are kept for each worker: its units are of one database and then of another, while
/// those have more to come.
const IDLE: usize = 4;

/// How long workers have to finish what they hold.
const DRAIN_DEADLINE: Duration = Duration::from_secs(15);

/// How a worker ended.
pub(super) type End = std::result::Result<Result<()>, JoinError>;

/// The workers of this process.
pub(super) struct Workforce {
    running: JoinSet<Result<()>>,
    /// Those that have not been asked to leave, and how to ask each.
    staying: Vec<(AbortHandle, CancellationToken)>,
    address: String,
    resolver: Arc<dyn ResolveDatabase>,
    /// Whichever of them runs a unit finds the connection that its database has.
    pool: Arc<Pool>,
    stop: CancellationToken,
}

impl Workforce {
    /// None yet. They connect to `address`.
    pub(super) fn new(address: String, resolver: Arc<dyn ResolveDatabase>) -> Self {
        Self {
            running: JoinSet::new(),
            staying: Vec::new(),
            address,
            resolver,
            // Nobody asks a process with one run what its workers count: it tells by itself.
            pool: Arc::new(Pool::new(IDLE, Arc::default())),
            stop: CancellationToken::new(),
        }
    }

    /// So many from now on, one at least.
    pub(super) fn set(&mut self, workers: u32) {
        let wanted = workers.max(1) as usize;
        self.pool.keep(wanted * IDLE);
        self.staying.retain(|(worker, _)| !worker.is_finished());
        for (_, leave) in self.staying.drain(wanted.min(self.staying.len())..) {
            leave.cancel();
        }
        while self.staying.len() < wanted {
            let leave = self.stop.child_token();
            let own = (Arc::clone(&self.resolver), Arc::clone(&self.pool));
            let working = keep_working(self.address.clone(), own, leave.clone());
            self.staying.push((self.running.spawn(working), leave));
        }
    }

    /// The next worker that ends; `None` when there is none any more.
    pub(super) async fn next_end(&mut self) -> Option<End> {
        self.running.join_next().await
    }

    /// What the end of a worker means: something only when it was the last one.
    pub(super) fn after(&self, end: End) -> Option<Input> {
        let left = self.running.len();
        let why = match end {
            Ok(Ok(())) => "the workers have ended".to_owned(),
            Ok(Err(error)) => format!("no worker can keep a session: {error}"),
            Err(error) => format!("a defect in a worker: {error}"),
        };
        tracing::info!(why, left, "a worker ended");
        (left == 0).then_some(Input::OutOfService(why))
    }

    /// Tells all of them to leave.
    pub(super) fn dismiss(&self) {
        self.stop.cancel();
    }

    /// Waits until all have ended, for a while.
    pub(super) async fn ended(&mut self) {
        let ended = async { while self.running.join_next().await.is_some() {} };
        if timeout(DRAIN_DEADLINE, ended).await.is_err() {
            tracing::warn!("workers did not end in time");
            self.running.abort_all();
        }
    }
}

/// A worker with one slot, as it would be on another machine; a session that breaks is opened anew.
async fn keep_working(
    address: String,
    (resolver, pool): (Arc<dyn ResolveDatabase>, Arc<Pool>),
    stop: CancellationToken,
) -> Result<()> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let own = (Arc::clone(&resolver), &pool);
        let done = one_session(&address, own, stop.clone()).await;
        if stop.is_cancelled() {
            return Ok(());
        }
        match done {
            Err(error) if attempt >= WORKER_ATTEMPTS => return Err(error),
            outcome => tracing::warn!(?outcome, attempt, "a worker's session ended"),
        }
        sleep(Duration::from_millis(200) * attempt).await;
    }
}

async fn one_session(
    address: &str,
    own: (Arc<dyn ResolveDatabase>, &Arc<Pool>),
    stop: CancellationToken,
) -> Result<()> {
    let line = Link::local(address).await?;
    let offer = Offer {
        slots: 1,
        ..Offer::default()
    };
    session::run(line, &offer, own, stop).await?;
    Ok(())
}
