//! A worker: finds the leader, opens a session, gives credits for its slots, runs units. Whoever is paused and
//! wakes up late, or has lost its coordinator, may still have a commit on the way.

use std::collections::BTreeMap;

use upshift_coordinator::engine::FailureClass;

use super::{
    invariants::caps,
    message::{Down, Happening, Message, Report, Stream, Timer, Unit, Up},
    process::{Caller, Node},
    queue::Millis,
    store::{MEMBERS, Reply as StoreReply, Request},
    world::World,
};

/// How often a worker sends a heartbeat.
const BEAT: Millis = 2_000;
/// A coordinator that was silent for so long is lost.
const PATIENCE: Millis = 8_000;
/// The store, or a coordinator, may take so long to answer.
const ANSWER: Millis = 2_000;
/// A session with the database that is silent for so long is taken to be lost.
const UNIT_DEADLINE: Millis = 15_000;

/// A unit that a worker runs.
#[derive(Debug)]
pub(super) struct Running {
    unit: Unit,
    begun: Millis,
}

/// A worker. All of it is volatile.
#[derive(Debug, Default)]
pub(super) struct Worker {
    pub(super) slots: u32,
    /// Where it is, if it says so.
    region: Option<u32>,
    pub(super) session: Option<usize>,
    pub(super) welcome: bool,
    /// When something last came from the coordinator.
    heard: Millis,
    /// By their transactions.
    pub(super) running: BTreeMap<u64, Running>,
    pub(super) draining: bool,
    /// Which question to the store is open.
    call: u64,
}

impl Worker {
    /// Without a session.
    pub(super) fn new((slots, region): &(u32, Option<u32>)) -> Self {
        Self {
            slots: *slots,
            region: *region,
            ..Self::default()
        }
    }
}

impl World {
    /// The process starts.
    pub(super) fn worker_started(&mut self, w: usize) {
        self.workers[w] = Worker::new(&(self.workers[w].slots, self.workers[w].region));
        let soon = self.now + self.draw(0..=300);
        self.timer(Node::Worker(w), soon, Timer::Connect);
    }

    pub(super) fn worker_timer(&mut self, w: usize, timer: Timer) {
        match timer {
            Timer::Connect => self.look_for_leader(w),
            Timer::Call(call) if call == self.workers[w].call => self.look_for_leader(w),
            Timer::Beat { stream } if self.workers[w].session == Some(stream) => {
                if self.now - self.workers[w].heard > PATIENCE {
                    self.say_up(stream, Up::Closed);
                    self.coordinator_lost(w);
                } else {
                    self.say_up(stream, Up::Heartbeat);
                    let next = self.now + BEAT;
                    self.timer(Node::Worker(w), next, Timer::Beat { stream });
                }
            }
            Timer::UnitDeadline { tx } => {
                if let Some(running) = self.workers[w].running.get(&tx) {
                    let db = Node::Database(running.unit.database);
                    let from = self.processes.caller(Node::Worker(w));
                    self.ask(from, db, Message::Abort { tx });
                    let class = FailureClass::Later;
                    let scripted = false;
                    self.unit_ended(w, tx, Report::Failed { class, scripted });
                }
            }
            _ => {}
        }
    }

    pub(super) fn worker_got(&mut self, w: usize, message: Message) {
        match message {
            Message::StoreReply { call, reply } if call == self.workers[w].call => {
                self.workers[w].call = 0;
                match reply {
                    StoreReply::Leader(Some(leader)) => self.open(w, leader),
                    _ => self.connect_later(w),
                }
            }
            Message::Worked { tx } => {
                if let Some(running) = self.workers[w].running.get(&tx) {
                    let db = Node::Database(running.unit.database);
                    let from = self.processes.caller(Node::Worker(w));
                    self.ask(from, db, Message::Commit { tx });
                }
            }
            Message::Ended { tx, report } => self.unit_ended(w, tx, report),
            _ => {}
        }
    }

    fn connect_later(&mut self, w: usize) {
        let later = self.now + 300 + self.draw(0..=700);
        self.timer(Node::Worker(w), later, Timer::Connect);
    }

    fn look_for_leader(&mut self, w: usize) {
        let worker = &self.workers[w];
        if worker.session.is_some() || worker.draining {
            return;
        }
        let call = self.number();
        self.workers[w].call = call;
        let member = Node::Member(self.draw(0..=MEMBERS as u64 - 1) as usize);
        let from = self.processes.caller(Node::Worker(w));
        let request = Request::Leader;
        self.ask(from, member, Message::Store { call, request });
        self.timer(Node::Worker(w), self.now + ANSWER, Timer::Call(call));
    }

    fn open(&mut self, w: usize, leader: usize) {
        if self.workers[w].session.is_some() || self.workers[w].draining {
            return;
        }
        let stream = self.streams.len();
        self.streams.push(Stream {
            worker: self.processes.caller(Node::Worker(w)),
            coordinator: self.processes.caller(Node::Coordinator(leader)),
            up: Default::default(),
            down: Default::default(),
            joined: None,
        });
        let worker = &mut self.workers[w];
        worker.session = Some(stream);
        worker.welcome = false;
        worker.heard = self.now;
        self.say_up(stream, Up::Hello(self.workers[w].region));
        self.timer(Node::Worker(w), self.now + BEAT, Timer::Beat { stream });
    }

    /// A message of the coordinator's has arrived.
    pub(super) fn worker_heard(&mut self, w: usize, stream: usize, message: Down) {
        if self.workers[w].session != Some(stream) {
            return;
        }
        self.workers[w].heard = self.now;
        match message {
            Down::Welcome => {
                self.workers[w].welcome = true;
                self.say_up(stream, Up::Credit(self.workers[w].slots));
            }
            Down::Unit(unit) => self.begin_unit(w, unit),
            Down::Acknowledged => {}
            Down::Closed => {
                // What closes one way is closed the other way.
                self.say_up(stream, Up::Closed);
                self.coordinator_lost(w);
            }
        }
    }

    fn begin_unit(&mut self, w: usize, unit: Unit) {
        let tx = self.number();
        let db = Node::Database(unit.database);
        let begun = self.now;
        let running = Running {
            unit: unit.clone(),
            begun,
        };
        let worker = &mut self.workers[w];
        worker.running.insert(tx, running);
        let verdict = caps::begun(worker.running.len(), worker.slots);
        self.check(verdict);
        let from = self.processes.caller(Node::Worker(w));
        self.ask(from, db, Message::Begin { tx, unit });
        let deadline = self.now + UNIT_DEADLINE;
        self.timer(Node::Worker(w), deadline, Timer::UnitDeadline { tx });
    }

    fn unit_ended(&mut self, w: usize, tx: u64, report: Report) {
        let now = self.now;
        let worker = &mut self.workers[w];
        let Some(Running { unit, begun }) = worker.running.remove(&tx) else {
            return;
        };
        let (draining, done) = (worker.draining, worker.running.is_empty());
        if let Some(stream) = worker.session {
            let millis = now - begun;
            self.say_up(
                stream,
                Up::Report {
                    unit,
                    report,
                    millis,
                },
            );
            if !draining {
                self.say_up(stream, Up::Credit(1));
            }
        }
        if draining && done {
            self.worker_leaves(w);
        }
    }

    /// Units in flight are cancelled: they will be offered again.
    fn coordinator_lost(&mut self, w: usize) {
        let worker = &mut self.workers[w];
        worker.session = None;
        worker.welcome = false;
        let running = std::mem::take(&mut worker.running);
        let draining = worker.draining;
        let from = self.processes.caller(Node::Worker(w));
        for (tx, running) in running {
            let db = Node::Database(running.unit.database);
            self.ask(from, db, Message::Abort { tx });
        }
        if draining {
            self.worker_leaves(w);
        } else {
            self.connect_later(w);
        }
    }

    /// SIGTERM: it takes no more units, and leaves when it has done those that it has.
    pub(super) fn drain(&mut self, w: usize) {
        let process = self.processes.get(Node::Worker(w));
        if !process.up || process.paused || self.workers[w].draining {
            return;
        }
        self.summary.drains += 1;
        self.note(Node::Worker(w), "drains", [0; 3]);
        self.workers[w].draining = true;
        if let Some(stream) = self.workers[w].session {
            self.say_up(stream, Up::Draining);
        }
        if self.workers[w].running.is_empty() {
            self.worker_leaves(w);
        }
    }

    fn worker_leaves(&mut self, w: usize) {
        if let Some(stream) = self.workers[w].session.take() {
            self.say_up(stream, Up::Closed);
        }
        let down = self.now + 500 + self.draw(0..=3_000);
        self.exit(Node::Worker(w), down);
    }

    /// The process is gone: the servers that it spoke to find out at once, or by its silence.
    pub(super) fn worker_gone(&mut self, w: usize, caller: Caller, quietly: bool) {
        let worker = &mut self.workers[w];
        let running = std::mem::take(&mut worker.running);
        let session = worker.session.take();
        worker.draining = false;
        if quietly {
            return;
        }
        if let Some(stream) = session {
            self.say_up(stream, Up::Closed);
        }
        for (tx, running) in running {
            let db = Node::Database(running.unit.database);
            self.ask(caller, db, Message::Abort { tx });
        }
    }

    pub(super) fn say_up(&mut self, stream: usize, message: Up) {
        self.streams[stream].up.push_back(message);
        let at = self.now + self.hop();
        self.queue.push(at, Happening::Stream { stream, up: true });
    }

    pub(super) fn say_down(&mut self, stream: usize, message: Down) {
        self.streams[stream].down.push_back(message);
        let at = self.now + self.hop();
        self.queue.push(at, Happening::Stream { stream, up: false });
    }
}
