//! The one loop that drives all runs of a process: receives, makes an [`Input`] of it, and handles that.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::{Interval, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use upshift_proto::v1::{Forget, RunStatus, WorkerStatus, coordinator_message, worker_message};
use upshift_shared::{
    Error, Result,
    ids::{RunId, WorkerId},
};

use super::{
    Ended,
    desk::{Desk, Link, Operated},
    drive::{Drive, Job, Notice, Watched},
    driver_failure, lease,
    workforce::Workforce,
};
use crate::{
    engine::{Command, Engine, Event, FailureClass, Load, ServerId},
    metrics::Metrics,
    progress::{Ending, ProgressEvent},
    server::{Joined, SessionEvent},
};

/// Inputs that are not handled yet; then whoever has one waits.
const INPUTS: usize = 256;
/// Events of sessions likewise.
const SESSION_EVENTS: usize = 1024;
/// Events that a slow watcher may fall behind.
const WATCHED_EVENTS: usize = 4096;
/// How often drives look what they have to do by themselves.
const TICK: Duration = Duration::from_millis(200);

/// What can happen.
pub(super) enum Input {
    /// A worker's session.
    Session(SessionEvent),
    /// An operation has ended.
    Operated(Box<Operated>),
    /// One broke.
    Broken(RunId, String),
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
    /// The workers of this process have all ended.
    WorkersEnded(String),
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
    /// A run's workers forget it.
    Forget(RunId),
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

fn ended() -> Error {
    Error::Refused("this process drives no runs any more".to_owned())
}

impl Hub {
    /// A loop, to be run by its owner, and the way to it.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> (Self, Driver) {
        let (inputs, input_receiver) = mpsc::channel(INPUTS);
        let (sessions, session_receiver) = mpsc::channel(SESSION_EVENTS);
        let (watchers, _) = broadcast::channel(WATCHED_EVENTS);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let hub = Self {
            inputs,
            sessions,
            watchers: watchers.clone(),
            metrics: Arc::clone(&metrics),
        };
        let driver = Driver {
            engine: Engine::new(),
            desk: Desk::new(metrics),
            drives: BTreeMap::new(),
            watchers,
            timer: None,
            inboxes: Inboxes {
                sessions: session_receiver,
                inputs: input_receiver,
                ticks,
            },
            tell_of_workers: false,
        };
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

    /// What workers keep for a run is of no more use.
    ///
    /// # Errors
    /// See [`Self::status`].
    pub async fn forget(&self, run: RunId) -> Result<()> {
        self.send(Input::Ask(Question::Forget(run))).await
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

/// Where what happens arrives.
struct Inboxes {
    sessions: mpsc::Receiver<SessionEvent>,
    inputs: mpsc::Receiver<Input>,
    ticks: Interval,
}

/// Drives all runs of a process.
pub struct Driver {
    engine: Engine,
    desk: Desk,
    drives: BTreeMap<RunId, Drive>,
    watchers: broadcast::Sender<Watched>,
    /// When the engine's timer is due, since the desk's clock began.
    timer: Option<Duration>,
    inboxes: Inboxes,
    /// Whether those who watch a run hear of the workers that come: those of the run's own process.
    tell_of_workers: bool,
}

impl Driver {
    /// Drives whatever is to be driven until `stop`; then workers are asked to leave where they are of this
    /// process, and their sessions end.
    pub(super) async fn with(mut self, mut workforce: Workforce, stop: CancellationToken) {
        self.tell_of_workers = true;
        self.attend(&mut Some(&mut workforce), &stop).await;
        // First, so that workers do not take the end of their sessions for a loss.
        workforce.dismiss();
        for link in self.desk.workers.values() {
            // One that does not read is not waited for.
            let _unread = link.worker.outbox.send(lease::drain());
        }
        drop(self);
        workforce.ended().await;
    }

    /// The same with workers elsewhere: they look for the next coordinator.
    pub async fn run(mut self, stop: CancellationToken) {
        self.attend(&mut None, &stop).await;
    }

    async fn attend(&mut self, workforce: &mut Option<&mut Workforce>, stop: &CancellationToken) {
        loop {
            let timer = self.timer.map(|at| at.saturating_sub(self.desk.now()));
            let inboxes = &mut self.inboxes;
            let input = tokio::select! {
                () = stop.cancelled() => return,
                Some(event) = inboxes.sessions.recv() => Input::Session(event),
                Some(input) = inboxes.inputs.recv() => input,
                Some(done) = self.desk.next_operated() => match done {
                    Ok(operated) => Input::Operated(Box::new(operated)),
                    Err((run, what)) => Input::Broken(run, what),
                },
                Some(input) = ended_of(workforce) => input,
                () = sleep(timer.unwrap_or_default()), if timer.is_some() => Input::Timer,
                _ = inboxes.ticks.tick() => Input::Tick,
            };
            self.take(input);
            if let (Some(workers), Some(workforce)) =
                (self.desk.workers_wanted.take(), workforce.as_deref_mut())
            {
                workforce.set(workers);
            }
        }
    }

    /// Handles one thing that happened, and all that follows from it.
    fn take(&mut self, input: Input) {
        let desk = &mut self.desk;
        match input {
            Input::Session(event) => self.session(event),
            Input::Operated(operated) => {
                let (run, ticket, operation, result) = *operated;
                if let Some(drive) = self.drives.get_mut(&run) {
                    drive.operated(ticket, operation, result, desk);
                }
            }
            Input::Broken(run, what) => {
                if let Some(drive) = self.drives.get_mut(&run) {
                    drive.stop(driver_failure(FailureClass::Never, what), desk);
                }
            }
            Input::Timer => {
                self.timer = None;
                desk.feed(Event::TimerFired);
            }
            Input::Tick => self.drives.values_mut().for_each(|drive| drive.tick(desk)),
            Input::Begin(job) => self.begin(*job),
            Input::Of(run, notice) => {
                if let Some(drive) = self.drives.get_mut(&run) {
                    drive.take(notice, desk);
                }
            }
            Input::Interrupt => {
                let drives = self.drives.values_mut();
                drives.for_each(|drive| drive.interrupt(desk));
            }
            Input::HandOver => {
                let drives = self.drives.values_mut();
                drives.for_each(|drive| drive.hand_over(desk));
            }
            Input::WorkersEnded(why) => {
                for drive in self.drives.values_mut() {
                    drive.stop(driver_failure(FailureClass::Operator, why.clone()), desk);
                }
            }
            Input::Ask(question) => self.answer(question),
        }
        self.pump();
    }

    /// Tells the engine what it has to be told, does what it says, and lets go of runs that have ended.
    fn pump(&mut self) {
        loop {
            while let Some(event) = self.desk.events.pop_front() {
                match self.engine.handle(event, self.desk.now()) {
                    Ok(commands) => commands
                        .into_iter()
                        .for_each(|command| self.execute(command)),
                    // Nothing has changed. Reports that crossed a loss on the way are the usual cause.
                    Err(illegal) => tracing::warn!(%illegal, "event refused"),
                }
            }
            let Some(deaf) = self.desk.deaf.pop() else {
                break;
            };
            self.lose(deaf, "it does not read");
        }
        let over: Vec<RunId> = self
            .drives
            .iter()
            .filter(|(_, drive)| drive.ended.is_some())
            .map(|(run, _)| *run)
            .collect();
        for run in over {
            if let Some(mut drive) = self.drives.remove(&run)
                && let Some(ended) = drive.ended.take()
            {
                drive.finish(ended, self.desk.now());
            }
        }
    }

    fn execute(&mut self, command: Command) {
        let run = match &command {
            Command::SetTimer { at } => {
                self.timer = Some(*at);
                return;
            }
            Command::PrepareTask { run, .. }
            | Command::CutTask { run, .. }
            | Command::SplitUnit { run, .. }
            | Command::LeaseUnit { run, .. }
            | Command::RecordTask { run, .. }
            | Command::RecordCheckpoint { run, .. }
            | Command::ReportRetry { run, .. }
            | Command::EndRun { run, .. } => *run,
        };
        if let Some(drive) = self.drives.get_mut(&run) {
            drive.execute(command, &mut self.desk);
        }
    }

    fn begin(&mut self, job: Job) {
        let run = job.scene.holder.run;
        if self.drives.contains_key(&run) {
            let ended = Ended {
                ending: Ending::Stopped,
                message: "this process drives the run already".to_owned(),
                fenced: false,
            };
            let _gone = job.ended.send(ended);
            return;
        }
        let drive = Drive::begin(job, self.watchers.clone(), &mut self.desk);
        self.drives.insert(run, drive);
    }

    fn session(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::Joined(joined) => self.joined(joined),
            SessionEvent::Lost { worker, reason } => self.lose(worker, &reason),
            SessionEvent::Said { worker, message } => self.said(worker, message),
        }
    }

    fn joined(&mut self, joined: Joined) {
        let (worker, labels) = (joined.worker, joined.labels.clone());
        tracing::info!(%worker, name = joined.name, "a worker has joined");
        let name = joined.name.clone();
        let link = Link {
            worker: joined,
            specs: std::collections::HashSet::new(),
            held: 0,
            draining: false,
        };
        self.desk.workers.insert(worker, link);
        if self.tell_of_workers {
            let event = ProgressEvent::WorkerJoined { worker, name };
            let drives = self.drives.values_mut();
            drives.for_each(|drive| drive.show(&self.desk, &event));
        }
        self.desk.feed(Event::WorkerJoined { worker, labels });
    }

    fn said(&mut self, worker: WorkerId, message: worker_message::Message) {
        use worker_message::Message;
        match message {
            Message::Credit(credit) => {
                let units = credit.units;
                self.desk.feed(Event::CreditGranted { worker, units });
            }
            Message::Draining(_) => {
                if let Some(link) = self.desk.workers.get_mut(&worker) {
                    link.draining = true;
                }
                self.desk.feed(Event::WorkerDraining { worker });
            }
            Message::UnitDone(done) => {
                if let Some(drive) = drive(&mut self.drives, &done.run) {
                    drive.unit_done(worker, &done, &mut self.desk);
                }
            }
            Message::UnitFailed(failed) => {
                if let Some(drive) = drive(&mut self.drives, &failed.run) {
                    drive.unit_failed(worker, failed, &mut self.desk);
                }
            }
            // The service deals with both before they come here.
            Message::Hello(_) | Message::Heartbeat(_) => {}
        }
    }

    fn lose(&mut self, worker: WorkerId, reason: &str) {
        let Some(link) = self.desk.workers.remove(&worker) else {
            return;
        };
        tracing::info!(%worker, name = link.worker.name, reason, "a worker's session has ended");
        for drive in self.drives.values_mut() {
            let held = drive.leases.lose(worker);
            if held > 0 || (self.tell_of_workers && !drive.stopping && !link.draining) {
                let reason = reason.to_owned();
                drive.show(&self.desk, &ProgressEvent::WorkerLost { worker, reason });
            } else if self.tell_of_workers && link.draining {
                drive.show(&self.desk, &ProgressEvent::WorkerLeft { worker });
            }
        }
        self.desk.feed(Event::WorkerLost { worker });
    }

    fn answer(&mut self, question: Question) {
        // Whoever asked may have gone meanwhile.
        match question {
            Question::Status(run, answer) => {
                let drives = self.drives.values();
                let asked = drives.filter(|drive| run.is_none_or(|run| run == drive.run));
                let _gone = answer.send(asked.map(Drive::status).collect());
            }
            Question::Workers(answer) => {
                let mut workers: Vec<WorkerStatus> =
                    self.desk.workers.values().map(worker_status).collect();
                workers.sort_by_key(|worker| worker.worker);
                let _gone = answer.send(workers);
            }
            Question::Drain(worker, answer) => {
                let link = self.desk.workers.get(&worker);
                // One that does not read will be lost by its silence.
                let asked = link.is_some_and(|link| link.worker.outbox.send(lease::drain()));
                let _gone = answer.send(asked);
            }
            Question::Load(answer) => {
                let _gone = answer.send(self.engine.load());
            }
            Question::LimitServer(server, max_units) => {
                self.desk.feed(Event::ServerLimited { server, max_units });
            }
            Question::LimitUnits(max_units) => self.desk.feed(Event::UnitsLimited { max_units }),
            Question::Stop(run) => {
                if let Some(drive) = self.drives.get_mut(&run).filter(|drive| !drive.stopping) {
                    drive.interrupt(&mut self.desk);
                }
            }
            Question::Forget(run) => self.forget(run),
        }
    }

    fn forget(&mut self, run: RunId) {
        for link in self.desk.workers.values_mut() {
            let knew = link.specs.len();
            link.specs.retain(|(of, _)| *of != run);
            if link.specs.len() < knew {
                let forget = Forget {
                    run: run.to_string(),
                };
                let forget = coordinator_message::Message::Forget(forget);
                // One that does not read keeps what it has.
                let _unread = link.worker.outbox.send(forget);
            }
        }
    }
}

/// Reports on runs that are not driven here say nothing.
fn drive<'d>(drives: &'d mut BTreeMap<RunId, Drive>, run: &str) -> Option<&'d mut Drive> {
    drives.get_mut(&run.parse().ok()?)
}

/// The next end of a worker of this process that means something.
async fn ended_of(workforce: &mut Option<&mut Workforce>) -> Option<Input> {
    let workforce = workforce.as_deref_mut()?;
    loop {
        let end = workforce.next_end().await?;
        if let Some(input) = workforce.after(end) {
            return Some(input);
        }
    }
}

fn worker_status(link: &Link) -> WorkerStatus {
    let worker = &link.worker;
    WorkerStatus {
        worker: worker.worker.0,
        name: worker.name.clone(),
        known_as: worker.known_as.clone(),
        labels: worker.labels.clone().into_iter().collect::<HashMap<_, _>>(),
        slots: worker.slots,
        units_in_flight: link.held,
        draining: link.draining,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}
