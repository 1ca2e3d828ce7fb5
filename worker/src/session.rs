//! The session with a coordinator: one bidirectional stream. Credits, heartbeats and results go up,
//! tasks and units come down; units run concurrently, each on a connection of its own.
//!
//! Order of shutdown: no more credits (`Draining`), units in flight are finished and reported, the
//! stream is closed. When the coordinator is lost instead, units in flight are cancelled: they will
//! be offered again, and the fence keeps a straggler from writing.

mod message;
mod running;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::{Id, JoinError, JoinSet},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use upshift_proto::v1::{
    CoordinatorMessage, Credit, Draining, Heartbeat, Hello, Unit, Welcome, WorkerMessage,
    coordinator_message::Message as Down, session_client::SessionClient,
    worker_message::Message as Up,
};
use upshift_shared::{Error, Result, pg::Target};

use crate::{
    link::{LEADER, Line},
    metrics::Metrics,
    pool::Pool,
    unit::{FailureClass, UnitError, UnitReport},
};
use message::{Spec, UnitRef};
use running::Running;

/// How long the coordinator may take to answer the first message.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a message may wait for room in the stream.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the coordinator may take to close a session that the worker has ended.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Messages that wait to be sent.
const OUTBOUND: usize = 64;

/// Turns the name of a database, which is all that travels over gRPC, into a connection.
pub trait ResolveDatabase: Send + Sync {
    /// The connection to the database of that name.
    ///
    /// # Errors
    /// When this machine's configuration does not know the name.
    fn resolve(&self, name: &str) -> Result<Target>;
}

impl<F: Fn(&str) -> Result<Target> + Send + Sync> ResolveDatabase for F {
    fn resolve(&self, name: &str) -> Result<Target> {
        self(name)
    }
}

/// What a worker offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer {
    /// Units that it runs at once.
    pub slots: u32,
    /// Where it is: `region=eu`.
    pub labels: BTreeMap<String, String>,
}

/// Why there is no session any more.
#[derive(Debug)]
pub enum Ended {
    /// The coordinator has closed it.
    Closed,
    /// The worker was asked to leave, or told to stop: nothing of it is left.
    Drained,
    /// Another coordinator leads; by what URL it is reached, if that is known.
    Elsewhere(Option<String>),
}

/// Runs a session until the coordinator ends it or `shutdown` is cancelled: then units in flight are
/// finished first. Units run on connections of `pool`.
///
/// # Errors
/// When the coordinator refuses the session, the stream breaks, or nothing comes from the
/// coordinator for several heartbeats.
pub async fn run(
    line: Line,
    offer: &Offer,
    (resolver, pool): (Arc<dyn ResolveDatabase>, &Arc<Pool>),
    shutdown: CancellationToken,
) -> Result<Ended> {
    let (slots, metrics) = (offer.slots, pool.metrics());
    let (up, outbound) = mpsc::channel(OUTBOUND);
    let hello = Up::Hello(Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        name: name(),
        slots,
        labels: offer.labels.clone().into_iter().collect(),
    });
    send(&up, hello).await?;
    let opened = timeout(
        WELCOME_TIMEOUT,
        open(SessionClient::new(line), ReceiverStream::new(outbound)),
    );
    let opened = opened
        .await
        .map_err(|_| lost("the coordinator did not answer"))?;
    let (welcome, inbound) = match opened {
        Ok(opened) => opened,
        Err(Closed::Elsewhere(leader)) => return Ok(Ended::Elsewhere(leader)),
        Err(Closed::Failed(error)) => return Err(error),
    };
    tracing::debug!(worker = welcome.worker, slots, "session opened");
    let session = Session {
        up,
        inbound,
        resolver,
        specs: HashMap::new(),
        units: JoinSet::new(),
        names: HashMap::new(),
        cancels: JoinSet::new(),
        running: Arc::new(Running::new(Arc::clone(pool))),
        metrics: Arc::clone(metrics),
        draining: false,
    };
    let heartbeat = Duration::from_millis(u64::from(welcome.heartbeat_millis.max(100)));
    metrics.session(true, slots);
    let ended = Box::pin(session.drive(slots, heartbeat, shutdown)).await;
    metrics.session(false, slots);
    metrics.in_flight(0);
    ended
}

/// Why no session was opened.
enum Closed {
    Elsewhere(Option<String>),
    Failed(Error),
}

impl From<Status> for Closed {
    fn from(status: Status) -> Self {
        let leader = status.metadata().get(LEADER);
        match leader.and_then(|leader| leader.to_str().ok()) {
            Some(leader) => Self::Elsewhere(Some(leader.to_owned())),
            None if status.code() == tonic::Code::Unavailable => Self::Elsewhere(None),
            None => Self::Failed(refused(&status)),
        }
    }
}

async fn open(
    mut client: SessionClient<Line>,
    outbound: ReceiverStream<WorkerMessage>,
) -> Result<(Welcome, Streaming<CoordinatorMessage>), Closed> {
    let mut inbound = client.open(outbound).await?.into_inner();
    match inbound.message().await? {
        Some(CoordinatorMessage {
            message: Some(Down::Welcome(welcome)),
        }) => Ok((welcome, inbound)),
        _ => Err(Closed::Failed(Error::Refused(
            "the coordinator's first message is not Welcome: it speaks another protocol".to_owned(),
        ))),
    }
}

/// For people: which process this is.
fn name() -> String {
    let host = nix::unistd::gethostname().ok();
    let host = host.and_then(|name| name.into_string().ok());
    format!(
        "{} pid {}",
        host.as_deref().unwrap_or("unknown host"),
        std::process::id()
    )
}

/// What can happen to a session.
enum Happened {
    Received(Result<Option<CoordinatorMessage>, Status>),
    UnitEnded(Result<(Id, Outcome), JoinError>),
    CancelSent,
    HeartbeatDue,
    ShutdownRequested,
    CoordinatorSilent,
}

/// What became of a unit, and how long it took at most.
type Outcome = (Result<UnitReport, UnitError>, Duration);

struct Session {
    up: mpsc::Sender<WorkerMessage>,
    inbound: Streaming<CoordinatorMessage>,
    resolver: Arc<dyn ResolveDatabase>,
    specs: HashMap<(String, u32), Arc<Spec>>,
    units: JoinSet<Outcome>,
    names: HashMap<Id, UnitRef>,
    cancels: JoinSet<()>,
    running: Arc<Running>,
    metrics: Arc<Metrics>,
    draining: bool,
}

impl Session {
    async fn drive(
        mut self,
        slots: u32,
        heartbeat: Duration,
        shutdown: CancellationToken,
    ) -> Result<Ended> {
        self.send(Up::Credit(Credit { units: slots })).await?;
        let mut beat = interval(heartbeat / 2);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let patience = (heartbeat * 4).max(Duration::from_secs(5));
        let mut silent_at = Instant::now() + patience;
        loop {
            let happened = tokio::select! {
                message = self.inbound.message() => Happened::Received(message),
                Some(ended) = self.units.join_next_with_id() => Happened::UnitEnded(ended),
                Some(_) = self.cancels.join_next() => Happened::CancelSent,
                _ = beat.tick() => Happened::HeartbeatDue,
                () = shutdown.cancelled(), if !self.draining => Happened::ShutdownRequested,
                () = sleep_until(silent_at) => Happened::CoordinatorSilent,
            };
            if matches!(happened, Happened::Received(_)) {
                silent_at = Instant::now() + patience;
            }
            match self.handle(happened).await {
                Ok(true) => {}
                Ok(false) => {
                    let drained = self.draining;
                    self.close().await;
                    return Ok(if drained {
                        Ended::Drained
                    } else {
                        Ended::Closed
                    });
                }
                Err(error) => {
                    let drained = self.draining;
                    self.abandon().await;
                    // Whoever was told to leave does not look for another coordinator.
                    return if drained {
                        Ok(Ended::Drained)
                    } else {
                        Err(error)
                    };
                }
            }
        }
    }

    /// Whether the session goes on.
    async fn handle(&mut self, happened: Happened) -> Result<bool> {
        match happened {
            Happened::Received(Ok(Some(message))) => self.receive(message).await?,
            Happened::Received(Ok(None)) if self.units.is_empty() => return Ok(false),
            Happened::Received(Ok(None)) => return Err(lost("the coordinator closed the session")),
            Happened::Received(Err(status)) => return Err(refused(&status)),
            Happened::UnitEnded(Ok((id, outcome))) => self.report(id, outcome).await?,
            Happened::UnitEnded(Err(error)) => self.report(error.id(), panicked(&error)).await?,
            Happened::CancelSent => {}
            Happened::HeartbeatDue => {
                self.running.sweep();
                self.send(Up::Heartbeat(Heartbeat {})).await?;
            }
            Happened::ShutdownRequested => self.drain().await?,
            Happened::CoordinatorSilent => {
                return Err(lost("nothing comes from the coordinator any more"));
            }
        }
        Ok(!(self.draining && self.units.is_empty()))
    }

    async fn receive(&mut self, message: CoordinatorMessage) -> Result<()> {
        match message.message {
            Some(Down::Task(task)) => {
                let key = (task.run.clone(), task.task);
                let spec = Spec::read(&task, Arc::clone(&self.resolver))?;
                self.specs.insert(key, Arc::new(spec));
            }
            Some(Down::Unit(unit)) => self.begin(unit),
            Some(Down::Cancel(cancel)) => {
                let unit = UnitRef::new(cancel.run, cancel.task, cancel.unit);
                let running = Arc::clone(&self.running);
                self.cancels
                    .spawn(async move { running.cancel(&unit).await });
            }
            Some(Down::Forget(forget)) => self.forget(&forget.run),
            Some(Down::Drain(_)) => self.drain().await?,
            Some(Down::Welcome(_) | Down::HeartbeatAck(_)) | None => {}
        }
        Ok(())
    }

    /// A run has ended: what is kept for it goes.
    fn forget(&mut self, run: &str) {
        let of_run = |((of, _), spec): (&(String, u32), &Arc<Spec>)| {
            (of == run).then(|| spec.database.clone())
        };
        let database = self.specs.iter().find_map(of_run);
        self.specs.retain(|(of, _), _| of != run);
        let of_others = |spec: &Arc<Spec>| Some(&spec.database) == database.as_ref();
        if let Some(database) = &database
            && !self.specs.values().any(of_others)
        {
            self.running.forget(database);
        }
    }

    fn begin(&mut self, unit: Unit) {
        let reference = UnitRef::of(&unit);
        let spec = self.specs.get(&(unit.run.clone(), unit.task)).cloned();
        let running = Arc::clone(&self.running);
        let handle = self.units.spawn(async move {
            let watch = upshift_shared::clock::Stopwatch::start();
            let outcome = match spec {
                Some(spec) => {
                    let outcome = Box::pin(running.run(&spec, &unit)).await;
                    spec.trace(&unit, &outcome, watch.elapsed());
                    outcome
                }
                None => Err(UnitError {
                    class: FailureClass::Later,
                    message: "the unit came before its task".to_owned(),
                    sqlstate: None,
                }),
            };
            (outcome, watch.elapsed())
        });
        self.names.insert(handle.id(), reference);
        self.metrics.in_flight(self.names.len());
    }

    async fn report(&mut self, id: Id, (outcome, elapsed): Outcome) -> Result<()> {
        let Some(unit) = self.names.remove(&id) else {
            return Ok(());
        };
        self.metrics.unit_ended(&outcome, elapsed);
        self.metrics.in_flight(self.names.len());
        if let Err(error) = &outcome {
            tracing::debug!(?unit, class = ?error.class, %error, "unit failed");
        }
        self.send(unit.result(outcome, elapsed)).await?;
        if !self.draining {
            self.send(Up::Credit(Credit { units: 1 })).await?;
        }
        Ok(())
    }

    async fn drain(&mut self) -> Result<()> {
        if !self.draining {
            self.draining = true;
            self.send(Up::Draining(Draining {})).await?;
        }
        Ok(())
    }

    /// Closes the way up, and waits until the coordinator has closed the way down: where both are dropped
    /// at once, HTTP/2 may cancel the stream before the last messages are sent.
    async fn close(self) {
        let Self {
            up, mut inbound, ..
        } = self;
        drop(up);
        let closed = async { while let Ok(Some(_)) = inbound.message().await {} };
        // A coordinator that does not close it will find out by the silence.
        let _closed = timeout(CLOSE_TIMEOUT, closed).await;
    }

    /// The coordinator is lost: whatever still runs is somebody else's soon.
    async fn abandon(&mut self) {
        for unit in self.names.values() {
            let (unit, running) = (unit.clone(), Arc::clone(&self.running));
            self.cancels
                .spawn(async move { running.cancel(&unit).await });
        }
        let ended = async {
            while self.cancels.join_next().await.is_some() {}
            while self.units.join_next().await.is_some() {}
        };
        // What does not end is dropped with the session, and its connection with it.
        let _ended = timeout(Duration::from_secs(10), ended).await;
    }

    async fn send(&self, message: Up) -> Result<()> {
        send(&self.up, message).await
    }
}

async fn send(up: &mpsc::Sender<WorkerMessage>, message: Up) -> Result<()> {
    let message = WorkerMessage {
        message: Some(message),
    };
    match timeout(SEND_TIMEOUT, up.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(lost("the coordinator closed the session")),
        Err(_) => Err(lost("the coordinator does not take messages any more")),
    }
}

fn panicked(error: &JoinError) -> Outcome {
    let failure = UnitError {
        class: FailureClass::Never,
        message: format!("the worker has a defect, please report it: {error}"),
        sqlstate: None,
    };
    (Err(failure), Duration::ZERO)
}

fn lost(what: &str) -> Error {
    Error::Io {
        context: "session with the coordinator".to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::ConnectionAborted, what.to_owned()),
    }
}

fn refused(status: &Status) -> Error {
    match status.code() {
        tonic::Code::FailedPrecondition | tonic::Code::PermissionDenied => {
            Error::Refused(format!("the coordinator refused: {}", status.message()))
        }
        _ => lost(&format!("{}: {}", status.code(), status.message())),
    }
}
