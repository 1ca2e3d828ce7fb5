//! The `Session` service: one stream a worker. What a worker says becomes [`SessionEvent`]s in one
//! bounded channel; what the driver has for it goes through an [`Outbox`] of its own. A worker that
//! is silent for too long is lost.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};
use upshift_proto::v1::{
    CoordinatorMessage, HeartbeatAck, Hello, Welcome, WorkerMessage, coordinator_message,
    session_server::Session, worker_message,
};
use upshift_shared::{config::Role, ids::WorkerId};

use super::{
    door::Entrance,
    identity::{Identity, identity, shown},
    rates::{Log, Rates},
};

/// A worker sends a heartbeat at least this often.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// A worker that was silent for this long is lost.
const HEARTBEAT_DEADLINE: Duration = Duration::from_secs(10);
/// Beyond what a worker's credit allows: task specifications, drains, acknowledgements.
const OUTBOX_SLACK: usize = 16;
/// No worker runs more units at once; a larger number in Hello is a defect or an attack.
const MOST_SLOTS: u32 = 1024;
/// Labels of a worker, and characters of one.
const MOST_LABELS: usize = 32;
const LABEL_LENGTH: usize = 128;
/// Of what PostgreSQL said to a worker, in bytes: messages wait in a queue, are logged, and go into the
/// ledger.
const SAID_BYTES: usize = 16 * 1024;

/// A worker that opened a session.
#[derive(Debug)]
pub struct Joined {
    /// The number of its session.
    pub worker: WorkerId,
    /// Its own name.
    pub name: String,
    /// By which its certificate or token knows it.
    pub known_as: String,
    /// Where it is.
    pub labels: BTreeMap<String, String>,
    /// How many units it runs at once.
    pub slots: u32,
    /// How to reach it. When it is dropped, the session ends.
    pub outbox: Outbox,
}

/// What a worker's session has to tell.
#[derive(Debug)]
pub enum SessionEvent {
    /// A worker opened a session.
    Joined(Joined),
    /// It said something (heartbeats are dealt with before).
    Said {
        /// The number of its session.
        worker: WorkerId,
        /// What.
        message: worker_message::Message,
    },
    /// Its session has ended.
    Lost {
        /// The number of its session.
        worker: WorkerId,
        /// Why.
        reason: String,
    },
}

/// The way to one worker: bounded, because a worker that does not read is as good as lost.
#[derive(Debug, Clone)]
pub struct Outbox(mpsc::Sender<Result<CoordinatorMessage, Status>>);

impl Outbox {
    /// Queues a message; `false` when the worker does not read or is gone.
    #[must_use]
    pub fn send(&self, message: coordinator_message::Message) -> bool {
        let message = CoordinatorMessage {
            message: Some(message),
        };
        self.0.try_send(Ok(message)).is_ok()
    }
}

/// The service.
#[derive(Debug)]
pub struct SessionService {
    events: Entrance<mpsc::Sender<SessionEvent>>,
    next_worker: AtomicU32,
    readers: TaskTracker,
    rates: Rates,
    log: Log,
    heartbeat_deadline: Duration,
    /// Whether a doorman has looked who asks.
    guarded: bool,
}

impl SessionService {
    /// For workers of this process, which nobody else can pass for: reports to `events`; readers of
    /// sessions run in `readers`.
    #[must_use]
    pub fn new(events: mpsc::Sender<SessionEvent>, readers: TaskTracker) -> Self {
        Self {
            guarded: false,
            ..Self::guarded(Entrance::always(events), readers)
        }
    }

    /// For workers anywhere, behind a doorman.
    #[must_use]
    pub fn guarded(events: Entrance<mpsc::Sender<SessionEvent>>, readers: TaskTracker) -> Self {
        Self {
            events,
            next_worker: AtomicU32::new(0),
            readers,
            rates: Rates::of_sessions(),
            log: Log::default(),
            heartbeat_deadline: HEARTBEAT_DEADLINE,
            guarded: true,
        }
    }

    /// The log of the coordinator tells it as well: whoever looks into a worker's may be somebody else.
    fn refused<T>(&self, request: &Request<T>, refusal: &Status) {
        if self.log.has_room() {
            let from = request.remote_addr();
            tracing::warn!(?from, why = refusal.message(), "a worker was refused");
        }
    }

    /// Who asks, if it may.
    fn admit(&self, request: &Request<Streaming<WorkerMessage>>) -> Result<Identity, Status> {
        if !self.guarded {
            return Ok(Identity::local());
        }
        let who = identity(request)?;
        self.rates.count(&who, request)?;
        who.expect(Role::Worker)
            .inspect_err(|refusal| self.refused(request, refusal))?;
        Ok(who)
    }
}

/// Refuses another version: units and their specifications are not a stable format.
fn check(hello: &Hello) -> Result<(), Status> {
    let ours = env!("CARGO_PKG_VERSION");
    if hello.version != ours {
        return Err(Status::failed_precondition(format!(
            "the worker is version {}, the coordinator {ours}: install the same version on both",
            shown(&hello.version, 32)
        )));
    }
    if hello.slots == 0 || hello.slots > MOST_SLOTS {
        return Err(Status::invalid_argument(format!(
            "a worker has between 1 and {MOST_SLOTS} slots, not {}",
            hello.slots
        )));
    }
    let fits = |text: &String| text.len() <= LABEL_LENGTH && shown(text, LABEL_LENGTH) == *text;
    let labels = hello.labels.iter();
    if hello.labels.len() > MOST_LABELS
        || !labels
            .clone()
            .all(|(name, value)| fits(name) && fits(value))
        || !fits(&hello.name)
    {
        return Err(Status::invalid_argument(format!(
            "a worker has up to {MOST_LABELS} labels, each of up to {LABEL_LENGTH} characters, and so \
             has its name"
        )));
    }
    Ok(())
}

#[tonic::async_trait]
impl Session for SessionService {
    type OpenStream = ReceiverStream<Result<CoordinatorMessage, Status>>;

    async fn open(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::OpenStream>, Status> {
        let who = self.admit(&request)?;
        let events = self.events.enter()?;
        let (metadata, extensions, mut inbound) = request.into_parts();
        let asked = Request::from_parts(metadata, extensions, ());
        let first = timeout(self.heartbeat_deadline, inbound.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no Hello"))??;
        let Some(worker_message::Message::Hello(hello)) = first.and_then(|m| m.message) else {
            return Err(Status::invalid_argument("the first message must be Hello"));
        };
        check(&hello).inspect_err(|refusal| self.refused(&asked, refusal))?;
        let worker = WorkerId(self.next_worker.fetch_add(1, Ordering::Relaxed));
        let capacity = hello.slots as usize * 2 + OUTBOX_SLACK;
        let (sender, receiver) = mpsc::channel(capacity);
        let outbox = Outbox(sender);
        let welcomed = outbox.send(coordinator_message::Message::Welcome(Welcome {
            worker: worker.0,
            heartbeat_millis: u32::try_from(HEARTBEAT.as_millis()).unwrap_or(u32::MAX),
        }));
        debug_assert!(welcomed, "the queue is empty");
        let joined = SessionEvent::Joined(Joined {
            worker,
            name: hello.name,
            known_as: who.name,
            labels: hello.labels.into_iter().collect(),
            slots: hello.slots,
            outbox: outbox.clone(),
        });
        let gone = |_| Status::unavailable("the coordinator is stopping");
        events.send(joined).await.map_err(gone)?;
        self.readers.spawn(read(
            worker,
            inbound,
            // Weak: the driver alone decides how long the session lasts.
            Arc::new(outbox.0.downgrade()),
            events,
            self.heartbeat_deadline,
        ));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// What a worker says about a failure, no longer than it has to be, and without what moves a terminal's
/// cursor. Queued messages are small then, whatever was sent.
fn shorten(message: &mut worker_message::Message) {
    let worker_message::Message::UnitFailed(failed) = message else {
        return;
    };
    let lines = failed.message.split('\n');
    let lines: Vec<String> = lines.map(|line| shown(line, SAID_BYTES)).collect();
    failed.message = lines.join("\n");
    if failed.message.len() > SAID_BYTES {
        let end = failed.message.floor_char_boundary(SAID_BYTES);
        failed.message.truncate(end);
        failed.message.shrink_to_fit();
    }
    failed.sqlstate = failed
        .sqlstate
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(5)
        .collect();
}

type Downgraded = mpsc::WeakSender<Result<CoordinatorMessage, Status>>;

/// Forwards what a worker says until its session ends, and then says so.
async fn read(
    worker: WorkerId,
    mut inbound: Streaming<WorkerMessage>,
    outbox: Arc<Downgraded>,
    events: mpsc::Sender<SessionEvent>,
    deadline: Duration,
) {
    let reason = loop {
        let message = match timeout(deadline, inbound.message()).await {
            Err(_) => break format!("silent for {} s", deadline.as_secs()),
            Ok(Err(status)) => break shown(status.message(), 256),
            Ok(Ok(None)) => break "the session was closed".to_owned(),
            Ok(Ok(Some(message))) => message,
        };
        match message.message {
            Some(worker_message::Message::Heartbeat(_)) => {
                let Some(outbox) = outbox.upgrade() else {
                    break "the coordinator closed the session".to_owned();
                };
                let answer = coordinator_message::Message::HeartbeatAck(HeartbeatAck {});
                if !Outbox(outbox).send(answer) {
                    break "the worker does not read".to_owned();
                }
            }
            Some(mut message) => {
                shorten(&mut message);
                if events
                    .send(SessionEvent::Said { worker, message })
                    .await
                    .is_err()
                {
                    return;
                }
            }
            // A message of a newer version: versions are equal, so this cannot be.
            None => break "a message that is not understood".to_owned(),
        }
    };
    // The driver may be gone already.
    let _stopped = events.send(SessionEvent::Lost { worker, reason }).await;
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;
    use upshift_proto::v1::{Credit, Heartbeat, session_client::SessionClient};

    use super::*;
    use crate::server::{PrivateSocket, serve};

    /// A server with a session service whose workers may be silent for this long.
    struct Stage {
        events: mpsc::Receiver<SessionEvent>,
        client: SessionClient<tonic::transport::Channel>,
        stop: CancellationToken,
        serving: tokio::task::JoinSet<()>,
        _socket: PrivateSocket,
    }

    impl Stage {
        async fn set(heartbeat_deadline: Duration) -> Self {
            let socket = PrivateSocket::create().expect("a directory");
            let listener = socket.listen().expect("a socket");
            let (sender, events) = mpsc::channel(8);
            let session = SessionService {
                heartbeat_deadline,
                ..SessionService::new(sender, TaskTracker::new())
            };
            let stop = CancellationToken::new();
            let mut serving = tokio::task::JoinSet::new();
            let server = serve(listener, session, stop.clone());
            serving.spawn(async { server.await.expect("the server works") });
            let address = format!("unix:{}", socket.path().display());
            let endpoint = tonic::transport::Endpoint::try_from(address).expect("an address");
            let channel = endpoint.connect().await.expect("it listens");
            let client = SessionClient::new(channel);
            Self {
                events,
                client,
                stop,
                serving,
                _socket: socket,
            }
        }

        async fn event(&mut self) -> SessionEvent {
            let event = timeout(Duration::from_secs(30), self.events.recv()).await;
            event.expect("it comes soon").expect("the server is there")
        }

        async fn end(mut self) {
            drop((self.client, self.events));
            self.stop.cancel();
            while self.serving.join_next().await.is_some() {}
        }
    }

    fn say(message: worker_message::Message) -> WorkerMessage {
        WorkerMessage {
            message: Some(message),
        }
    }

    fn hello(version: &str, slots: u32) -> Hello {
        Hello {
            version: version.to_owned(),
            name: "host:1".to_owned(),
            slots,
            ..Hello::default()
        }
    }

    #[test]
    fn another_version_is_refused() {
        assert!(check(&hello(env!("CARGO_PKG_VERSION"), 1)).is_ok());
        let refused = check(&hello("0.0.1", 1)).expect_err("it is another version");
        assert!(refused.message().contains("install the same version"));
        assert!(check(&hello(env!("CARGO_PKG_VERSION"), 0)).is_err());
    }

    #[tokio::test]
    async fn a_session_begins_goes_on_and_ends() {
        let mut stage = Stage::set(HEARTBEAT_DEADLINE).await;
        let (up, outbound) = mpsc::channel(8);
        let send = async |message| up.send(say(message)).await.expect("the stream is open");
        send(worker_message::Message::Hello(hello(
            env!("CARGO_PKG_VERSION"),
            2,
        )))
        .await;
        let stream = stage.client.open(ReceiverStream::new(outbound)).await;
        let mut down = stream.expect("it is welcome").into_inner();
        let SessionEvent::Joined(Joined { worker, outbox, .. }) = stage.event().await else {
            panic!("it joins first");
        };
        let welcome = down
            .message()
            .await
            .expect("it is open")
            .expect("Welcome comes");
        assert!(matches!(
            welcome.message,
            Some(coordinator_message::Message::Welcome(_))
        ));
        send(worker_message::Message::Heartbeat(Heartbeat {})).await;
        let answer = down
            .message()
            .await
            .expect("it is open")
            .expect("an answer comes");
        assert!(matches!(
            answer.message,
            Some(coordinator_message::Message::HeartbeatAck(_))
        ));
        send(worker_message::Message::Credit(Credit { units: 2 })).await;
        assert!(matches!(
            stage.event().await,
            SessionEvent::Said { worker: of, message: worker_message::Message::Credit(_) } if of == worker
        ));
        drop(outbox);
        assert!(
            down.message().await.expect("it ends well").is_none(),
            "the driver ended it"
        );
        drop(up);
        assert!(
            matches!(stage.event().await, SessionEvent::Lost { worker: of, .. } if of == worker)
        );
        drop(down);
        stage.end().await;
    }

    #[tokio::test]
    async fn a_silent_worker_is_lost_and_a_rude_one_refused() {
        let mut stage = Stage::set(Duration::from_millis(50)).await;
        let (up, outbound) = mpsc::channel(8);
        let first = say(worker_message::Message::Heartbeat(Heartbeat {}));
        up.send(first).await.expect("the stream is open");
        let refused = stage.client.open(ReceiverStream::new(outbound)).await;
        assert!(refused.is_err(), "Hello has to come first");
        let (up, outbound) = mpsc::channel(8);
        let first = say(worker_message::Message::Hello(hello(
            env!("CARGO_PKG_VERSION"),
            1,
        )));
        up.send(first).await.expect("the stream is open");
        let stream = stage.client.open(ReceiverStream::new(outbound)).await;
        let _down = stream.expect("it is welcome");
        // Held: a dropped outbox would end the session by itself.
        let joined = stage.event().await;
        assert!(matches!(joined, SessionEvent::Joined(_)));
        match stage.event().await {
            SessionEvent::Lost { reason, .. } => assert!(reason.contains("silent"), "{reason}"),
            other => panic!("it is lost: {other:?}"),
        }
        drop((up, joined));
        stage.end().await;
    }
}
