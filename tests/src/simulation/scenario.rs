//! What a seed makes: how large the world is, and what goes wrong in it.

use rand::{RngExt, rngs::StdRng};

use super::{faults::Fault, plan::Place, process::Node, queue::Millis, store::MEMBERS};

/// A world, before it begins.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) coordinators: usize,
    /// Of each its slots, and where it is, if it says so.
    pub(super) workers: Vec<(u32, Option<u32>)>,
    pub(super) databases: Vec<Place>,
    /// Of some servers, how many units they bear.
    pub(super) server_limits: Vec<(u32, u32)>,
    /// How many units all runs together may have at once.
    pub(super) max_units: Option<u32>,
    /// How often a unit fails for a passing reason.
    pub(super) unit_failures: f64,
    /// How often a unit takes long.
    pub(super) slow_units: f64,
    /// How often a message takes long.
    pub(super) slow_messages: f64,
    /// How often a worker takes long to connect to a database.
    pub(super) slow_connections: f64,
    /// How often a request or an answer is lost.
    pub(super) lost_messages: f64,
    /// Whether operators change their minds all the time.
    pub(super) restless: bool,
    pub(super) faults: Vec<(Millis, Fault)>,
    /// From here on nothing goes wrong any more.
    pub(super) calm: Millis,
}

/// Everything goes wrong before.
const TROUBLE: Millis = 10_000;
/// Database servers.
const SERVERS: u32 = 2;

/// Where something is, if it says so.
fn region(random: &mut StdRng) -> Option<u32> {
    random.random_bool(0.3).then(|| random.random_range(0..2))
}

impl Scenario {
    pub(super) fn random(random: &mut StdRng) -> Self {
        let workers = random.random_range(1..=4);
        let rarely = |random: &mut StdRng, most: f64| match random.random_range(0..6) {
            0 => random.random_range(0.0..most * 4.0),
            1..=2 => random.random_range(0.0..most),
            _ => 0.0,
        };
        let mut scenario = Self {
            coordinators: random.random_range(2..=3),
            workers: (0..workers)
                .map(|_| (random.random_range(1..=3), region(random)))
                .collect(),
            databases: (0..random.random_range(1..=3))
                .map(|_| Place {
                    server: random.random_range(0..SERVERS),
                    wants: region(random),
                })
                .collect(),
            server_limits: (0..SERVERS)
                .filter_map(|server| {
                    let limited = random.random_bool(0.3);
                    limited.then(|| (server, random.random_range(1..=3)))
                })
                .collect(),
            max_units: random.random_bool(0.15).then(|| random.random_range(1..=4)),
            unit_failures: rarely(random, 0.15),
            slow_units: rarely(random, 0.1),
            slow_messages: rarely(random, 0.04),
            slow_connections: rarely(random, 0.15),
            lost_messages: rarely(random, 0.02),
            restless: false,
            faults: Vec::new(),
            calm: TROUBLE,
        };
        scenario.add_theme(random);
        for _ in 0..random.random_range(0..=12) {
            scenario.add_fault(random);
        }
        scenario
    }

    /// In some worlds things go wrong that belong together.
    fn add_theme(&mut self, random: &mut StdRng) {
        let mut drop_workers = 0;
        match random.random_range(0..12) {
            // Units are given out again, and split, while whoever had them first is still to begin.
            0 => {
                self.slow_connections = 0.5;
                self.unit_failures = 0.4;
                drop_workers = 6;
            }
            // Requests and reports come late, and runs turn round meanwhile.
            1 => {
                self.slow_messages = 0.25;
                self.restless = true;
                drop_workers = 6;
            }
            // Answers are lost.
            2 => self.lost_messages = 0.1,
            3 => self.restless = true,
            _ => {}
        }
        for _ in 0..drop_workers {
            let worker = random.random_range(0..self.workers.len());
            let at = random.random_range(500..TROUBLE);
            self.faults.push((at, Fault::DropWorker { worker }));
        }
    }

    fn add_fault(&mut self, random: &mut StdRng) {
        let at = random.random_range(500..TROUBLE);
        let worker = random.random_range(0..self.workers.len());
        // The one that leads at first more often than others.
        let coordinator = match random.random_bool(0.5) {
            true => 0,
            false => random.random_range(0..self.coordinators),
        };
        let coordinator = Node::Coordinator(coordinator);
        let database = random.random_range(0..self.databases.len());
        let until = at + random.random_range(200..10_000);
        let quietly = random.random_bool(0.3);
        let crash = |node| (Fault::Crash { node, quietly }, Some(Fault::Restart(node)));
        let pause = |node| (Fault::Pause(node), Some(Fault::Wake(node)));
        let member = Node::Member(random.random_range(0..MEMBERS));
        let (begins, ends) = match random.random_range(0..27) {
            0..=2 => crash(coordinator),
            3..=4 => crash(Node::Worker(worker)),
            5 => crash(member),
            6 => crash(Node::Database(database)),
            7..=8 => pause(coordinator),
            9..=10 => pause(Node::Worker(worker)),
            11 => (Fault::BreakSession { worker }, None),
            12..=14 => (Fault::DropWorker { worker }, None),
            15..=16 => (Fault::Drain { worker }, None),
            17 => (Fault::HandOver, None),
            18 => {
                let server = random.random_range(0..SERVERS);
                let max_units = random.random_range(1..=4);
                (Fault::LimitServer { server, max_units }, None)
            }
            19 => {
                let times = random.random_range(5..60);
                let slow = |times| Fault::Slow { database, times };
                (slow(times), Some(slow(1)))
            }
            _ => return self.add_cut(random, (at, until), coordinator),
        };
        self.faults.push((at, begins));
        if let Some(ends) = ends {
            self.faults.push((until, ends));
            self.calm = self.calm.max(until);
        }
    }

    /// One link, or all of a process; one way, or both.
    fn add_cut(&mut self, random: &mut StdRng, times: (Millis, Millis), coordinator: Node) {
        let worker = Node::Worker(random.random_range(0..self.workers.len()));
        let database = Node::Database(random.random_range(0..self.databases.len()));
        let members = (0..MEMBERS).map(Node::Member);
        let links: Vec<(Node, Node)> = match random.random_range(0..6) {
            0 => vec![(coordinator, worker)],
            1 => vec![(coordinator, database)],
            2 => vec![(worker, database)],
            3 => members.map(|member| (coordinator, member)).collect(),
            4 => members.map(|member| (worker, member)).collect(),
            _ => {
                let alone = Node::Member(random.random_range(0..MEMBERS));
                let others = members.filter(|member| *member != alone);
                others.map(|member| (alone, member)).collect()
            }
        };
        let way = random.random_range(0..3);
        for (one, other) in links {
            if way != 1 {
                self.cut(times, one, other);
            }
            if way != 2 {
                self.cut(times, other, one);
            }
        }
    }

    fn cut(&mut self, (at, until): (Millis, Millis), from: Node, to: Node) {
        self.faults.push((at, Fault::Cut { from, to }));
        self.faults.push((until, Fault::Heal { from, to }));
        self.calm = self.calm.max(until);
    }
}
