//! What the coordinator that leads does for operators: their orders go into the index of runs, durable in
//! the cluster's store, and from there are carried out by whoever leads.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use futures::StreamExt;
use tokio::{
    sync::Semaphore,
    task::{AbortHandle, JoinSet},
};
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use upshift_proto::v1::{
    RunEvent, RunStatus, StatusResponse, SubmitAnswer, SubmitOrder, WorkersResponse,
};
use upshift_shared::{
    Result,
    clock::Stopwatch,
    config::{Config, Environment},
    ids::{RunId, WorkerId},
    ledger::{self, run::RunState},
    pg::{self, PgConnection, Target},
};

use super::{
    super::{
        Failure,
        host::{ClusterHost, Host},
        run,
    },
    audit::Action,
    conducting::{Conducting, run_arguments},
    index::Index,
};
use crate::{
    coordination::{Coordination, Member, RunEntry, RunOrder},
    driver::hub::Hub,
    engine::ServerId,
    metrics::Metrics,
    server::{Events, Identity, Leader, Upload, Wish},
};

/// A coordinator that leads.
pub(super) struct Leading {
    config: Option<PathBuf>,
    pub(super) hub: Hub,
    pub(super) index: Index,
    coordination: Arc<dyn Coordination>,
    member: Member,
    metrics: Arc<Metrics>,
    since: Stopwatch,
    servers: Arc<BTreeMap<String, (ServerId, u32)>>,
    max_units: Option<u32>,
    /// Runs at once, of all.
    runs: Arc<Semaphore>,
    /// And of servers that have a limit of their own.
    runs_of_server: BTreeMap<String, Arc<Semaphore>>,
    leaving: CancellationToken,
    conducting: Mutex<Conductors>,
}

/// The runs that are conducted.
#[derive(Default)]
struct Conductors {
    tasks: JoinSet<RunId>,
    of: HashMap<RunId, AbortHandle>,
}

impl Leading {
    pub(super) fn new(
        (config, settings): (Option<PathBuf>, &Config),
        (hub, coordination): (Hub, Arc<dyn Coordination>),
        (member, metrics): (Member, Arc<Metrics>),
    ) -> Arc<Self> {
        let with_units = settings.servers.iter().filter_map(|(name, server)| {
            let max_units = server.max_units?;
            Some((name.clone(), max_units))
        });
        let servers = (0_u32..)
            .zip(with_units)
            .map(|(number, (name, max_units))| (name, (ServerId(number), max_units)));
        let runs_of_server = settings.servers.iter().filter_map(|(name, server)| {
            let max_runs = server.max_runs? as usize;
            Some((name.clone(), Arc::new(Semaphore::new(max_runs))))
        });
        Arc::new(Self {
            config,
            hub,
            index: Index::new(Arc::clone(&coordination)),
            coordination,
            member,
            metrics,
            since: Stopwatch::start(),
            servers: Arc::new(servers.collect()),
            max_units: settings.cluster.max_units,
            runs: Arc::new(Semaphore::new(settings.cluster.max_runs as usize)),
            runs_of_server: runs_of_server.collect(),
            leaving: CancellationToken::new(),
            conducting: Mutex::default(),
        })
    }

    /// Goes on with what earlier leaders were at.
    pub(super) async fn begin(self: &Arc<Self>) -> Result<()> {
        for (server, max_units) in self.servers.values() {
            self.hub.limit_server(*server, *max_units).await?;
        }
        self.hub.limit_units(self.max_units).await?;
        self.index.load().await?;
        for entry in self.index.all() {
            if entry.order.is_some() {
                self.conduct(entry.run, &entry.database, true);
            }
        }
        Ok(())
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_cancelled()
    }

    /// Nothing of what ends now is the end of an order: others go on.
    pub(super) fn leave(&self) {
        self.leaving.cancel();
    }

    fn conductors(&self) -> std::sync::MutexGuard<'_, Conductors> {
        self.conducting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all that was driven has ended.
    pub(super) async fn left(&self) {
        loop {
            let busy = {
                let conductors = self.conductors();
                conductors.of.values().any(|task| !task.is_finished())
            };
            if !busy {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// What has not ended is left as it stands: another coordinator takes it over.
    pub(super) async fn abort(&self) {
        let mut tasks = std::mem::take(&mut self.conductors().tasks);
        tasks.shutdown().await;
    }

    fn conduct(self: &Arc<Self>, run: RunId, database: &str, takes_over: bool) {
        let mut conductors = self.conductors();
        // Whoever is at it reads the next order from the index.
        if conductors
            .of
            .get(&run)
            .is_some_and(|task| !task.is_finished())
        {
            return;
        }
        let of_server = self
            .target(database)
            .ok()
            .and_then(|target| self.runs_of_server.get(&target.server()));
        let turns = of_server.into_iter().chain([&self.runs]).map(Arc::clone);
        let conducting = Conducting {
            leading: Arc::clone(self),
            config: self.config.clone(),
            host: self.host(takes_over),
            run,
            turns: turns.collect(),
        };
        let task = conductors.tasks.spawn(async move {
            conducting.conduct().await;
            run
        });
        conductors.of.insert(run, task);
        while let Some(ended) = conductors.tasks.try_join_next() {
            if let Ok(ended) = ended
                && conductors
                    .of
                    .get(&ended)
                    .is_some_and(AbortHandle::is_finished)
            {
                conductors.of.remove(&ended);
            }
        }
    }

    fn host(&self, takes_over: bool) -> ClusterHost {
        ClusterHost {
            hub: self.hub.clone(),
            coordination: Arc::clone(&self.coordination),
            servers: Arc::clone(&self.servers),
            takes_over,
        }
    }

    fn target(&self, database: &str) -> Result<Target, Failure> {
        let environment = Environment::capture();
        let config = Config::load(self.config.as_deref(), &environment)?;
        Ok(config.named(database, &environment)?.connection.target())
    }

    pub(super) async fn connect(&self, database: &str) -> Result<PgConnection, Failure> {
        let target = tokio::task::block_in_place(|| self.target(database))?;
        Ok(pg::connect(&target, "upshift coordinator").await?)
    }

    pub(super) fn entry(&self, run: RunId) -> Result<RunEntry, Failure> {
        self.index.get(run).ok_or_else(|| {
            Failure::refused(format!(
                "this cluster knows no run {run}: see upshift cluster status"
            ))
        })
    }

    /// Writes an order and has it carried out.
    pub(super) async fn order(
        self: &Arc<Self>,
        entry: RunEntry,
        order: RunOrder,
    ) -> Result<(), Failure> {
        let (run, database) = (entry.run, entry.database.clone());
        let ordered = RunEntry {
            order: Some(order),
            message: String::new(),
            ..entry
        };
        self.index.put(ordered).await?;
        self.conduct(run, &database, false);
        Ok(())
    }

    async fn accept(
        self: &Arc<Self>,
        (by, order): (&Identity, &SubmitOrder),
        (run, pack): (RunId, &Upload),
    ) -> Result<SubmitAnswer, Failure> {
        let answer = |run: &str, summary: String| SubmitAnswer {
            run: run.to_owned(),
            summary,
        };
        if self.index.get(run).is_some() {
            let known = format!("run {run} was submitted before");
            return Ok(answer(&order.run, known));
        }
        let host = Host::Cluster(Box::new(self.host(false)));
        let place = (order.database.as_str(), host);
        let arguments = run_arguments(&order.options, pack.folder(), place)?;
        // So that a connection string does not pass for a name.
        tokio::task::block_in_place(|| self.target(&order.database))?;
        let (_, commit) = arguments.driven();
        let lines = Mutex::new(Vec::new());
        let told = |text: &str| {
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            lines.push(text.to_owned());
        };
        let mut conn = self.connect(&order.database).await?;
        let stored =
            ledger::exists(&mut conn).await? && ledger::run::read(&mut conn, run).await?.is_some();
        if !stored {
            let config = self.config.as_deref();
            let begun = Box::pin(run::begin(&arguments, config, run, told)).await?;
            let Some(begun) = begun else {
                let lines = lines.into_inner().unwrap_or_else(PoisonError::into_inner);
                return Ok(answer("", lines.join("\n")));
            };
            begun.leave().await;
        }
        let action = Action {
            by,
            verb: "submit",
            run: Some(run),
            detail: order.options.join(" "),
        };
        action.record(&mut conn).await?;
        let entry = RunEntry {
            run,
            database: order.database.clone(),
            state: RunState::Running.to_string(),
            order: None,
            message: String::new(),
        };
        let forward = RunOrder::Forward {
            commit,
            options: order.options.clone(),
        };
        self.order(entry, forward).await?;
        let lines = lines.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(answer(&order.run, lines.join("\n")))
    }

    fn outcome<T>(&self, action: &Action<'_>, outcome: Result<T, Failure>) -> Result<T, Status> {
        let outcome = outcome.map_err(|failure| failure.status());
        self.metrics.asked(action.verb, outcome.is_ok());
        action.log(&outcome);
        outcome
    }
}

/// The leader, as the service holds it.
#[async_trait]
impl Leader for Arc<Leading> {
    async fn submit(
        &self,
        by: &Identity,
        order: SubmitOrder,
        pack: Upload,
    ) -> Result<SubmitAnswer, Status> {
        let run: RunId = order
            .run
            .parse()
            .map_err(|_| Status::invalid_argument("the order's run is no id"))?;
        let action = Action {
            by,
            verb: "submit",
            run: Some(run),
            detail: format!("database {}", order.database),
        };
        let accepted = Box::pin(self.accept((by, &order), (run, &pack))).await;
        self.outcome(&action, accepted)
    }

    async fn status(&self, run: Option<RunId>) -> Result<StatusResponse, Status> {
        let driven = self
            .hub
            .status(run)
            .await
            .map_err(|e| Failure::from(e).status())?;
        let mut driven: HashMap<String, RunStatus> =
            driven.into_iter().map(|s| (s.run.clone(), s)).collect();
        let entries = match run {
            Some(run) => vec![self.entry(run).map_err(|failure| failure.status())?],
            None => self.index.all(),
        };
        let runs = entries.into_iter().map(|entry| {
            let of_driver = driven.remove(&entry.run.to_string());
            of_driver.unwrap_or_else(|| RunStatus {
                run: entry.run.to_string(),
                database: entry.database,
                state: entry.state,
                doing: entry
                    .order
                    .map_or_else(String::new, |_| "waiting".to_owned()),
                message: entry.message,
                ..RunStatus::default()
            })
        });
        Ok(StatusResponse {
            runs: runs.collect(),
            leader: self.member.address.clone(),
            leads_seconds: self.since.elapsed().as_secs(),
        })
    }

    async fn watch(&self, run: Option<RunId>) -> Result<Events, Status> {
        let leaving = self.leaving.clone();
        let events = BroadcastStream::new(self.hub.watch());
        let events = events.filter_map(move |event| {
            let event = match event {
                Ok((of, json)) if run.is_none_or(|run| run == of) => Some(Ok(RunEvent {
                    run: of.to_string(),
                    json: json.to_string(),
                })),
                Ok(_) => None,
                // One that falls behind is told that it missed events, not made to slow the run.
                Err(missed) => Some(Err(Status::data_loss(missed.to_string()))),
            };
            futures::future::ready(event)
        });
        Ok(Box::pin(events.take_until(leaving.cancelled_owned())))
    }

    async fn wish(&self, by: &Identity, run: RunId, wish: Wish) -> Result<String, Status> {
        let detail = match &wish {
            Wish::Pause { reason } => reason.clone().unwrap_or_default(),
            Wish::Rollback { to, force } => format!(
                "to {}{}",
                to.as_deref().unwrap_or("the start"),
                if *force { ", force" } else { "" }
            ),
            Wish::Resume | Wish::Commit => String::new(),
        };
        let action = Action {
            by,
            verb: wish.verb(),
            run: Some(run),
            detail,
        };
        let granted = Box::pin(self.grant(&action, run, &wish)).await;
        self.outcome(&action, granted)
    }

    async fn workers(&self) -> Result<WorkersResponse, Status> {
        let workers = self.hub.workers().await;
        let workers = workers.map_err(|error| Failure::from(error).status())?;
        Ok(WorkersResponse { workers })
    }

    async fn drain(&self, by: &Identity, worker: WorkerId) -> Result<String, Status> {
        let action = Action {
            by,
            verb: "drain",
            run: None,
            detail: worker.to_string(),
        };
        let drained = match self.hub.drain(worker).await {
            Ok(true) => Ok(format!("worker {worker} finishes what it has and leaves")),
            Ok(false) => Err(Failure::refused(format!(
                "there is no worker {worker}: see upshift cluster workers"
            ))),
            Err(error) => Err(Failure::from(error)),
        };
        self.outcome(&action, drained)
    }

    async fn figures(&self) -> Result<String, Status> {
        let failed = |error| Failure::from(error).status();
        let load = self.hub.load().await.map_err(failed)?;
        let workers = self.hub.workers().await.map_err(failed)?;
        Ok(self.metrics.text(load, workers.len()))
    }
}
