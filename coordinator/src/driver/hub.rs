//! The way to the loop that drives all runs of a process.

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot};
use upshift_proto::v1::{RunStatus, WorkerStatus};
use upshift_shared::{
    Error, Result,
    ids::{RunId, WorkerId},
    ledger::Holder,
};

use super::{
    attend::{Driver, Inboxes},
    desk::Operated,
    drive::{Job, Notice, Watched},
};
use crate::{
    engine::{Load, ServerId},
    metrics::Metrics,
    server::SessionEvent,
};

/// Inputs that are not handled yet; then whoever has one waits.
const INPUTS: usize = 256;
/// Events of sessions likewise.
const SESSION_EVENTS: usize = 1024;
/// Events that a slow watcher may fall behind.
const WATCHED_EVENTS: usize = 4096;

/// What can happen.
pub(super) enum Input {
    /// A worker's session.
    Session(SessionEvent),
    /// An operation has ended.
    Operated(Box<Operated>),
    /// One broke.
    Broken(Holder, String),
    /// The engine's timer is due.
    Timer,
    /// Drives look what they have to do by themselves.
    Tick,
    /// A run is to be driven.
    Begin(Box<Job>),
    /// Something happened to a run.
    Of(RunId, Notice),
    /// Ctrl-C, or SIGTERM: all runs.
    Interrupt,
    /// Another coordinator is to go on with all runs.
    HandOver,
    /// Nothing can be done here any more, and why: the workers have all ended, or the server that they
    /// speak to.
    OutOfService(String),
    /// Somebody asks.
    Ask(Question),
}

/// What is asked, with the way to answer.
pub(super) enum Question {
    /// How runs stand; of all where none is named.
    Status(Option<RunId>, oneshot::Sender<Vec<RunStatus>>),
    /// Which workers there are.
    Workers(oneshot::Sender<Vec<WorkerStatus>>),
    /// A worker is to leave; whether it is there.
    Drain(WorkerId, oneshot::Sender<bool>),
    /// How much there is to do.
    Load(oneshot::Sender<Load>),
    /// Units at once on a server.
    LimitServer(ServerId, u32),
    /// Units at once in all.
    LimitUnits(Option<u32>),
    /// A run is to stop, as by Ctrl-C.
    Stop(RunId),
    /// A run is to be gone on with later.
    HandOver(RunId),
}

/// How to tell the loop what happens to one run.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) run: RunId,
    inputs: mpsc::Sender<Input>,
}

impl Told {
    /// Tells it; `Err` when nobody listens any more.
    pub(super) async fn send(&self, notice: Notice) -> Result<(), Gone> {
        let sent = self.inputs.send(Input::Of(self.run, notice)).await;
        sent.map_err(|_| Gone)
    }

    /// Tells it unless it has fallen behind.
    pub(super) fn try_send(&self, notice: Notice) {
        let _full = self.inputs.try_send(Input::Of(self.run, notice));
    }
}

/// The loop has ended.
#[derive(Debug)]
pub(super) struct Gone;

/// The way to the loop.
#[derive(Clone)]
pub struct Hub {
    inputs: mpsc::Sender<Input>,
    sessions: mpsc::Sender<SessionEvent>,
    watchers: broadcast::Sender<Watched>,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

/// Another process may drive them, or this one again.
pub(super) fn ended() -> Error {
    Error::Io {
        context: "driving a run".to_owned(),
        source: std::io::Error::other("this process drives no runs any more"),
    }
}

impl Hub {
    /// A loop, to be run by its owner, and the way to it.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> (Self, Driver) {
        let (inputs, input_receiver) = mpsc::channel(INPUTS);
        let (sessions, session_receiver) = mpsc::channel(SESSION_EVENTS);
        let (watchers, _) = broadcast::channel(WATCHED_EVENTS);
        let hub = Self {
            inputs,
            sessions,
            watchers: watchers.clone(),
            metrics: Arc::clone(&metrics),
        };
        let inboxes = Inboxes::new(session_receiver, input_receiver);
        let driver = Driver::new(inboxes, watchers, metrics);
        (hub, driver)
    }

    /// Where sessions of workers report to.
    #[must_use]
    pub fn sessions(&self) -> mpsc::Sender<SessionEvent> {
        self.sessions.clone()
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The events of all runs from now on.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<Watched> {
        self.watchers.subscribe()
    }

    pub(super) fn told(&self, run: RunId) -> Told {
        Told {
            run,
            inputs: self.inputs.clone(),
        }
    }

    pub(super) async fn send(&self, input: Input) -> Result<()> {
        self.inputs.send(input).await.map_err(|_| ended())
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        self.send(Input::Ask(question(sender))).await?;
        receiver.await.map_err(|_| ended())
    }

    /// How runs stand that are driven; of all where none is named.
    ///
    /// # Errors
    /// When the loop has ended, as for all that follow.
    pub async fn status(&self, run: Option<RunId>) -> Result<Vec<RunStatus>> {
        self.ask(|answer| Question::Status(run, answer)).await
    }

    /// The workers that have a session.
    ///
    /// # Errors
    /// See [`Self::status`].
    pub async fn workers(&self) -> Result<Vec<WorkerStatus>> {
        self.ask(Question::Workers).await
    }

    /// Asks a worker to leave; `false` where there is no such worker.
    ///
    /// # Errors
    /// See [`Self::status`].
    pub async fn drain(&self, worker: WorkerId) -> Result<bool> {
        self.ask(|answer| Question::Drain(worker, answer)).await
    }

    /// How much there is to do.
    ///
    /// # Errors
    /// See [`Self::status`].
    pub async fn load(&self) -> Result<Load> {
        self.ask(Question::Load).await
    }

    /// From now on at most so many units at once on a server.
    ///
    /// # Errors
    /// See [`Self::status`].
    pub async fn limit_server(&self, server: ServerId, max_units: u32) -> Result<()> {
        let limit = Question::LimitServer(server, max_units);
        self.send(Input::Ask(limit)).await
    }

    /// The same for all runs together.
    ///
    /// # Errors
    /// See [`Self::status`].
    pub async fn limit_units(&self, max_units: Option<u32>) -> Result<()> {
        self.send(Input::Ask(Question::LimitUnits(max_units))).await
    }

    /// Stops a run, if it is driven: units in flight end.
    ///
    /// # Errors
    /// See [`Self::status`].
    pub async fn stop(&self, run: RunId) -> Result<()> {
        self.send(Input::Ask(Question::Stop(run))).await
    }

    /// A run begins nothing any more, if it is driven, and ends when its units have, as it stands.
    ///
    /// # Errors
    /// See [`Self::status`].
    pub async fn hand_over_run(&self, run: RunId) -> Result<()> {
        self.send(Input::Ask(Question::HandOver(run))).await
    }

    /// No run begins anything any more; each ends when its units have, as it stands.
    ///
    /// # Errors
    /// See [`Self::status`].
    pub async fn hand_over(&self) -> Result<()> {
        self.send(Input::HandOver).await
    }

    /// Ctrl-C or SIGTERM: runs stop; the second time, units in flight are cancelled.
    ///
    /// # Errors
    /// See [`Self::status`].
    pub async fn interrupt(&self) -> Result<()> {
        self.send(Input::Interrupt).await
    }
}
