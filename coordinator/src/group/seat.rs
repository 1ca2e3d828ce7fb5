//! Where the drivers of a group's members meet: each asks for its part of a cut, and waits until all
//! that have part in it have asked; then the cut is made, for all of them. The first member that stops
//! stops the others, and nobody waits for it any more.
//!
//! A wait here has no deadline of its own: it ends when the other members come, or end, which their own
//! deadlines see to.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tokio::sync::{mpsc, oneshot, watch};
use upshift_shared::{Error, Result, ledger::group::Write};

use super::{Cuts, Refusal};

/// Requests of members that the cutter has not yet taken; then members wait.
const REQUESTS: usize = 64;

/// Who stopped the group, and why.
#[derive(Debug, Clone)]
struct Stopped {
    member: usize,
    why: String,
}

/// One member's place in its group.
#[derive(Debug, Clone)]
pub struct Seat {
    member: usize,
    name: String,
    requests: mpsc::Sender<Request>,
    stop: Arc<watch::Sender<Option<Stopped>>>,
    /// Checkpoints that one member alone has.
    alone: Arc<HashSet<String>>,
}

/// What came of waiting for the others.
#[derive(Debug)]
pub enum Waited {
    /// The cut is made, in all of them.
    Cut,
    /// The group has stopped before it was; why.
    Stopped(String),
}

/// Where in its way a cut is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Point {
    /// The checkpoint of this module.
    Checkpoint(String),
    /// The end of the way.
    End,
}

#[derive(Debug)]
struct Request {
    member: usize,
    point: Point,
    write: Write,
    answer: oneshot::Sender<Result<Waited>>,
}

impl Seat {
    /// Waits until all members whose plan has this module's checkpoint have come to it, and it is
    /// prepared in all of them.
    ///
    /// # Errors
    /// Those of [`Cuts::make`].
    pub async fn checkpoint(&self, module: u32, name: &str) -> Result<Waited> {
        let name = name.to_owned();
        let write = Write::Checkpoint {
            module,
            name: name.clone(),
        };
        self.ask(Point::Checkpoint(name), write).await
    }

    /// Whether no other member has this checkpoint: then it is the member's own affair, which the cuts of
    /// the others must not wait for.
    #[must_use]
    pub fn has_alone(&self, name: &str) -> bool {
        self.alone.contains(name)
    }

    /// Waits until all members have come to their end, and it is recorded in all of them.
    ///
    /// # Errors
    /// Those of [`Cuts::make`].
    pub async fn end(&self, write: Write) -> Result<Waited> {
        self.ask(Point::End, write).await
    }

    async fn ask(&self, point: Point, write: Write) -> Result<Waited> {
        let (answer, answered) = oneshot::channel();
        let request = Request {
            member: self.member,
            point,
            write,
            answer,
        };
        let gone = || Error::Refused("a defect: nobody makes the cuts of the group".to_owned());
        self.requests.send(request).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// This member has stopped, or is about to: so do the others. The first one's reason stands.
    pub fn stop(&self, why: &str) {
        self.stop.send_if_modified(|stopped| {
            let first = stopped.is_none();
            if first {
                *stopped = Some(Stopped {
                    member: self.member,
                    why: format!("database {} of the group: {why}", self.name),
                });
            }
            first
        });
    }

    /// Why this member has to stop, where another one has stopped.
    #[must_use]
    pub fn stopped_by_another(&self) -> Option<String> {
        let stopped = self.stop.borrow();
        let other = stopped.as_ref().filter(|s| s.member != self.member);
        other.map(|stopped| stopped.why.clone())
    }

    /// Returns when some member has stopped.
    pub async fn stopped(&self) {
        // The sender lives as long as `self`.
        let mut stopped = self.stop.subscribe();
        let _never = stopped.wait_for(Option::is_some).await;
    }
}

/// Makes the cuts that the members of a group ask for.
pub struct Cutter {
    cuts: Cuts,
    requests: mpsc::Receiver<Request>,
    stop: watch::Receiver<Option<Stopped>>,
    /// Who has part in the checkpoint of a module.
    checkpoints: HashMap<String, usize>,
    /// Checkpoints that the ledgers have already.
    prepared: HashSet<String>,
    /// What the cut at the end is called.
    end: &'static str,
    waiting: HashMap<Point, Vec<Request>>,
    in_doubt: bool,
}

/// A seat for every member, and what makes their cuts. `checkpoints` says, of each member, by which
/// modules its plan has checkpoints of its own, and whether its ledger has that already.
#[must_use]
pub fn seats(
    cuts: Cuts,
    checkpoints: &[Vec<(String, bool)>],
    end: &'static str,
) -> (Vec<Seat>, Cutter) {
    let (sender, requests) = mpsc::channel(REQUESTS);
    let (stop, stopped) = watch::channel(None);
    let stop = Arc::new(stop);
    let mut parts: HashMap<String, usize> = HashMap::new();
    let mut missing = HashSet::new();
    for (module, is_prepared) in checkpoints.iter().flatten() {
        *parts.entry(module.clone()).or_default() += 1;
        if !is_prepared {
            missing.insert(module.clone());
        }
    }
    let prepared = parts.keys().filter(|m| !missing.contains(*m)).cloned();
    let prepared = prepared.collect();
    let alone = parts.iter().filter(|(_, members)| **members == 1);
    let alone: Arc<HashSet<String>> = Arc::new(alone.map(|(name, _)| name.clone()).collect());
    let seats = cuts.members().iter().enumerate();
    let seats = seats
        .map(|(member, of)| Seat {
            member,
            name: of.name.clone(),
            requests: sender.clone(),
            stop: Arc::clone(&stop),
            alone: Arc::clone(&alone),
        })
        .collect();
    let cutter = Cutter {
        cuts,
        requests,
        stop: stopped,
        checkpoints: parts,
        prepared,
        end,
        waiting: HashMap::new(),
        in_doubt: false,
    };
    (seats, cutter)
}

/// What the cutter hears.
enum Heard {
    Request(Request),
    Stopped,
    /// All seats are empty.
    Left,
}

impl Cutter {
    /// Until all members have left their seats. Returns whether a cut is in doubt: then it is decided, or
    /// may be, and not all databases have been told.
    pub async fn run(mut self) -> bool {
        let mut stopped = false;
        loop {
            let heard = tokio::select! {
                request = self.requests.recv() => request.map_or(Heard::Left, Heard::Request),
                _ = self.stop.wait_for(Option::is_some), if !stopped => Heard::Stopped,
            };
            match heard {
                Heard::Request(request) => self.take(request).await,
                Heard::Stopped => {
                    stopped = true;
                    self.send_away();
                }
                Heard::Left => return self.in_doubt,
            }
        }
    }

    async fn take(&mut self, request: Request) {
        if let Point::Checkpoint(module) = &request.point
            && self.prepared.contains(module)
        {
            let _gone = request.answer.send(Ok(Waited::Cut));
            return;
        }
        let point = request.point.clone();
        let waiting = self.waiting.entry(point.clone()).or_default();
        waiting.push(request);
        if self.stop.borrow().is_some() {
            self.send_away();
            return;
        }
        let (wanted, what) = match &point {
            Point::Checkpoint(module) => {
                let wanted = self.checkpoints.get(module).copied();
                (wanted.unwrap_or(1), "checkpoint")
            }
            Point::End => (self.cuts.members().len(), self.end),
        };
        if self.waiting[&point].len() < wanted {
            return;
        }
        let mut all = self.waiting.remove(&point).unwrap_or_default();
        all.sort_by_key(|request| request.member);
        let writes: Vec<(usize, Write)> = all
            .iter()
            .map(|request| (request.member, request.write.clone()))
            .collect();
        let made = self.cuts.make(what, &writes).await;
        self.in_doubt |= matches!(made, Err(Refusal::InDoubt(_)));
        let made = made.map_err(Error::from);
        for request in all {
            // Whoever has left meanwhile reads it in the ledger.
            let _gone = request.answer.send(match &made {
                Ok(()) => Ok(Waited::Cut),
                Err(error) => Err(same(error)),
            });
        }
    }

    /// Nobody comes any more: those that wait are told.
    fn send_away(&mut self) {
        let why = self
            .stop
            .borrow()
            .as_ref()
            .map(|stopped| stopped.why.clone());
        let why = why.unwrap_or_default();
        for request in self.waiting.drain().flat_map(|(_, requests)| requests) {
            let _gone = request.answer.send(Ok(Waited::Stopped(why.clone())));
        }
    }
}

/// The error once more, for another member.
fn same(error: &Error) -> Error {
    match error {
        Error::Fenced { held, current } => Error::Fenced {
            held: *held,
            current: *current,
        },
        other => Error::Refused(other.to_string()),
    }
}
