//! One run's orders, done one after another by the same code that commands are made of.

use std::{convert::Infallible, panic::AssertUnwindSafe, path::PathBuf, sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use upshift_shared::{
    Error, Retry,
    ids::RunId,
    ledger::{
        self,
        run::{RunRow, RunState},
    },
    telemetry::trace::Parent,
};

use super::{
    super::{
        Failure, commit,
        driving::DrivingArguments,
        host::{ClusterHost, Host},
        parsed, resume, rollback, run,
    },
    leader::Leading,
};
use crate::coordination::{RunEntry, RunOrder};

/// Between attempts while a database is away; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// How often it is looked whether what is being done is still wanted.
const LOOK: Duration = Duration::from_millis(250);

/// The arguments of `upshift run` that an operator's options are, for a pack in that folder.
pub(super) fn run_arguments(
    options: &[String],
    pack: &std::path::Path,
    (database, host): (&str, Host),
) -> Result<run::Arguments, Failure> {
    let mut words = options.to_vec();
    words.push("--".to_owned());
    words.push(pack.display().to_string());
    parsed::<run::Arguments>(&words)?.of_operator(database, host)
}

/// Runs at once, of all or of one server.
#[derive(Clone)]
pub(super) struct Turns {
    pub(super) permits: Arc<Semaphore>,
    /// How many they are.
    pub(super) many: u32,
    /// What is said of a run that waits for its turn.
    pub(super) why: String,
}

impl Turns {
    /// So many at once of `whose`.
    pub(super) fn new(many: u32, whose: &str) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(many as usize)),
            many,
            why: format!("{whose} has as many runs as it may, which is {many}"),
        }
    }
}

/// What conducting a run takes.
pub(super) struct Conducting {
    pub(super) leading: Arc<Leading>,
    pub(super) config: Option<PathBuf>,
    pub(super) host: ClusterHost,
    pub(super) run: RunId,
    /// What it has to wait for, in this order.
    pub(super) turns: Vec<Turns>,
}

impl Conducting {
    /// Does what is ordered until nothing is.
    pub(super) async fn conduct(mut self) {
        let mut turn = None;
        let mut pause = FIRST_PAUSE;
        while let Some((entry, order)) = self.next() {
            if turn.is_none() {
                turn = self.turn().await;
                if turn.is_none() {
                    return;
                }
                // Something else may have been ordered while it waited.
                continue;
            }
            self.leading.set_at_work(self.run, true);
            let done = self.carried_out(&entry, &order).await;
            self.leading.set_at_work(self.run, false);
            if self.leading.is_leaving() {
                return;
            }
            let is_done = done.is_ok();
            let (next, message) = match done {
                Err(failure) if failure.is_passing() => {
                    self.leading.set_ended(self.run);
                    self.leading.index.remark(self.run, failure.message());
                    // A database that is away keeps no other run from its turn.
                    turn = None;
                    if !self.rests(pause).await {
                        return;
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
                Ok(next) => (next, String::new()),
                Err(failure) => (None, failure.message().to_owned()),
            };
            pause = FIRST_PAUSE;
            self.host.takes_over = false;
            let written = self.ended((&entry, &order), is_done, (next, message)).await;
            self.leading.set_ended(self.run);
            if !written {
                // The lead is lost: another one finds the order as it stands.
                return;
            }
        }
    }

    /// What is to be done next; `None` where nothing is, and whoever orders something from then on has
    /// to have it conducted.
    fn next(&self) -> Option<(RunEntry, RunOrder)> {
        let ordered = || {
            let entry = self.leading.index.get(self.run)?;
            let order = entry.order.clone()?;
            Some((entry, order))
        };
        if let Some(ordered) = ordered() {
            return Some(ordered);
        }
        self.leading.rest_unless(self.run, ordered)
    }

    /// Waits for its turn; `None` where another coordinator is to go on.
    async fn turn(&self) -> Option<Vec<OwnedSemaphorePermit>> {
        let mut turn = Vec::new();
        for turns in &self.turns {
            let permits = Arc::clone(&turns.permits);
            let permit = match Arc::clone(&permits).try_acquire_owned() {
                Ok(permit) => permit,
                Err(_) => {
                    self.leading.index.remark(self.run, &turns.why);
                    let waited = self
                        .leading
                        .leaving()
                        .run_until_cancelled(permits.acquire_owned());
                    // They are never closed.
                    waited.await?.ok()?
                }
            };
            turn.push(permit);
        }
        self.leading.index.remark(self.run, "");
        Some(turn)
    }

    /// Waits; `false` where another coordinator is to go on.
    async fn rests(&self, pause: Duration) -> bool {
        let rest = tokio::time::sleep(pause);
        let rested = self.leading.leaving().run_until_cancelled(rest).await;
        rested.is_some()
    }

    /// Does one order, whatever becomes of it; what follows from it.
    async fn carried_out(
        &self,
        entry: &RunEntry,
        order: &RunOrder,
    ) -> Result<Option<RunOrder>, Failure> {
        let work = AssertUnwindSafe(Box::pin(self.carry_out(entry, order))).catch_unwind();
        let done = tokio::select! {
            done = work => done,
            never = self.stop_in_time(order) => match never {},
        };
        done.unwrap_or_else(|_| {
            Err(Failure::failed(
                "the coordinator has a defect, please report it with what it has logged",
            ))
        })
    }

    /// Stops what is driven where something else was ordered, however long before the drive began that was.
    async fn stop_in_time(&self, order: &RunOrder) -> Infallible {
        loop {
            tokio::time::sleep(LOOK).await;
            let current = self.leading.index.get(self.run);
            if let Some(other) = current.and_then(|entry| entry.order)
                && other != *order
            {
                // Whoever cannot be told has ended.
                let _ended = self.host.hub.stop(self.run).await;
            }
        }
    }

    /// Writes what has become of an order, and what is to be done next, unless an operator has ordered
    /// something else meanwhile. `false` where the store does not take it.
    async fn ended(
        &self,
        (entry, ordered): (&RunEntry, &RunOrder),
        is_done: bool,
        (next, message): (Option<RunOrder>, String),
    ) -> bool {
        let row = self.row(&entry.database).await.ok().flatten();
        // Where the database has gone away just now, what was done says how the run stands.
        let stands = match &row {
            Some(row) => Some((row.state, is_closed(row))),
            None => is_done.then(|| reached(ordered)),
        };
        let mut pause = FIRST_PAUSE;
        loop {
            let written = self.leading.index.change(self.run, |current| {
                let mut current = current.unwrap_or_else(|| entry.clone());
                if current.order.as_ref() == Some(ordered) && current.orders == entry.orders {
                    current.order.clone_from(&next);
                }
                if let Some((state, closed)) = stands {
                    current.state = state.to_string();
                    current.closed = current.order.is_none() && closed;
                }
                current.message.clone_from(&message);
                Ok::<_, Error>(current)
            });
            match written.await {
                Ok(()) => {
                    if let Err(error) = self.leading.index.prune().await {
                        tracing::warn!(%error, "the index of runs keeps more than it has to");
                    }
                    return true;
                }
                Err(error) if error.retry() == Retry::Later => {
                    tracing::warn!(run = %self.run, %error, "the end of an order is not written yet");
                    if !self.rests(pause).await {
                        return false;
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => {
                    tracing::warn!(run = %self.run, %error, "the end of an order cannot be written");
                    return false;
                }
            }
        }
    }

    async fn row(&self, database: &str) -> Result<Option<RunRow>, Failure> {
        let mut conn = self.leading.connect(database).await?;
        Ok(ledger::run::read(&mut conn, self.run).await?)
    }

    /// Does one order; what follows from it.
    async fn carry_out(
        &self,
        entry: &RunEntry,
        order: &RunOrder,
    ) -> Result<Option<RunOrder>, Failure> {
        let config = self.config.as_deref();
        let trace = entry.traceparent.as_deref().unwrap_or_default();
        let host = Host::Cluster(Box::new(ClusterHost {
            trace: Parent::parse(trace),
            ..self.host.clone()
        }));
        let place = (entry.database.as_str(), host);
        match order {
            RunOrder::Forward { commit, options } => {
                let pack = std::path::Path::new("pack");
                let arguments = run_arguments(options, pack, place)?;
                let (driving, _) = arguments.driven();
                let resume = resume::Arguments::of(self.run, driving.clone());
                Box::pin(resume::run(resume, config)).await?;
                Ok(commit.then_some(RunOrder::Commit))
            }
            RunOrder::Back { to, force } => {
                let driving = driving(place)?;
                let back = rollback::Arguments::of(self.run, (to.clone(), *force), driving);
                Box::pin(rollback::run(back, config)).await?;
                Ok(None)
            }
            RunOrder::Commit => {
                let driving = driving(place)?;
                Box::pin(commit::commit_run(&driving, config, self.run)).await?;
                Ok(None)
            }
        }
    }
}

/// How a run stands of which this was ordered and is done, and whether nothing can be done with it any more.
fn reached(done: &RunOrder) -> (RunState, bool) {
    match done {
        RunOrder::Forward { .. } => (RunState::Prepared, false),
        RunOrder::Back { to, .. } => (RunState::RolledBack, to.is_none()),
        RunOrder::Commit => (RunState::Committed, true),
    }
}

/// Whether nothing can be done with a run any more.
pub(super) fn is_closed(row: &RunRow) -> bool {
    match row.state {
        RunState::Committed => true,
        RunState::RolledBack => row.rollback_to.is_none(),
        _ => false,
    }
}

fn driving((database, host): (&str, Host)) -> Result<DrivingArguments, Failure> {
    let mut driving: DrivingArguments = parsed(&[])?;
    driving.of_coordinator(database, host)?;
    Ok(driving)
}
