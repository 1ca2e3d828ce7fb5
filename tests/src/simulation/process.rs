//! Processes, and the links between them.

use std::fmt;

use super::{message::Happening, queue::Millis};

/// At most so many of a kind.
const MOST: usize = 8;
const KINDS: usize = 5;

/// A process or a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    Coordinator(usize),
    Worker(usize),
    /// A member of the coordination store.
    Member(usize),
    Database(usize),
    Client(usize),
}

impl Node {
    fn index(self) -> usize {
        let (kind, number) = match self {
            Self::Coordinator(n) => (0, n),
            Self::Worker(n) => (1, n),
            Self::Member(n) => (2, n),
            Self::Database(n) => (3, n),
            Self::Client(n) => (4, n),
        };
        kind * MOST + number
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coordinator(n) => write!(f, "coordinator {n}"),
            Self::Worker(n) => write!(f, "worker {n}"),
            Self::Member(n) => write!(f, "member {n}"),
            Self::Database(n) => write!(f, "database {n}"),
            Self::Client(n) => write!(f, "client {n}"),
        }
    }
}

/// Who asks: the answer is for this life of the process only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) node: Node,
    pub(super) life: u32,
}

/// How a process stands.
#[derive(Debug)]
pub(super) struct Process {
    /// Counted from one; a restarted process has another.
    pub(super) life: u32,
    pub(super) up: bool,
    /// Stopped with SIGSTOP: what comes waits until it wakes.
    pub(super) paused: bool,
    pub(super) deferred: Vec<Happening>,
}

/// All of them, and which links are cut.
#[derive(Debug)]
pub(super) struct Processes {
    all: Vec<Process>,
    /// How often the link from one to another is cut.
    cuts: Vec<u8>,
    /// What waits for a link, as a stream's next message or a segment that TCP sends again.
    stalled: Vec<(Node, Node, Happening)>,
}

impl Processes {
    pub(super) fn new() -> Self {
        let process = || Process {
            life: 1,
            up: true,
            paused: false,
            deferred: Vec::new(),
        };
        Self {
            all: (0..MOST * KINDS).map(|_| process()).collect(),
            cuts: vec![0; MOST * KINDS * MOST * KINDS],
            stalled: Vec::new(),
        }
    }

    pub(super) fn get(&self, node: Node) -> &Process {
        &self.all[node.index()]
    }

    pub(super) fn get_mut(&mut self, node: Node) -> &mut Process {
        &mut self.all[node.index()]
    }

    pub(super) fn caller(&self, node: Node) -> Caller {
        Caller {
            node,
            life: self.get(node).life,
        }
    }

    /// Whether this life of the process goes on.
    pub(super) fn lives(&self, caller: Caller) -> bool {
        let process = self.get(caller.node);
        process.up && process.life == caller.life
    }

    pub(super) fn is_cut(&self, from: Node, to: Node) -> bool {
        self.cuts[Self::link(from, to)] > 0
    }

    pub(super) fn cut(&mut self, from: Node, to: Node) {
        self.cuts[Self::link(from, to)] += 1;
    }

    /// The link works again, unless it is cut for another reason; what waited for it.
    pub(super) fn heal(&mut self, from: Node, to: Node) -> Vec<Happening> {
        let cuts = &mut self.cuts[Self::link(from, to)];
        *cuts = cuts.saturating_sub(1);
        if *cuts > 0 {
            return Vec::new();
        }
        let (freed, kept) = std::mem::take(&mut self.stalled)
            .into_iter()
            .partition(|(f, t, _)| (*f, *t) == (from, to));
        self.stalled = kept;
        freed
            .into_iter()
            .map(|(_, _, what): (_, _, _)| what)
            .collect()
    }

    pub(super) fn stall(&mut self, from: Node, to: Node, what: Happening) {
        self.stalled.push((from, to, what));
    }

    fn link(from: Node, to: Node) -> usize {
        from.index() * MOST * KINDS + to.index()
    }
}

/// How long things take when nothing is wrong.
pub(super) const HOP: std::ops::RangeInclusive<Millis> = 1..=4;
