//! A coordinator: its lease, its campaign, what it does with the lead, its workers' sessions, and what operators
//! want of it. The leader drives all runs with one engine.

use std::collections::BTreeMap;

use upshift_coordinator::engine::Engine;
use upshift_shared::ids::{RunId, WorkerId};

use super::{
    Defect, adapter,
    driver::Control,
    ledger::{Operation, Reply as LedgerReply},
    message::{Answer, Down, Message, Order, Timer, Up},
    process::{Caller, Node},
    queue::Millis,
    standing::Standing,
    store::{Entry, Key, LEASE, MEMBERS, Reply as StoreReply, Request},
    takeover::{Aim, Drive, Phase},
    world::World,
};

/// A request to the store that is not answered by then is sent again.
const STORE_TIMEOUT: Millis = 3_000;
/// A session of the driver's that is silent for so long is taken to be lost.
const LEDGER_TIMEOUT: Millis = 5_000;
/// A standby asks so often for the lead.
const LOOK_AGAIN: Millis = 1_000;
/// A worker that was silent for so long is lost.
const SILENCE: Millis = 10_000;
/// How often that is looked at.
const SILENCE_CHECK: Millis = 2_000;

/// What an answer is for.
#[derive(Debug, Clone)]
pub(super) enum Pending {
    Grant {
        sent: Millis,
    },
    KeepAlive {
        sent: Millis,
    },
    Campaign,
    Runs,
    /// The next step of a run.
    Step(RunId),
    /// An operation of the engine's.
    Operation {
        run: RunId,
        work: u64,
    },
    /// What an operator wants is in the ledger.
    Control {
        run: RunId,
        control: Control,
        answer: (u64, Caller),
    },
    Nothing,
}

/// An answer, or none in time.
#[derive(Debug)]
pub(super) enum Answered {
    Store(StoreReply),
    Ledger(LedgerReply),
    Nothing,
}

/// A worker's session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) stream: usize,
    heard: Millis,
    pub(super) draining: bool,
}

/// A coordinator. All of it is volatile.
#[derive(Debug, Default)]
pub(super) struct Coordinator {
    /// Changes with the lead: what was meant for another term says nothing.
    pub(super) term: u32,
    /// Since which revision it leads.
    pub(super) lead: Option<i64>,
    lease: Option<u64>,
    /// When the last request for the lease that was answered was sent.
    lease_sent: Millis,
    token: u64,
    calls: BTreeMap<u64, Pending>,
    pub(super) engine: Engine,
    pub(super) standing: Standing,
    pub(super) engine_timer: Option<u64>,
    pub(super) drives: BTreeMap<RunId, Drive>,
    pub(super) sessions: BTreeMap<WorkerId, Session>,
    next_worker: u32,
}

impl Coordinator {
    pub(super) fn lease(&self) -> Option<u64> {
        self.lease
    }
}

impl World {
    /// The process starts.
    pub(super) fn coordinator_started(&mut self, c: usize) {
        self.coordinators[c] = Coordinator::default();
        // The first is the first to ask for the lead.
        let soon = self.now + c as Millis * 300 + self.draw(0..=300);
        let node = Node::Coordinator(c);
        self.timer(node, soon, Timer::Campaign);
        self.timer(node, soon, Timer::Lease);
        self.timer(node, soon, Timer::Silence);
    }

    pub(super) fn coordinator_timer(&mut self, c: usize, timer: Timer) {
        let term = self.coordinators[c].term;
        match timer {
            Timer::Campaign => self.campaign(c),
            Timer::Lease => self.keep_lease(c),
            Timer::Silence => self.look_for_silent_workers(c),
            Timer::Call(call) => {
                if let Some(pending) = self.coordinators[c].calls.remove(&call) {
                    self.answered(c, pending, Answered::Nothing);
                }
            }
            Timer::Engine { at, term: of } if of == term => self.engine_timer_due(c, at),
            Timer::Again {
                term: of,
                run,
                work,
            } if of == term => self.work_again(c, run, work),
            Timer::Retake { term: of, run } if of == term => self.take_step(c, run),
            _ => {}
        }
    }

    pub(super) fn coordinator_got(&mut self, c: usize, from: Caller, message: Message) {
        let (call, answer) = match message {
            Message::StoreReply { call, reply } => (call, Answered::Store(reply)),
            Message::LedgerReply { call, reply } => (call, Answered::Ledger(reply)),
            Message::Order { call, run, order } => {
                self.ordered(c, (call, from), run, order);
                return;
            }
            _ => return,
        };
        if let Some(pending) = self.coordinators[c].calls.remove(&call) {
            self.answered(c, pending, answer);
        }
    }

    /// Sends a request to one of the members.
    pub(super) fn call_store(&mut self, c: usize, request: Request, pending: Pending) {
        let member = Node::Member(self.draw(0..=MEMBERS as u64 - 1) as usize);
        let call = self.expect_answer(c, pending, STORE_TIMEOUT);
        let from = self.processes.caller(Node::Coordinator(c));
        self.ask(from, member, Message::Store { call, request });
    }

    /// Sends an operation to a database.
    pub(super) fn call_ledger(
        &mut self,
        c: usize,
        db: usize,
        (run, epoch): (RunId, i64),
        operation: Operation,
        pending: Pending,
    ) {
        let call = self.expect_answer(c, pending, LEDGER_TIMEOUT);
        let from = self.processes.caller(Node::Coordinator(c));
        let message = Message::Ledger {
            call,
            run,
            epoch,
            operation,
        };
        self.ask(from, Node::Database(db), message);
    }

    fn expect_answer(&mut self, c: usize, pending: Pending, timeout: Millis) -> u64 {
        let call = self.number();
        self.coordinators[c].calls.insert(call, pending);
        self.timer(Node::Coordinator(c), self.now + timeout, Timer::Call(call));
        call
    }

    fn answered(&mut self, c: usize, pending: Pending, answer: Answered) {
        match pending {
            Pending::Grant { sent } => {
                if let Answered::Store(StoreReply::Granted(lease)) = answer {
                    self.coordinators[c].lease = Some(lease);
                    self.coordinators[c].lease_sent = sent;
                }
                self.campaign(c);
            }
            Pending::KeepAlive { sent } => match answer {
                Answered::Store(StoreReply::Kept) => {
                    let coordinator = &mut self.coordinators[c];
                    coordinator.lease_sent = coordinator.lease_sent.max(sent);
                }
                Answered::Store(StoreReply::Gone) => self.lease_lost(c),
                _ => {}
            },
            Pending::Campaign => match answer {
                Answered::Store(StoreReply::Ours(revision)) => self.lead(c, revision),
                Answered::Store(StoreReply::Gone) => {
                    self.coordinators[c].lease = None;
                    self.campaign(c);
                }
                Answered::Store(StoreReply::Taken) => {
                    let again = self.now + LOOK_AGAIN;
                    self.timer(Node::Coordinator(c), again, Timer::Campaign);
                }
                _ => self.campaign(c),
            },
            Pending::Runs => match answer {
                Answered::Store(StoreReply::Runs(entries)) => self.runs_read(c, &entries),
                _ => self.read_runs(c),
            },
            Pending::Step(run) => self.step_answered(c, run, answer),
            Pending::Operation { run, work } => self.operated(c, run, work, answer),
            Pending::Control {
                run,
                control,
                answer: to,
            } => self.controlled(c, run, control, to, &answer),
            Pending::Nothing => {}
        }
    }

    // The lead.

    /// Asks for a lease, or with one for the lead.
    fn campaign(&mut self, c: usize) {
        let sent = self.now;
        let coordinator = &mut self.coordinators[c];
        if coordinator.lead.is_some() {
            return;
        }
        let Some(lease) = coordinator.lease else {
            return self.call_store(c, Request::Grant, Pending::Grant { sent });
        };
        if coordinator.token == 0 {
            let token = self.number();
            self.coordinators[c].token = token;
        }
        let request = Request::Acquire {
            key: Key::Leader,
            lease,
            token: self.coordinators[c].token,
            holder: c,
            lead: None,
        };
        self.call_store(c, request, Pending::Campaign);
    }

    /// Keeps the lease alive, or finds by its own clock that it can be somebody else's.
    fn keep_lease(&mut self, c: usize) {
        let now = self.now;
        self.timer(Node::Coordinator(c), now + LEASE / 3, Timer::Lease);
        let coordinator = &self.coordinators[c];
        let Some(lease) = coordinator.lease else {
            return;
        };
        if now - coordinator.lease_sent >= LEASE {
            return self.lease_lost(c);
        }
        let request = Request::KeepAlive(lease);
        self.call_store(c, request, Pending::KeepAlive { sent: now });
    }

    pub(super) fn lease_lost(&mut self, c: usize) {
        self.coordinators[c].lease = None;
        self.coordinators[c].token = 0;
        let leads = self.coordinators[c].lead.is_some();
        if leads {
            self.step_down(c);
        }
    }

    fn lead(&mut self, c: usize, revision: i64) {
        if self.coordinators[c].lease.is_none() {
            // Lost on the way: what was given for it goes with it.
            return self.campaign(c);
        }
        self.summary.leaders += 1;
        self.note(Node::Coordinator(c), "leads since", [revision, 0, 0]);
        let coordinator = &mut self.coordinators[c];
        coordinator.lead = Some(revision);
        coordinator.term += 1;
        coordinator.token = 0;
        for (server, max_units) in self.scenario.server_limits.clone() {
            self.feed(c, adapter::server_limited(server, max_units));
        }
        self.feed(c, adapter::units_limited(self.scenario.max_units));
        self.read_runs(c);
    }

    fn read_runs(&mut self, c: usize) {
        if self.coordinators[c].lead.is_some() {
            self.call_store(c, Request::Runs, Pending::Runs);
        }
    }

    fn runs_read(&mut self, c: usize, entries: &[Entry]) {
        for entry in entries.iter().filter(|entry| entry.active) {
            if !self.coordinators[c].drives.contains_key(&entry.run) {
                self.summary.takeovers += 1;
                let drive = Drive::new(self.number(), entry.database, Phase::Locking);
                self.coordinators[c].drives.insert(entry.run, drive);
                self.take_step(c, entry.run);
            }
        }
    }

    /// Somebody else leads, or may: all that was driven is left as it is.
    pub(super) fn step_down(&mut self, c: usize) {
        self.note(Node::Coordinator(c), "leads no longer", [0; 3]);
        let coordinator = &mut self.coordinators[c];
        coordinator.lead = None;
        // What else is held goes with the lease.
        coordinator.lease = None;
        coordinator.term += 1;
        coordinator.token = 0;
        coordinator.calls.clear();
        coordinator.engine = Engine::new();
        coordinator.standing = Standing::default();
        coordinator.engine_timer = None;
        coordinator.drives.clear();
        for session in std::mem::take(&mut coordinator.sessions).into_values() {
            self.streams[session.stream].joined = None;
            self.say_down(session.stream, Down::Closed);
        }
        let soon = self.now + 500;
        self.timer(Node::Coordinator(c), soon, Timer::Campaign);
    }

    /// A rolling upgrade: what is held is given back, and the process ends.
    pub(super) fn hand_over(&mut self, c: usize) {
        let Some(lead) = self.coordinators[c].lead else {
            return;
        };
        let drives = self.coordinators[c].drives.values();
        let locks: Vec<(Key, i64)> = drives
            .filter_map(|drive| Some((Key::Lock(drive.database), drive.lock?)))
            .collect();
        self.step_down(c);
        // The lead last: who has it next finds no lock taken.
        for (key, created) in locks.into_iter().chain([(Key::Leader, lead)]) {
            self.call_store(c, Request::Delete { key, created }, Pending::Nothing);
        }
        let down = self.now + 1_000 + self.draw(0..=2_000);
        self.exit(Node::Coordinator(c), down);
    }

    // Sessions.

    /// A worker's message has arrived.
    pub(super) fn coordinator_heard(&mut self, c: usize, stream: usize, message: Up) {
        let Some(worker) = self.streams[stream].joined else {
            if let Up::Hello(region) = message {
                self.greeted(c, stream, region);
            }
            return;
        };
        let now = self.now;
        let session = self.coordinators[c].sessions.get_mut(&worker);
        let known = session.map(|session| session.heard = now).is_some();
        match message {
            Up::Hello(_) => {}
            Up::Credit(units) => self.feed(c, adapter::credit_granted(worker, units)),
            Up::Heartbeat if known => self.say_down(stream, Down::Acknowledged),
            Up::Heartbeat => {}
            Up::Draining => {
                if let Some(session) = self.coordinators[c].sessions.get_mut(&worker) {
                    session.draining = true;
                }
                if !self.has(Defect::DrainedCreditsKept) {
                    self.feed(c, adapter::worker_draining(worker));
                }
            }
            Up::Report {
                unit,
                report,
                millis,
            } => self.reported(c, worker, &unit, report, millis),
            Up::Closed => {
                self.streams[stream].joined = None;
                self.lose(c, worker);
            }
        }
    }

    fn greeted(&mut self, c: usize, stream: usize, region: Option<u32>) {
        if self.coordinators[c].lead.is_none() {
            self.say_down(stream, Down::Closed);
            return;
        }
        let now = self.now;
        let coordinator = &mut self.coordinators[c];
        let worker = WorkerId(coordinator.next_worker);
        coordinator.next_worker += 1;
        let session = Session {
            stream,
            heard: now,
            draining: false,
        };
        coordinator.sessions.insert(worker, session);
        self.streams[stream].joined = Some(worker);
        self.say_down(stream, Down::Welcome);
        self.feed(c, adapter::worker_joined(worker, region));
    }

    fn look_for_silent_workers(&mut self, c: usize) {
        let now = self.now;
        self.timer(Node::Coordinator(c), now + SILENCE_CHECK, Timer::Silence);
        let sessions = self.coordinators[c].sessions.iter();
        let silent = sessions.filter(|(_, session)| now - session.heard > SILENCE);
        let silent: Vec<WorkerId> = silent.map(|(worker, _)| *worker).collect();
        for worker in silent {
            let stream = self.coordinators[c].sessions[&worker].stream;
            // Whoever read it has stopped: what comes now is heard by nobody.
            self.streams[stream].joined = None;
            self.lose(c, worker);
            self.say_down(stream, Down::Closed);
        }
    }

    /// The session has ended, or is ended.
    pub(super) fn lose(&mut self, c: usize, worker: WorkerId) {
        if self.coordinators[c].sessions.remove(&worker).is_none() {
            return;
        }
        self.summary.workers_lost += 1;
        self.note(
            Node::Coordinator(c),
            "worker lost",
            [i64::from(worker.0), 0, 0],
        );
        if !self.has(Defect::LostUnitsKept) {
            self.feed(c, adapter::worker_lost(worker));
        }
    }

    // Operators.

    fn ordered(&mut self, c: usize, by: (u64, Caller), run: RunId, order: Order) {
        if self.coordinators[c].lead.is_none() {
            return self.reply_to_client(c, by, Answer::NotTheLeader);
        }
        match order {
            Order::Submit { database, plan } => {
                let phase = Phase::Creating(plan);
                self.wanted(c, by, run, (database, phase, None));
            }
            Order::Resume => self.wanted_again(c, by, run, Aim::Forward),
            Order::Rollback(to) => self.rollback_wanted(c, by, run, to),
            Order::Pause => self.control(c, by, run, Control::Paused(true)),
            Order::Unpause => self.control(c, by, run, Control::Paused(false)),
            Order::Limit(units, of_task) => {
                self.control(c, by, run, Control::Limits((units, of_task)));
            }
            Order::Stop => {
                let drive = self.coordinators[c].drives.get(&run);
                if drive.is_some_and(|drive| matches!(drive.phase, Phase::Driving)) {
                    self.feed(c, adapter::stop_requested(run, None));
                    self.reply_to_client(c, by, Answer::Taken);
                } else {
                    self.reply_to_client(c, by, Answer::Refused);
                }
            }
        }
    }

    fn wanted_again(&mut self, c: usize, by: (u64, Caller), run: RunId, aim: Aim) {
        let database = self.database_of(run);
        self.wanted(c, by, run, (database, Phase::Announcing, Some(aim)));
    }

    /// A run is to be driven; who asks is answered when that cannot be lost any more.
    fn wanted(
        &mut self,
        c: usize,
        by: (u64, Caller),
        run: RunId,
        (database, phase, aim): (usize, Phase, Option<Aim>),
    ) {
        match self.coordinators[c].drives.get_mut(&run) {
            Some(drive) if drive.is_announced() => self.reply_to_client(c, by, Answer::Taken),
            Some(drive) => drive.answers.push(by),
            None => {
                let mut drive = Drive::new(self.number(), database, phase);
                drive.want = aim;
                drive.answers.push(by);
                self.coordinators[c].drives.insert(run, drive);
                self.take_step(c, run);
            }
        }
    }

    fn rollback_wanted(&mut self, c: usize, by: (u64, Caller), run: RunId, to: Option<u32>) {
        match self.coordinators[c].drives.get_mut(&run) {
            None => self.wanted_again(c, by, run, Aim::Back(to)),
            Some(drive) if drive.aim == Aim::Back(to) => {
                self.reply_to_client(c, by, Answer::Taken);
            }
            Some(drive) if matches!(drive.phase, Phase::Driving) && drive.aim == Aim::Forward => {
                drive.then = Some(Aim::Back(to));
                drive.answers.push(by);
                self.feed(c, adapter::stop_requested(run, None));
            }
            Some(_) => self.reply_to_client(c, by, Answer::Refused),
        }
    }

    pub(super) fn reply_to_client(&mut self, c: usize, (call, to): (u64, Caller), answer: Answer) {
        let from = self.processes.caller(Node::Coordinator(c));
        self.send(from, to, Message::OrderReply { call, answer });
    }
}
