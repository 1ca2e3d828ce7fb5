//! The one loop that drives all runs of a process: receives, makes an `Input` of it, and handles that.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{broadcast, mpsc},
    time::{Interval, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use upshift_proto::v1::{Forget, WorkerStatus, coordinator_message, worker_message};
use upshift_shared::{
    ids::{RunId, WorkerId},
    ledger::Holder,
};

use super::{
    Ended,
    desk::{Desk, Link},
    drive::{Drive, Job, Watched},
    driver_failure,
    hub::{Input, Question},
    lease,
    workforce::Workforce,
};
use crate::{
    engine::{Command, Engine, Event, FailureClass},
    metrics::Metrics,
    progress::{Ending, ProgressEvent},
    server::{Joined, SessionEvent},
};

/// How often drives look what they have to do by themselves.
const TICK: Duration = Duration::from_millis(200);

/// Where what happens arrives.
pub(super) struct Inboxes {
    sessions: mpsc::Receiver<SessionEvent>,
    inputs: mpsc::Receiver<Input>,
    ticks: Interval,
}

impl Inboxes {
    pub(super) fn new(
        sessions: mpsc::Receiver<SessionEvent>,
        inputs: mpsc::Receiver<Input>,
    ) -> Self {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            sessions,
            inputs,
            ticks,
        }
    }
}

/// Drives all runs of a process.
pub struct Driver {
    engine: Engine,
    desk: Desk,
    drives: BTreeMap<RunId, Drive>,
    /// Runs that may have ended: the others are not looked at.
    maybe_over: Vec<RunId>,
    watchers: broadcast::Sender<Watched>,
    /// When the engine's timer is due, since the desk's clock began.
    timer: Option<Duration>,
    inboxes: Inboxes,
    /// Whether those who watch a run hear of the workers that come: those of the run's own process.
    tell_of_workers: bool,
    /// Whether the process was asked to stop.
    interrupted: bool,
    /// Whether another coordinator is to go on with what is driven.
    handing_over: bool,
}

impl Driver {
    pub(super) fn new(
        inboxes: Inboxes,
        watchers: broadcast::Sender<Watched>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            engine: Engine::new(),
            desk: Desk::new(metrics),
            drives: BTreeMap::new(),
            maybe_over: Vec::new(),
            watchers,
            timer: None,
            inboxes,
            tell_of_workers: false,
            interrupted: false,
            handing_over: false,
        }
    }

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
                    Err((holder, what)) => Input::Broken(holder, what),
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
                let (holder, ticket, operation, result) = *operated;
                if let Some(drive) = of(&mut self.drives, holder) {
                    drive.operated(ticket, operation, result, desk);
                    self.maybe_over.push(holder.run);
                }
            }
            Input::Broken(holder, what) => {
                if let Some(drive) = of(&mut self.drives, holder) {
                    drive.broken(what, desk);
                    self.maybe_over.push(holder.run);
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
                // It may come before there is anything to interrupt.
                self.interrupted = true;
                let drives = self.drives.values_mut();
                drives.for_each(|drive| drive.interrupt(desk));
            }
            Input::HandOver => {
                self.handing_over = true;
                let drives = self.drives.values_mut();
                drives.for_each(|drive| drive.hand_over(desk));
            }
            Input::OutOfService(why) => {
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
        for run in std::mem::take(&mut self.maybe_over) {
            let drive = self.drives.get(&run);
            if drive.is_none_or(|drive| drive.ended.is_none()) {
                continue;
            }
            if let Some(mut drive) = self.drives.remove(&run)
                && let Some(ended) = drive.ended.take()
            {
                self.desk.abandon(drive.scene.holder);
                self.forget(run);
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
        if matches!(command, Command::EndRun { .. }) {
            self.maybe_over.push(run);
        }
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
        let mut drive = Drive::begin(job, self.watchers.clone(), &mut self.desk);
        if self.interrupted {
            drive.interrupt(&mut self.desk);
        }
        if self.handing_over {
            drive.hand_over(&mut self.desk);
        }
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
            specs: HashSet::new(),
            held: HashSet::new(),
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
                // Once is enough, however often it says so.
                let link = self.desk.workers.get_mut(&worker);
                if let Some(link) = link.filter(|link| !link.draining) {
                    link.draining = true;
                    self.desk.feed(Event::WorkerDraining { worker });
                }
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
        let mut hit = BTreeSet::new();
        for (run, task, unit) in &link.held {
            if let Some(drive) = self.drives.get_mut(run) {
                drive.leases.returned((*task, *unit), worker);
                hit.insert(*run);
            }
        }
        if self.tell_of_workers {
            // What it does not hold is told of a run's own workers too.
            hit.extend(self.drives.keys());
        }
        for run in hit {
            let Some(drive) = self.drives.get_mut(&run) else {
                continue;
            };
            let held = link.held.iter().any(|(of, ..)| *of == run);
            if held || (!drive.stopping && !link.draining) {
                let reason = reason.to_owned();
                drive.show(&self.desk, &ProgressEvent::WorkerLost { worker, reason });
            } else if link.draining {
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
            Question::HandOver(run) => {
                if let Some(drive) = self.drives.get_mut(&run) {
                    drive.hand_over(&mut self.desk);
                }
            }
            Question::Stop(run) => {
                if let Some(drive) = self.drives.get_mut(&run).filter(|drive| !drive.stopping) {
                    drive.interrupt(&mut self.desk);
                }
            }
        }
    }

    /// What workers keep for a drive is of no more use: a later one may prepare its tasks anew.
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

/// What another drive of the same run has begun says nothing.
fn of(drives: &mut BTreeMap<RunId, Drive>, holder: Holder) -> Option<&mut Drive> {
    let drive = drives.get_mut(&holder.run)?;
    (drive.scene.holder == holder).then_some(drive)
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
        units_in_flight: u32::try_from(link.held.len()).unwrap_or(u32::MAX),
        draining: link.draining,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}
