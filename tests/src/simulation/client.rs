//! Operators: each has runs for one database, one after the other, and wants things of them meanwhile. When it
//! has wanted all of it, it goes on with a run that stands still until the run has ended.

use std::{collections::VecDeque, rc::Rc};

use upshift_shared::ids::RunId;

use super::{
    ledger::RunState,
    message::{Answer, Message, Order, Timer},
    plan::Plan,
    process::Node,
    queue::Millis,
    world::World,
};

/// How often a client looks.
const LOOK: Millis = 800;
/// After so long without an answer it asks again, somebody else perhaps.
const PATIENCE: Millis = 4_000;

/// A run that a client wants.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) run: RunId,
    pub(super) plan: Rc<Plan>,
    /// What it wants of it, and how long after the last.
    pub(super) orders: VecDeque<(Millis, Order)>,
}

/// An operator.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) database: usize,
    pub(super) jobs: VecDeque<Job>,
    submitted: bool,
    /// Not before.
    next_at: Millis,
    asking: Option<(u64, Order, Millis)>,
    /// Who leads, as far as it knows.
    guess: usize,
}

impl Client {
    pub(super) fn new(database: usize, jobs: VecDeque<Job>, starts: Millis) -> Self {
        Self {
            database,
            jobs,
            submitted: false,
            next_at: starts,
            asking: None,
            guess: 0,
        }
    }

    /// Whether it wants nothing more.
    pub(super) fn is_done(&self) -> bool {
        self.jobs.is_empty()
    }
}

impl World {
    pub(super) fn client_goes_on(&mut self, n: usize) {
        let now = self.now;
        let client = &self.clients[n];
        if client.is_done() {
            return;
        }
        self.timer(Node::Client(n), now + LOOK, Timer::Client);
        let client = &mut self.clients[n];
        if let Some((_, order, since)) = &client.asking {
            if *since == 0 || now - since > PATIENCE {
                let order = order.clone();
                client.guess += 1;
                self.client_asks(n, order);
            }
            return;
        }
        if now < client.next_at {
            return;
        }
        if let Some(order) = self.next_order(n) {
            self.client_asks(n, order);
        }
    }

    fn next_order(&mut self, n: usize) -> Option<Order> {
        let now = self.now;
        let client = &mut self.clients[n];
        let database = client.database;
        let job = client.jobs.front_mut()?;
        let run = job.run;
        if !client.submitted {
            let plan = Rc::clone(&job.plan);
            return Some(Order::Submit { database, plan });
        }
        if let Some((pause, order)) = job.orders.pop_front() {
            client.next_at = now + pause;
            return Some(order);
        }
        if self.has_ended(run) {
            let client = &mut self.clients[n];
            client.jobs.pop_front();
            client.submitted = false;
            client.next_at = now + 500;
            return None;
        }
        let ledger = self.databases[database].runs.get(&run)?;
        let driven = self.store.entry(run).is_some_and(|entry| entry.active);
        if !driven {
            Some(Order::Resume)
        } else if ledger.paused {
            Some(Order::Unpause)
        } else {
            None
        }
    }

    fn client_asks(&mut self, n: usize, order: Order) {
        let call = self.number();
        let client = &mut self.clients[n];
        let Some(job) = client.jobs.front() else {
            return;
        };
        let run = job.run;
        let leader = client.guess % self.scenario.coordinators;
        client.asking = Some((call, order.clone(), self.now));
        let from = self.processes.caller(Node::Client(n));
        let message = Message::Order { call, run, order };
        self.ask(from, Node::Coordinator(leader), message);
    }

    pub(super) fn client_got(&mut self, n: usize, message: Message) {
        let Message::OrderReply { call, answer } = message else {
            return;
        };
        let client = &mut self.clients[n];
        let Some((asked, order, since)) = &mut client.asking else {
            return;
        };
        if *asked != call {
            return;
        }
        match answer {
            Answer::NotTheLeader => {
                // Another one is asked when it looks next.
                *since = 0;
                *asked = 0;
            }
            Answer::Taken => {
                client.submitted |= matches!(order, Order::Submit { .. });
                client.asking = None;
            }
            Answer::Refused => client.asking = None,
        }
    }

    /// Whether a run has ended: prepared, rolled back, or failed for what trying again does not mend.
    pub(super) fn has_ended(&self, run: RunId) -> bool {
        let ledger = self.databases[self.database_of(run)].runs.get(&run);
        let active = self.store.entry(run).is_none_or(|entry| entry.active);
        ledger.is_some_and(|ledger| match ledger.state {
            RunState::Prepared | RunState::RolledBack => !active,
            RunState::Failed | RunState::Stuck => !active && ledger.scripted,
            RunState::Planned | RunState::Running | RunState::RollingBack => false,
        })
    }
}
