//! The world of one seed, and the loop: the next thing happens, and whoever it happens to does what it does.

use std::{collections::VecDeque, fmt, ops::RangeInclusive, rc::Rc};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use upshift_shared::ids::RunId;

use super::{
    Defect,
    client::{Client, Job},
    coordinator::Coordinator,
    database::Database,
    invariants::{Invariants, Verdict, ends},
    message::{Happening, Message, Order, Stream, Timer, Unit},
    plan::Plan,
    process::{Caller, HOP, Node, Processes},
    queue::{Millis, Queue},
    scenario::Scenario,
    store::Store,
    trace::Trace,
    worker::Worker,
};

/// How often everything is looked over, once nothing goes wrong any more.
const AUDIT: Millis = 5_000;

/// What a seed did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is a number of what its name says")]
pub struct Summary {
    /// Of all that happened, in its order.
    pub digest: u64,
    /// How long the world lasted, by its own clock.
    pub millis: u64,
    pub happenings: u64,
    pub runs: u64,
    pub units: u64,
    pub undone: u64,
    pub unit_failures: u64,
    pub retries: u64,
    pub splits: u64,
    pub crashes: u64,
    pub leaders: u64,
    /// Runs that a new leader took over.
    pub takeovers: u64,
    pub hand_overs: u64,
    pub workers_lost: u64,
    pub drains: u64,
    /// Writes of an older epoch that the ledger refused.
    pub fenced: u64,
    /// Sessions of older holders that were ended.
    pub sessions_ended: u64,
    /// Operations of the driver's that were done again.
    pub operations_again: u64,
    /// Events that the engine refused.
    pub refused_events: u64,
}

impl Summary {
    /// With what another seed did.
    pub fn add(&mut self, other: &Self) {
        self.digest = 0;
        self.millis += other.millis;
        self.happenings += other.happenings;
        self.runs += other.runs;
        self.units += other.units;
        self.undone += other.undone;
        self.unit_failures += other.unit_failures;
        self.retries += other.retries;
        self.splits += other.splits;
        self.crashes += other.crashes;
        self.leaders += other.leaders;
        self.takeovers += other.takeovers;
        self.hand_overs += other.hand_overs;
        self.workers_lost += other.workers_lost;
        self.drains += other.drains;
        self.fenced += other.fenced;
        self.sessions_ended += other.sessions_ended;
        self.operations_again += other.operations_again;
        self.refused_events += other.refused_events;
    }
}

/// What did not hold.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The bug that was put back.
    pub defect: Option<Defect>,
    /// Which invariant, and how.
    pub what: String,
    /// The last of what happened: seconds, who, what (run, task, unit; or other numbers).
    pub trace: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed, what, trace, ..
        } = self;
        write!(
            f,
            "{what}\nUPSHIFT_SEED={seed} cargo test -p upshift-tests --test simulation -- --exact \
             nothing_is_violated --nocapture\n{trace}"
        )
    }
}

/// Everything there is.
pub(super) struct World {
    pub(super) now: Millis,
    random: StdRng,
    pub(super) queue: Queue<Happening>,
    pub(super) processes: Processes,
    pub(super) store: Store,
    pub(super) databases: Vec<Database>,
    pub(super) coordinators: Vec<Coordinator>,
    pub(super) workers: Vec<Worker>,
    pub(super) clients: Vec<Client>,
    pub(super) streams: Vec<Stream>,
    pub(super) invariants: Invariants,
    pub(super) summary: Summary,
    pub(super) scenario: Scenario,
    pub(super) defect: Option<Defect>,
    trace: Trace,
    violated: Option<String>,
    numbers: u64,
    /// Of each run its database.
    runs: Vec<(RunId, usize)>,
}

/// Runs the world of a seed, with a bug put back or none.
///
/// # Errors
/// When an invariant does not hold.
pub fn simulate(seed: u64, defect: Option<Defect>) -> Result<Summary, Failure> {
    let mut world = World::new(seed, defect);
    world.begin();
    while let Some((at, what)) = world.queue.pop() {
        world.now = at;
        world.summary.happenings += 1;
        world.happen(what);
        let over = world.clients.iter().all(Client::is_done);
        if !over && world.violated.is_none() && at > world.scenario.calm + ends::BOUND {
            let verdict = world.invariants.ends.over(|run| world.has_ended(run));
            world.check(verdict);
        }
        if over || world.violated.is_some() {
            break;
        }
    }
    match world.violated {
        Some(what) => Err(Failure {
            seed,
            defect,
            what,
            trace: world.trace.to_string(),
        }),
        None => Ok(Summary {
            digest: world.trace.digest,
            millis: world.now,
            ..world.summary
        }),
    }
}

impl World {
    fn new(seed: u64, defect: Option<Defect>) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let scenario = Scenario::random(&mut random);
        Self {
            now: 0,
            random,
            queue: Queue::new(),
            processes: Processes::new(),
            store: Store::default(),
            databases: scenario.databases.iter().map(|_| Database::new()).collect(),
            coordinators: (0..scenario.coordinators)
                .map(|_| Coordinator::default())
                .collect(),
            workers: scenario.workers.iter().map(Worker::new).collect(),
            clients: Vec::new(),
            streams: Vec::new(),
            invariants: Invariants::default(),
            summary: Summary::default(),
            scenario,
            defect,
            trace: Trace::new(),
            violated: None,
            numbers: 0,
            runs: Vec::new(),
        }
    }

    fn begin(&mut self) {
        for c in 0..self.coordinators.len() {
            self.coordinator_started(c);
        }
        for w in 0..self.workers.len() {
            self.worker_started(w);
        }
        for db in 0..self.databases.len() {
            let jobs = 1 + usize::from(self.random.random_bool(0.5));
            let jobs = (0..jobs).map(|_| self.new_job(db)).collect();
            let starts = self.draw(0..=3_000);
            self.clients.push(Client::new(db, jobs, starts));
            self.timer(Node::Client(db), starts, Timer::Client);
        }
        for (at, fault) in self.scenario.faults.clone() {
            self.queue.push(at, Happening::Fault(fault));
        }
        self.queue.push(self.scenario.calm, Happening::Audit);
    }

    fn new_job(&mut self, database: usize) -> Job {
        let place = self.scenario.databases[database];
        let number = self.runs.len() as u64 + 1;
        let run = format!("00000000-0000-7000-8000-{number:012x}");
        let run: RunId = run.parse().expect("it is a UUID");
        self.runs.push((run, database));
        self.summary.runs += 1;
        let plan = Rc::new(Plan::random(&mut self.random, place));
        let mut orders = VecDeque::new();
        let often = if self.scenario.restless { 0.8 } else { 0.4 };
        while self.random.random_bool(often) {
            let order = match self.random.random_range(0..8) {
                0 => Order::Pause,
                1 => Order::Unpause,
                2 => Order::Limit(self.draw(1..=4) as u32, self.draw(1..=3) as u32),
                3 => Order::Stop,
                4 => Order::Resume,
                5..=6 => Order::Rollback(None),
                _ => Order::Rollback(Some(self.draw(0..=u64::from(plan.modules) - 1) as u32)),
            };
            let pause = self.draw(50..=3_000);
            orders.push_back((pause, order));
        }
        Job { run, plan, orders }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Message { to, .. } | Happening::Timer { of: to, .. }
                if !self.processes.lives(to) =>
            {
                if let Happening::Timer {
                    of,
                    timer: Timer::Restart,
                } = what
                    && self.processes.get(of.node).life == of.life
                {
                    self.restart(of.node);
                }
            }
            Happening::Message { to, .. } | Happening::Timer { of: to, .. }
                if self.processes.get(to.node).paused =>
            {
                self.processes.get_mut(to.node).deferred.push(what);
            }
            Happening::Message { from, to, message } => self.arrives(from, to.node, message),
            Happening::Timer { of, timer } => self.timer_due(of.node, timer),
            Happening::Stream { stream, up } => self.stream_goes_on(stream, up),
            Happening::Fault(fault) => self.goes_wrong_now(fault),
            Happening::Audit => self.audit(),
        }
    }

    fn arrives(&mut self, from: Caller, to: Node, message: Message) {
        match (to, message) {
            (Node::Coordinator(c), message) => self.coordinator_got(c, from, message),
            (Node::Worker(w), message) => self.worker_got(w, message),
            (Node::Client(n), message) => self.client_got(n, message),
            (Node::Member(_), Message::Store { call, request }) => {
                self.store_asked(to, from, call, request);
            }
            (
                Node::Database(db),
                Message::Ledger {
                    call,
                    run,
                    epoch,
                    operation,
                },
            ) => self.ledger_asked(db, (from, call), (run, epoch), operation),
            (Node::Database(db), Message::Begin { tx, unit }) => {
                self.unit_begun(db, from, tx, unit);
            }
            (Node::Database(db), Message::Commit { tx }) => self.unit_committed(db, from, tx),
            (Node::Database(db), Message::Abort { tx }) => self.end_transaction(db, tx, None),
            _ => {}
        }
    }

    fn timer_due(&mut self, node: Node, timer: Timer) {
        match (node, timer) {
            (Node::Coordinator(c), timer) => self.coordinator_timer(c, timer),
            (Node::Worker(w), timer) => self.worker_timer(w, timer),
            (Node::Client(n), _) => self.client_goes_on(n),
            (Node::Database(db), Timer::TxWorked { tx }) => self.unit_worked(db, tx),
            (Node::Database(db), Timer::TxLock { tx }) => self.row_timed_out(db, tx),
            (Node::Database(db), Timer::TxClient { tx }) => self.client_checked(db, tx),
            (Node::Database(db), Timer::Grace { raise }) => self.grace_is_over(db, raise),
            (Node::Database(db), Timer::OperationLock { waiting }) => {
                self.operation_timed_out(db, waiting);
            }
            _ => {}
        }
    }

    fn stream_goes_on(&mut self, stream: usize, up: bool) {
        let (from, to) = self.streams[stream].ends(up);
        let what = Happening::Stream { stream, up };
        if self.processes.is_cut(from, to.node) {
            self.processes.stall(from, to.node, what);
        } else if !self.processes.lives(to) {
            if up {
                // The machine, or the next process, says that there is no such connection.
                self.streams[stream].up.clear();
                self.no_such_connection(stream);
            }
        } else if self.processes.get(to.node).paused {
            self.processes.get_mut(to.node).deferred.push(what);
        } else if up {
            let message = self.streams[stream].up.pop_front();
            if let (Some(message), Node::Coordinator(c)) = (message, to.node) {
                self.coordinator_heard(c, stream, message);
            }
        } else {
            let message = self.streams[stream].down.pop_front();
            if let (Some(message), Node::Worker(w)) = (message, to.node) {
                self.worker_heard(w, stream, message);
            }
        }
    }

    fn no_such_connection(&mut self, stream: usize) {
        let Node::Worker(w) = self.streams[stream].worker.node else {
            return;
        };
        let coordinator = self.streams[stream].coordinator.node;
        if self.processes.get(coordinator).up && self.workers[w].session == Some(stream) {
            self.say_down(stream, super::message::Down::Closed);
        }
    }

    /// Looks whether workers are idle beside work.
    fn audit(&mut self) {
        for w in 0..self.workers.len() {
            let worker = &self.workers[w];
            let joined = worker
                .session
                .filter(|_| worker.welcome && !worker.draining);
            let idle = joined.is_some_and(|stream| {
                let Node::Coordinator(c) = self.streams[stream].coordinator.node else {
                    return false;
                };
                let standing = &self.coordinators[c].standing;
                let free = worker.running.len() < worker.slots as usize;
                free && self.streams[stream]
                    .joined
                    .is_some_and(|worker| standing.has_work_for(worker))
            });
            let verdict = self.invariants.credit.seen(w, idle, self.now);
            self.check(verdict);
        }
        self.queue.push(self.now + AUDIT, Happening::Audit);
    }

    // What everybody uses.

    pub(super) fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    /// Remembers the first that does not hold.
    pub(super) fn check(&mut self, verdict: Verdict) {
        if let (Err(what), None) = (verdict, &self.violated) {
            self.violated = Some(what);
        }
    }

    /// A number that nothing else has.
    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn draw(&mut self, range: RangeInclusive<u64>) -> u64 {
        self.random.random_range(range)
    }

    /// Whether something goes wrong that does so often.
    pub(super) fn chance(&mut self, often: f64) -> bool {
        self.now < self.scenario.calm && often > 0.0 && self.random.random_bool(often)
    }

    /// How long a message takes.
    pub(super) fn hop(&mut self) -> Millis {
        if self.chance(self.scenario.slow_messages) {
            self.draw(50..=7_000)
        } else {
            self.draw(HOP)
        }
    }

    pub(super) fn unit_takes(&mut self, db: usize, unit: &Unit) -> Millis {
        let rows = unit.bounds.1.saturating_sub(unit.bounds.0);
        let long = self.chance(self.scenario.slow_units);
        let takes = self.draw(10..=150) + rows / 10;
        takes * self.databases[db].slowness * if long { 20 } else { 1 }
    }

    pub(super) fn timer(&mut self, node: Node, at: Millis, timer: Timer) {
        let of = self.processes.caller(node);
        self.queue.push(at, Happening::Timer { of, timer });
    }

    /// Sends a message to whatever process is there now.
    pub(super) fn ask(&mut self, from: Caller, to: Node, message: Message) {
        let to = self.processes.caller(to);
        self.send(from, to, message);
    }

    /// Sends a message. Some are lost; over a link that is cut half of them, and the others come when the link
    /// works again.
    pub(super) fn send(&mut self, from: Caller, to: Caller, message: Message) {
        if self.chance(self.scenario.lost_messages) {
            return;
        }
        let mut at = self.now + self.hop();
        let connects = matches!(message, Message::Begin { .. });
        if connects && self.chance(self.scenario.slow_connections) {
            at += self.draw(500..=8_000);
        }
        let what = Happening::Message { from, to, message };
        if !self.processes.is_cut(from.node, to.node) {
            self.queue.push(at, what);
        } else if self.random.random_bool(0.5) {
            self.processes.stall(from.node, to.node, what);
        }
    }

    pub(super) fn database_of(&self, run: RunId) -> usize {
        let found = self.runs.iter().find(|(id, _)| *id == run);
        found.map_or(0, |(_, database)| *database)
    }

    /// For the trace: runs count from one.
    pub(super) fn run_number(&self, run: RunId) -> i64 {
        let place = self.runs.iter().position(|(id, _)| *id == run);
        place.map_or(0, |place| place as i64 + 1)
    }

    pub(super) fn note(&mut self, node: Node, what: &'static str, numbers: [i64; 3]) {
        self.trace.note(self.now, node, what, numbers);
    }

    pub(super) fn note_unit(&mut self, node: Node, what: &'static str, unit: &Unit) {
        let run = self.run_number(unit.run);
        let numbers = [run, i64::from(unit.task.0), i64::from(unit.unit.0)];
        self.note(node, what, numbers);
    }
}
