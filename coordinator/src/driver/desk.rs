//! What the drives of one process share: the workers and what goes to them, events on their way to the
//! engine, operations that are under way, the clock.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::task::{AbortHandle, Id, JoinSet};
use upshift_shared::{
    Result,
    clock::Stopwatch,
    ids::{RunId, TaskId, UnitId, WorkerId},
    ledger::Holder,
};

use super::{Answer, Operation, operation::Scene, waits::Ticket};
use crate::{engine::Event, metrics::Metrics, server::Joined};

/// A worker that has a session.
pub(super) struct Link {
    pub(super) worker: Joined,
    /// Tasks whose specification it has.
    pub(super) specs: HashSet<(RunId, TaskId)>,
    /// Units that it holds.
    pub(super) held: HashSet<(RunId, TaskId, UnitId)>,
    /// It finishes what it has and leaves.
    pub(super) draining: bool,
}

/// What has become of an operation.
pub(super) type Operated = (Holder, Option<Ticket>, Operation, Result<Answer>);

/// What the drives of one process share.
pub(super) struct Desk {
    pub(super) watch: Stopwatch,
    /// What the engine has to be told, in this order.
    pub(super) events: VecDeque<Event>,
    pub(super) workers: HashMap<WorkerId, Link>,
    /// Workers that do not read what is sent to them.
    pub(super) deaf: Vec<WorkerId>,
    operations: JoinSet<Operated>,
    /// Whose operations are under way: one that breaks cannot say it itself, and those of a drive that has
    /// ended are ended too.
    of: HashMap<Id, (Holder, AbortHandle)>,
    /// The process is to have so many workers of its own, and has not been told.
    pub(super) workers_wanted: Option<u32>,
    pub(super) metrics: Arc<Metrics>,
}

impl Desk {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            watch: Stopwatch::start(),
            events: VecDeque::new(),
            workers: HashMap::new(),
            deaf: Vec::new(),
            operations: JoinSet::new(),
            of: HashMap::new(),
            workers_wanted: None,
            metrics,
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.watch.elapsed()
    }

    /// Tells the engine of something, after what it is to be told already.
    pub(super) fn feed(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Begins an operation.
    pub(super) fn operate(
        &mut self,
        scene: &Arc<Scene>,
        ticket: Option<Ticket>,
        operation: Operation,
    ) {
        let (scene, holder) = (Arc::clone(scene), scene.holder);
        let handle = self.operations.spawn(async move {
            let result = scene.execute(&operation).await;
            (holder, ticket, operation, result)
        });
        self.of.insert(handle.id(), (holder, handle));
    }

    /// The next operation that ends; `Err` with its run's holder for one that broke.
    pub(super) async fn next_operated(&mut self) -> Option<Result<Operated, (Holder, String)>> {
        loop {
            match self.operations.join_next_with_id().await? {
                Ok((id, operated)) => {
                    self.of.remove(&id);
                    return Some(Ok(operated));
                }
                Err(error) => {
                    let of = self.of.remove(&error.id());
                    if let Some((holder, _)) = of.filter(|_| !error.is_cancelled()) {
                        return Some(Err((holder, format!("a defect in the driver: {error}"))));
                    }
                }
            }
        }
    }

    /// A drive has ended: nobody waits for what it has begun.
    pub(super) fn abandon(&mut self, holder: Holder) {
        let of_it = self.of.values().filter(|(of, _)| *of == holder);
        of_it.for_each(|(_, operation)| operation.abort());
    }
}
