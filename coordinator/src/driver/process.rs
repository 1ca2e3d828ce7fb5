//! The whole system in one process: the session server on a private socket, workers that connect to
//! it, the database's lock, signals, and the one loop that feeds the driver.

use std::{sync::Arc, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{broadcast, mpsc},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::Endpoint;
use upshift_shared::{
    Error, Result,
    ledger::{Holder, options::RunOptions},
    pg::Target,
    plan::Plan,
};
use upshift_worker::session::{self, ResolveDatabase};

use super::{
    Aim, Driver, Ended, Input, Job, Limits, Rebuilt, group,
    operation::Scene,
    sessions::{Backoff, Sessions, is_connection_lost},
};
use crate::{
    coordination::{Coordination, Embedded, Held, Locked, Member},
    group::Seat,
    progress::Progress,
    server::{self, OperatorRequest, OperatorService, PrivateSocket, SessionEvent, SessionService},
};

/// Events of sessions that the driver has not yet handled; then workers wait.
const SESSION_EVENTS: usize = 1024;
/// Requests of operators likewise.
const OPERATOR_REQUESTS: usize = 16;
/// Events that a slow watcher may fall behind.
const WATCHED_EVENTS: usize = 1024;
/// How long workers have to finish what they hold when the run has ended.
const DRAIN_DEADLINE: Duration = Duration::from_secs(15);
/// A worker of this process that cannot keep a session is given up after so many attempts.
const WORKER_ATTEMPTS: u32 = 5;

/// What is to be driven, and what it takes.
pub struct Order {
    /// The database.
    pub target: Target,
    /// Its name, as configuration knows it.
    pub database: String,
    /// The run, taken over.
    pub holder: Holder,
    /// Its plan.
    pub plan: Arc<Plan>,
    /// What its operator asked for.
    pub options: RunOptions,
    /// Which way.
    pub aim: Aim,
    /// How it stands.
    pub rebuilt: Rebuilt,
    /// What it may take.
    pub limits: Limits,
    /// Whether an earlier attempt began it.
    pub resumed: bool,
    /// Who is shown what happens.
    pub progress: Box<dyn Progress>,
    /// What holds the lock.
    pub coordination: Embedded,
    /// The database's lock.
    pub lock: Box<dyn Held>,
    /// Where the run belongs to a group.
    pub seat: Option<Seat>,
}

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

/// Drives a run to its end, or to where it has to stop. `last_words` makes, from how it ended, what
/// the user is shown last.
///
/// # Errors
/// When the process itself fails: sockets, signals. How the run ended is in [`Ended`].
pub async fn drive(order: Order, last_words: impl FnOnce(&Ended) -> String) -> Result<Ended> {
    let (mut crew, mut inboxes, watchers) = Crew::assemble(
        (order.coordination, order.lock, order.seat.clone()),
        (order.database.clone(), order.target.clone()),
        order.limits.workers,
    )?;
    let job = Job {
        scene: Arc::new(Scene {
            holder: order.holder,
            plan: order.plan,
            options: order.options,
            sessions: Sessions::new(order.target),
            seat: order.seat,
        }),
        database: order.database,
        aim: order.aim,
        rebuilt: order.rebuilt,
        limits: order.limits,
        resumed: order.resumed,
    };
    let mut driver = Driver::start(job, order.progress, watchers);
    let ended = attend(&mut driver, &mut inboxes, &mut crew.workers).await;
    driver.finish(&ended, last_words(&ended));
    // First, so that workers do not take the end of their sessions for a loss.
    crew.stop_workers.cancel();
    driver.drain();
    // Readers of sessions that still want to report are not waited for.
    drop(inboxes);
    crew.dismiss().await;
    Ok(ended)
}

/// The loop: receives, makes an [`Input`] of it, and lets the driver handle that.
async fn attend(
    driver: &mut Driver,
    inboxes: &mut Inboxes,
    workers: &mut JoinSet<Result<()>>,
) -> Ended {
    loop {
        if let Some(ended) = driver.ended.take() {
            return ended;
        }
        let timer = driver.timer_in();
        let input = tokio::select! {
            Some(event) = inboxes.sessions.recv() => Input::Session(event),
            Some(request) = inboxes.requests.recv() => Input::Operator(request),
            Some(input) = inboxes.inputs.recv() => input,
            Some(done) = driver.operations.join_next() => match done {
                Ok((operation, result)) => Input::Operated(operation, result),
                Err(error) => Input::Broken(format!("a defect in the driver: {error}")),
            },
            Some(end) = workers.join_next() => match worker_end(end, workers.len()) {
                Some(input) => input,
                None => continue,
            },
            () = sleep(timer.unwrap_or_default()), if timer.is_some() => Input::Timer,
        };
        driver.take(input);
    }
}

/// Where what happens arrives.
struct Inboxes {
    sessions: mpsc::Receiver<SessionEvent>,
    requests: mpsc::Receiver<OperatorRequest>,
    inputs: mpsc::Receiver<Input>,
}

/// Everything in this process that works beside the loop.
struct Crew {
    workers: JoinSet<Result<()>>,
    stop_workers: CancellationToken,
    /// The server, the lock's keeper, the listener to signals.
    background: JoinSet<()>,
    stop_server: CancellationToken,
    release: CancellationToken,
    readers: TaskTracker,
    /// Its directory goes when the process is done.
    _socket: PrivateSocket,
}

impl Crew {
    fn assemble(
        (coordination, lock, seat): (Embedded, Box<dyn Held>, Option<Seat>),
        (database, target): (String, Target),
        workers: u32,
    ) -> Result<(Self, Inboxes, broadcast::Sender<String>)> {
        let io = |context: &str| {
            let context = context.to_owned();
            move |source| Error::Io { context, source }
        };
        let socket = PrivateSocket::create().map_err(io("making a private directory"))?;
        let listener = socket
            .listen()
            .map_err(io("listening on a private socket"))?;
        let address = format!("unix:{}", socket.path().display());
        let (session_sender, sessions) = mpsc::channel(SESSION_EVENTS);
        let (request_sender, requests) = mpsc::channel(OPERATOR_REQUESTS);
        let (input_sender, inputs) = mpsc::channel(OPERATOR_REQUESTS);
        let (watchers, _) = broadcast::channel(WATCHED_EVENTS);
        let mut crew = Self {
            workers: JoinSet::new(),
            stop_workers: CancellationToken::new(),
            background: JoinSet::new(),
            stop_server: CancellationToken::new(),
            release: CancellationToken::new(),
            readers: TaskTracker::new(),
            _socket: socket,
        };
        let serving = server::serve(
            listener,
            SessionService::new(session_sender, crew.readers.clone()),
            OperatorService::new(request_sender, watchers.clone()),
            crew.stop_server.clone(),
        );
        let failed = input_sender.clone();
        crew.background.spawn(async move {
            if let Err(error) = serving.await {
                let what = format!("the session server failed: {error}");
                let _ended = failed.send(Input::Broken(what)).await;
            }
        });
        let signals = listen_to_signals(input_sender.clone(), crew.release.clone())?;
        crew.background.spawn(signals);
        if let Some(seat) = seat {
            let listening = group::listen(seat, input_sender.clone(), crew.release.clone());
            crew.background.spawn(listening);
        }
        let release = crew.release.clone();
        let name = database.clone();
        crew.background
            .spawn(keep_lock(coordination, lock, name, input_sender, release));
        let resolver: Arc<dyn ResolveDatabase> = Arc::new(OneDatabase {
            name: database,
            target,
        });
        for _ in 0..workers {
            let (resolver, stop) = (Arc::clone(&resolver), crew.stop_workers.clone());
            crew.workers
                .spawn(keep_working(address.clone(), resolver, stop));
        }
        let inboxes = Inboxes {
            sessions,
            requests,
            inputs,
        };
        Ok((crew, inboxes, watchers))
    }

    /// Workers first, then the server that they speak to; the lock is given back.
    async fn dismiss(mut self) {
        self.stop_workers.cancel();
        let workers = async { while self.workers.join_next().await.is_some() {} };
        if timeout(DRAIN_DEADLINE, workers).await.is_err() {
            tracing::warn!("workers did not end in time");
            self.workers.abort_all();
        }
        self.release.cancel();
        self.stop_server.cancel();
        self.readers.close();
        let background = async { while self.background.join_next().await.is_some() {} };
        if timeout(DRAIN_DEADLINE, background).await.is_err() {
            tracing::warn!("the server did not end in time");
        }
    }
}

/// What the end of a worker means: something only when it was the last one.
fn worker_end(end: Result<Result<()>, tokio::task::JoinError>, left: usize) -> Option<Input> {
    let why = match end {
        Ok(Ok(())) => "the workers have ended".to_owned(),
        Ok(Err(error)) => format!("no worker can keep a session: {error}"),
        Err(error) => format!("a defect in a worker: {error}"),
    };
    tracing::warn!(why, left, "a worker ended");
    (left == 0).then_some(Input::WorkersEnded(why))
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

/// A worker with one slot, as it would be on another machine; a session that breaks is opened anew.
async fn keep_working(
    address: String,
    resolver: Arc<dyn ResolveDatabase>,
    stop: CancellationToken,
) -> Result<()> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let done = one_session(&address, Arc::clone(&resolver), stop.clone()).await;
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
    resolver: Arc<dyn ResolveDatabase>,
    stop: CancellationToken,
) -> Result<()> {
    let failed = |error: tonic::transport::Error| Error::Io {
        context: "connecting a worker to the private socket".to_owned(),
        source: std::io::Error::other(error),
    };
    let endpoint = Endpoint::try_from(address.to_owned()).map_err(failed)?;
    let channel = endpoint.connect().await.map_err(failed)?;
    session::run(channel, 1, resolver, stop).await
}

/// Ctrl-C and SIGTERM, until `end`.
fn listen_to_signals(
    inputs: mpsc::Sender<Input>,
    end: CancellationToken,
) -> Result<impl Future<Output = ()>> {
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
    Ok(async move {
        loop {
            tokio::select! {
                Some(()) = interrupt.recv() => {}
                Some(()) = terminate.recv() => {}
                () = end.cancelled() => return,
            }
            if inputs.send(Input::Interrupt).await.is_err() {
                return;
            }
        }
    })
}

/// Holds the database's lock until `release`; takes it again where the connection was lost.
async fn keep_lock(
    coordination: Embedded,
    mut lock: Box<dyn Held>,
    database: String,
    inputs: mpsc::Sender<Input>,
    release: CancellationToken,
) {
    loop {
        let why = tokio::select! {
            () = release.cancelled() => None,
            why = lock.lost() => Some(why),
        };
        let Some(why) = why else {
            lock.release().await;
            return;
        };
        tracing::warn!(why, "the database's lock was lost");
        drop(lock);
        match lock_again(&coordination, &database).await {
            Ok(again) => lock = again,
            Err(more) => {
                // Nobody listens when the run has just ended.
                let _ended = inputs.send(Input::LockLost(format!("{why}; {more}"))).await;
                return;
            }
        }
        if inputs.send(Input::LockBack).await.is_err() {
            return;
        }
    }
}

async fn lock_again(coordination: &Embedded, database: &str) -> Result<Box<dyn Held>, String> {
    let mut backoff = Backoff::default();
    loop {
        match coordination.lock_database(database, &member()).await {
            Ok(Locked::Granted(lock)) => return Ok(lock),
            Ok(Locked::Taken { by }) => return Err(format!("now {by} holds it")),
            Err(error) if is_connection_lost(&error) => match backoff.next() {
                Some(pause) => sleep(pause).await,
                None => return Err(error.to_string()),
            },
            Err(error) => return Err(error.to_string()),
        }
    }
}
