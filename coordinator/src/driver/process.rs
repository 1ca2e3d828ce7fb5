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
use upshift_shared::{
    Error, Result,
    ledger::{Holder, control::Control, options::RunOptions},
    pg::Target,
    plan::Plan,
};
use upshift_worker::session::ResolveDatabase;

use super::{
    Aim, Driver, Ended, Input, Job, Limits, Rebuilt, group,
    monitor::Monitor,
    operation::Scene,
    sessions::{Backoff, Sessions, is_connection_lost},
    steering::Steering,
    workforce::Workforce,
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
    /// What was wanted of it before it began; `limits` heed it.
    pub control: Control,
    /// Whether an earlier attempt began it.
    pub resumed: bool,
    /// The `seq` of its last event.
    pub last_event: i64,
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
    let short = order.holder.run.short();
    let sessions = |target, purpose| Sessions::new(target, format!("upshift {short} {purpose}"));
    let version = order.control.version;
    let (steering, in_force) = Steering::begin(&order.control, &order.limits);
    let monitor = Monitor::new(
        (order.target.clone(), order.holder),
        (version, order.limits.throttle.clone()),
        crew.inputs.clone(),
        in_force,
    );
    crew.background.spawn(monitor.run(crew.release.clone()));
    let job = Job {
        scene: Arc::new(Scene {
            holder: order.holder,
            plan: order.plan,
            options: order.options,
            sessions: sessions(order.target.clone(), "coordinator"),
            aside: sessions(order.target, "events"),
            inputs: crew.inputs.clone(),
            seat: order.seat,
        }),
        database: order.database,
        aim: order.aim,
        rebuilt: order.rebuilt,
        limits: order.limits,
        resumed: order.resumed,
        last_event: order.last_event,
        steering,
    };
    let mut driver = Driver::start(job, order.progress, watchers);
    let ended = attend(&mut driver, &mut inboxes, &mut crew.workforce).await;
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
async fn attend(driver: &mut Driver, inboxes: &mut Inboxes, workforce: &mut Workforce) -> Ended {
    loop {
        if let Some(ended) = driver.ended.take() {
            return ended;
        }
        let (timer, tick) = (driver.timer_in(), driver.tick_in());
        let input = tokio::select! {
            Some(event) = inboxes.sessions.recv() => Input::Session(event),
            Some(request) = inboxes.requests.recv() => Input::Operator(request),
            Some(input) = inboxes.inputs.recv() => input,
            Some(done) = driver.operations.join_next() => match done {
                Ok((ticket, operation, result)) => Input::Operated(ticket, operation, result),
                Err(error) => Input::Broken(format!("a defect in the driver: {error}")),
            },
            Some(end) = workforce.next_end() => match workforce.after(end) {
                Some(input) => input,
                None => continue,
            },
            () = sleep(timer.unwrap_or_default()), if timer.is_some() => Input::Timer,
            () = sleep(tick) => Input::Tick,
        };
        driver.take(input);
        if let Some(workers) = driver.steering.workers.take() {
            workforce.set(workers);
        }
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
    workforce: Workforce,
    stop_workers: CancellationToken,
    /// The server, the lock's keeper, the listener to signals, the monitor.
    background: JoinSet<()>,
    inputs: mpsc::Sender<Input>,
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
        let stop_workers = CancellationToken::new();
        let resolver = Arc::new(OneDatabase {
            name: database.clone(),
            target,
        });
        let mut crew = Self {
            workforce: Workforce::new(address, resolver, stop_workers.clone()),
            stop_workers,
            background: JoinSet::new(),
            inputs: input_sender.clone(),
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
        crew.background.spawn(keep_lock(
            coordination,
            lock,
            database,
            input_sender,
            release,
        ));
        crew.workforce.set(workers);
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
        if timeout(DRAIN_DEADLINE, self.workforce.ended())
            .await
            .is_err()
        {
            tracing::warn!("workers did not end in time");
            self.workforce.abort();
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
