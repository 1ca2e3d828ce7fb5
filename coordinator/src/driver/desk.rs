//! What the drives of one process share: the workers and what goes to them, events on their way to the
//! engine, operations that are under way, the clock.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::task::{Id, JoinSet};
use upshift_shared::{
    Result,
    clock::Stopwatch,
    ids::{RunId, TaskId, WorkerId},
};

use super::{Answer, Operation, operation::Scene, waits::Ticket};
use crate::{engine::Event, metrics::Metrics, server::Joined};

/// A worker that has a session.
pub(super) struct Link {
    pub(super) worker: Joined,
    /// Tasks whose specification it has.
    pub(super) specs: HashSet<(RunId, TaskId)>,
    /// Units that it holds.
    pub(super) held: u32,
    /// It finishes what it has and leaves.
    pub(super) draining: bool,
}

/// What has become of an operation.
pub(super) type Operated = (RunId, Option<Ticket>, Operation, Result<Answer>);

/// What the drives of one process share.
pub(super) struct Desk {
    pub(super) watch: Stopwatch,
    /// What the engine has to be told, in this order.
    pub(super) events: VecDeque<Event>,
    pub(super) workers: HashMap<WorkerId, Link>,
    /// Workers that do not read what is sent to them.
    pub(super) deaf: Vec<WorkerId>,
    operations: JoinSet<Operated>,
    /// Whose operations are under way: one that breaks cannot say it itself.
    of: HashMap<Id, RunId>,
    /// The process is to have so many workers of its own, and has not been told.
    pub(super) workers_wanted: Option<u32>,
    /// Connections are closed behind their units where a server allows no more.
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
        let (scene, run) = (Arc::clone(scene), scene.holder.run);
        let handle = self.operations.spawn(async move {
            let result = scene.execute(&operation).await;
            (run, ticket, operation, result)
        });
        self.of.insert(handle.id(), run);
    }

    /// The next operation that ends; `Err` with its run for one that broke.
    pub(super) async fn next_operated(&mut self) -> Option<Result<Operated, (RunId, String)>> {
        let ended = self.operations.join_next_with_id().await?;
        Some(match ended {
            Ok((id, operated)) => {
                self.of.remove(&id);
                Ok(operated)
            }
            Err(error) => {
                let run = self.of.remove(&error.id())?;
                Err((run, format!("a defect in the driver: {error}")))
            }
        })
    }
}
