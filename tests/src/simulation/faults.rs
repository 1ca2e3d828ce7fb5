//! What goes wrong, and comes right again.

use super::{
    adapter,
    message::{Down, Happening, Timer, Up},
    process::Node,
    queue::Millis,
    world::World,
};

/// Something that goes wrong, or comes right.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// `kill -9`; or the machine is gone, which nobody is told.
    Crash {
        node: Node,
        quietly: bool,
    },
    Restart(Node),
    /// SIGSTOP
    Pause(Node),
    /// SIGCONT
    Wake(Node),
    /// One way.
    Cut {
        from: Node,
        to: Node,
    },
    Heal {
        from: Node,
        to: Node,
    },
    /// The connection of a worker's session is reset.
    BreakSession {
        worker: usize,
    },
    /// The leader ends the session of a worker that does not read, and hears the rest of what it said.
    DropWorker {
        worker: usize,
    },
    /// SIGTERM to a worker.
    Drain {
        worker: usize,
    },
    /// SIGTERM to the leader: another one takes over.
    HandOver,
    /// An operator says how many units a server bears.
    LimitServer {
        server: u32,
        max_units: u32,
    },
    /// Units of a database take so many times as long.
    Slow {
        database: usize,
        times: u64,
    },
}

impl World {
    pub(super) fn goes_wrong_now(&mut self, fault: Fault) {
        match fault {
            Fault::Crash { node, quietly } => self.crash(node, quietly),
            Fault::Restart(node) => self.restart(node),
            Fault::Pause(node) => {
                if self.processes.get(node).up {
                    self.note(node, "paused", [0; 3]);
                    self.processes.get_mut(node).paused = true;
                }
            }
            Fault::Wake(node) => self.wake(node),
            Fault::Cut { from, to } => {
                self.note(from, "cut off", [0; 3]);
                self.processes.cut(from, to);
                self.members_changed();
            }
            Fault::Heal { from, to } => {
                self.note(from, "link healed", [0; 3]);
                let mut at = self.now;
                for what in self.processes.heal(from, to) {
                    at += self.hop();
                    self.queue.push(at, what);
                }
                self.members_changed();
            }
            Fault::BreakSession { worker } => self.break_session(worker),
            Fault::DropWorker { worker } => self.drop_worker(worker),
            Fault::Drain { worker } => self.drain(worker),
            Fault::HandOver => {
                let leads = |n: &usize| {
                    let process = self.processes.get(Node::Coordinator(*n));
                    process.up && !process.paused && self.coordinators[*n].lead.is_some()
                };
                if let Some(leader) = (0..self.coordinators.len()).find(leads) {
                    self.note(Node::Coordinator(leader), "hands over", [0; 3]);
                    self.summary.hand_overs += 1;
                    self.hand_over(leader);
                }
            }
            Fault::LimitServer { server, max_units } => self.limit_server(server, max_units),
            Fault::Slow { database, times } => self.databases[database].slowness = times,
        }
    }

    fn limit_server(&mut self, server: u32, max_units: u32) {
        let limits = &mut self.scenario.server_limits;
        limits.retain(|(limited, _)| *limited != server);
        limits.push((server, max_units));
        for c in 0..self.coordinators.len() {
            let process = self.processes.get(Node::Coordinator(c));
            if process.up && !process.paused && self.coordinators[c].lead.is_some() {
                self.feed(c, adapter::server_limited(server, max_units));
            }
        }
    }

    fn crash(&mut self, node: Node, quietly: bool) {
        if !self.processes.get(node).up {
            return;
        }
        self.note(node, "crashed", [i64::from(quietly), 0, 0]);
        self.summary.crashes += 1;
        self.goes_down(node, quietly);
    }

    fn goes_down(&mut self, node: Node, quietly: bool) {
        let caller = self.processes.caller(node);
        let process = self.processes.get_mut(node);
        process.up = false;
        process.paused = false;
        process.deferred.clear();
        match node {
            Node::Coordinator(c) => {
                let sessions = std::mem::take(&mut self.coordinators[c].sessions);
                for session in sessions.into_values() {
                    self.streams[session.stream].joined = None;
                    if !quietly {
                        self.say_down(session.stream, Down::Closed);
                    }
                }
                self.coordinators[c] = Default::default();
            }
            Node::Worker(w) => self.worker_gone(w, caller, quietly),
            Node::Database(db) => self.database_crashed(db),
            Node::Member(_) => self.members_changed(),
            Node::Client(_) => {}
        }
    }

    /// A process ends of its own accord, and is started again.
    pub(super) fn exit(&mut self, node: Node, again: Millis) {
        self.goes_down(node, false);
        let caller = self.processes.caller(node);
        let (of, timer) = (caller, Timer::Restart);
        self.queue.push(again, Happening::Timer { of, timer });
    }

    pub(super) fn restart(&mut self, node: Node) {
        let process = self.processes.get_mut(node);
        if process.up {
            return;
        }
        process.up = true;
        process.life += 1;
        self.note(node, "started", [0; 3]);
        match node {
            Node::Coordinator(c) => self.coordinator_started(c),
            Node::Worker(w) => self.worker_started(w),
            Node::Member(_) => self.members_changed(),
            Node::Database(_) | Node::Client(_) => {}
        }
    }

    fn wake(&mut self, node: Node) {
        let process = self.processes.get_mut(node);
        if !process.paused {
            return;
        }
        process.paused = false;
        let deferred = std::mem::take(&mut process.deferred);
        self.note(node, "woke up", [deferred.len() as i64, 0, 0]);
        // All of it at once, in its order, before anything that comes now.
        for what in deferred {
            self.queue.push(self.now, what);
        }
    }

    fn break_session(&mut self, worker: usize) {
        let Some(stream) = self.workers[worker].session else {
            return;
        };
        self.note(Node::Worker(worker), "session breaks", [0; 3]);
        // What is on the way is lost, and both ends find out.
        self.streams[stream].up.clear();
        self.streams[stream].down.clear();
        self.say_up(stream, Up::Closed);
        self.say_down(stream, Down::Closed);
    }

    fn drop_worker(&mut self, worker: usize) {
        let Some(stream) = self.workers[worker].session else {
            return;
        };
        let (coordinator, joined) = (
            self.streams[stream].coordinator,
            self.streams[stream].joined,
        );
        let process = self.processes.get(coordinator.node);
        let awake = self.processes.lives(coordinator) && !process.paused;
        if let (Node::Coordinator(c), Some(joined), true) = (coordinator.node, joined, awake) {
            self.note(Node::Worker(worker), "does not read", [0; 3]);
            self.lose(c, joined);
            // It finds out when it reads again; until then its units go on.
            self.streams[stream].down.push_back(Down::Closed);
            let at = self.now + self.draw(1_000..=8_000);
            let up = false;
            self.queue.push(at, Happening::Stream { stream, up });
        }
    }
}
