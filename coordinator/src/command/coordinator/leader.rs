//! What the coordinator that leads does for operators: their orders go into the index of runs, durable in
//! the cluster's store, and from there are carried out by whoever leads.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use futures::StreamExt;
use tokio::task::{AbortHandle, JoinSet};
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::Status;
use upshift_proto::v1::{
    FleetOrderRequest, FleetStatusResponse, ListFleetsResponse, RunEvent, RunStatus,
    StatusResponse, SubmitAnswer, SubmitOrder, WorkersResponse,
};
use upshift_shared::{
    Result,
    clock::Stopwatch,
    config::{Config, Environment},
    ids::{RunId, WorkerId},
    ledger::run::RunRow,
    pg::{self, PgConnection, Target},
    telemetry::trace::Parent,
};

use super::{
    super::{
        Failure,
        fleet::RunLimits,
        host::{CLUSTER_UNITS, ClusterHost},
    },
    audit::Action,
    conducting::{Conducting, Turns, is_closed},
    fleets::{self, Fleets},
    index::Index,
    submitting::SUBMITTED,
};
use crate::{
    coordination::{Coordination, Member, RunEntry, RunOrder},
    driver::hub::Hub,
    engine::ServerId,
    metrics::Metrics,
    server::{Events, FleetUpload, Identity, Leader, Upload, Wish},
};

/// A coordinator that leads.
pub(super) struct Leading {
    pub(super) config: Option<PathBuf>,
    pub(super) hub: Hub,
    pub(super) index: Index,
    pub(super) fleets: Fleets,
    /// Whether fleets may have hooks.
    pub(super) hooks: bool,
    coordination: Arc<dyn Coordination>,
    member: Member,
    metrics: Arc<Metrics>,
    since: Stopwatch,
    servers: Arc<BTreeMap<String, (ServerId, u32)>>,
    max_units: Option<u32>,
    /// Runs at once, of all.
    runs: Turns,
    /// And of servers that have a limit of their own.
    runs_of_server: BTreeMap<String, Turns>,
    leaving: CancellationToken,
    conducting: Mutex<Conductors>,
    /// What is conducted, and what operators have asked for: that is seen to whether or not they wait for the
    /// answer. Where a request is cancelled between ledger and index, a run would be in the one and not in
    /// the other.
    under_way: TaskTracker,
}

/// The runs that are conducted.
#[derive(Default)]
pub(super) struct Conductors {
    tasks: JoinSet<()>,
    of: HashMap<RunId, AbortHandle>,
    /// Those of which an order is carried out right now.
    at_work: HashSet<RunId>,
    /// Those of which an order was carried out, and that is not written yet.
    ending: HashSet<RunId>,
    /// Runs whose pack is being compiled.
    pub(super) submitted: HashSet<RunId>,
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
            let turns = Turns::new(server.max_runs?, &format!("server {name}"));
            Some((name.clone(), turns))
        });
        Arc::new(Self {
            config,
            hub,
            index: Index::new(Arc::clone(&coordination)),
            fleets: Fleets::new(Arc::clone(&coordination)),
            hooks: settings.cluster.hooks,
            coordination,
            member,
            metrics,
            since: Stopwatch::start(),
            servers: Arc::new(servers.collect()),
            max_units: settings.cluster.max_units,
            runs: Turns::new(settings.cluster.max_runs, "the cluster"),
            runs_of_server: runs_of_server.collect(),
            leaving: CancellationToken::new(),
            conducting: Mutex::default(),
            under_way: TaskTracker::new(),
        })
    }

    /// Goes on with what earlier leaders were at.
    pub(super) async fn begin(self: &Arc<Self>) -> Result<()> {
        for (server, max_units) in self.servers.values() {
            self.hub.limit_server(*server, *max_units).await?;
        }
        self.hub.limit_units(self.max_units).await?;
        self.index.load().await?;
        // Once for all of them: each may have thousands of databases.
        let config = tokio::task::block_in_place(|| self.config()).ok();
        for entry in self.index.all() {
            if entry.order.is_some() {
                let server = self.server(config.as_ref(), &entry.database);
                self.conduct(entry.run, server.as_deref(), true);
            }
        }
        self.begin_fleets().await
    }

    /// What goes on until it has ended, or another one is to go on.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut conductors = self.conductors();
        conductors.tasks.spawn(self.under_way.track_future(work));
        while conductors.tasks.try_join_next().is_some() {}
    }

    /// Runs at once, as fleets heed them.
    pub(super) fn run_limits(&self) -> RunLimits {
        let of = |turns: &Turns| (turns.many, Arc::clone(&turns.permits));
        let servers = self.runs_of_server.iter();
        RunLimits {
            all: Some(of(&self.runs)),
            servers: servers
                .map(|(server, turns)| (server.clone(), of(turns)))
                .collect(),
        }
    }

    pub(super) fn leaving(&self) -> &CancellationToken {
        &self.leaving
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_cancelled()
    }

    /// Nothing of what ends now is the end of an order: others go on.
    pub(super) fn leave(&self) {
        self.leaving.cancel();
    }

    pub(super) fn conductors(&self) -> std::sync::MutexGuard<'_, Conductors> {
        self.conducting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all that was driven has ended.
    pub(super) async fn left(&self) {
        self.under_way.close();
        self.under_way.wait().await;
    }

    /// What has not ended is left as it stands: another coordinator takes it over.
    pub(super) async fn abort(&self) {
        let mut tasks = std::mem::take(&mut self.conductors().tasks);
        tasks.shutdown().await;
    }

    fn conduct(self: &Arc<Self>, run: RunId, server: Option<&str>, takes_over: bool) {
        let mut conductors = self.conductors();
        // Whoever is at it reads the next order from the index.
        if conductors
            .of
            .get(&run)
            .is_some_and(|task| !task.is_finished())
            || self.is_leaving()
        {
            return;
        }
        let of_server = server.and_then(|server| self.runs_of_server.get(server));
        let conducting = Conducting {
            leading: Arc::clone(self),
            config: self.config.clone(),
            host: self.host(takes_over),
            run,
            turns: of_server.into_iter().chain([&self.runs]).cloned().collect(),
        };
        let task = conductors
            .tasks
            .spawn(self.under_way.track_future(conducting.conduct()));
        conductors.of.insert(run, task);
        while conductors.tasks.try_join_next().is_some() {}
    }

    /// What conducts a run has nothing to do and ends, unless something was ordered meanwhile: whoever
    /// orders something after that finds that nobody conducts it.
    pub(super) fn rest_unless<T>(
        &self,
        run: RunId,
        ordered: impl FnOnce() -> Option<T>,
    ) -> Option<T> {
        let mut conductors = self.conductors();
        let ordered = ordered();
        if ordered.is_none() {
            conductors.of.remove(&run);
        }
        ordered
    }

    pub(super) fn set_at_work(&self, run: RunId, at_work: bool) {
        let mut conductors = self.conductors();
        match at_work {
            true => conductors.at_work.insert(run),
            false => conductors.at_work.remove(&run) && conductors.ending.insert(run),
        };
    }

    /// What has become of an order is written.
    pub(super) fn set_ended(&self, run: RunId) {
        self.conductors().ending.remove(&run);
    }

    /// Whether an order was carried out, and it is not written yet what has become of it.
    pub(super) fn is_ending(&self, run: RunId) -> bool {
        self.conductors().ending.contains(&run)
    }

    /// Has an order that stands carried out once more where it has just come to its end.
    pub(super) async fn order_again(self: &Arc<Self>, run: RunId) -> Result<(), Failure> {
        if self.is_ending(run) {
            self.order(run, |current| Ok(current.cloned())).await?;
        }
        Ok(())
    }

    pub(super) fn host(&self, takes_over: bool) -> ClusterHost {
        ClusterHost {
            hub: self.hub.clone(),
            coordination: Arc::clone(&self.coordination),
            servers: Arc::clone(&self.servers),
            takes_over,
            units: CLUSTER_UNITS,
            trace: Parent::default(),
        }
    }

    pub(super) fn config(&self) -> Result<Config> {
        Config::load(self.config.as_deref(), &Environment::capture())
    }

    /// `host:port` of a database, where runs may have to wait for it.
    fn server(&self, config: Option<&Config>, database: &str) -> Option<String> {
        if self.runs_of_server.is_empty() {
            return None;
        }
        let named = config?.named(database, &Environment::capture());
        Some(named.ok()?.connection.target().server())
    }

    pub(super) fn target(&self, database: &str) -> Result<Target, Failure> {
        let named = self.config()?.named(database, &Environment::capture())?;
        Ok(named.connection.target())
    }

    pub(super) async fn connect(&self, database: &str) -> Result<PgConnection, Failure> {
        let target = tokio::task::block_in_place(|| self.target(database))?;
        Ok(pg::connect(&target, "upshift coordinator").await?)
    }

    pub(super) fn entry(&self, run: RunId) -> Result<RunEntry, Failure> {
        self.index.get(run).ok_or_else(|| {
            Failure::refused(format!(
                "this cluster knows no run {run}: see upshift cluster status; those of fleets are ordered by \
                 upshift fleet"
            ))
        })
    }

    /// Has the index say how a run stands with which nothing is done: its database may have been away when
    /// that was to be written.
    pub(super) async fn refresh(&self, entry: &RunEntry, row: &RunRow) -> Result<(), Failure> {
        let state = row.state.to_string();
        if entry.order.is_some() || [SUBMITTED, &state].contains(&entry.state.as_str()) {
            return Ok(());
        }
        let refreshed = self.index.change(entry.run, |current| {
            let mut current = current.unwrap_or_else(|| entry.clone());
            if current.order.is_none() {
                current.state = state;
                current.closed = is_closed(row);
            }
            Ok::<_, Failure>(current)
        });
        refreshed.await
    }

    /// Writes an order and has it carried out. `decide` makes it from the one that stands and is not done
    /// yet; `None` where that one is to stand. Whether there is a new one.
    pub(super) async fn order(
        self: &Arc<Self>,
        run: RunId,
        decide: impl FnOnce(Option<&RunOrder>) -> Result<Option<RunOrder>, Failure>,
    ) -> Result<bool, Failure> {
        let mut is_new = false;
        let database = self.entry(run)?.database;
        let decided = self.index.change(run, |entry| {
            // Nobody takes out what was there just now.
            let mut entry = entry.ok_or_else(|| Failure::failed("the index has lost the run"))?;
            if let Some(order) = decide(entry.order.as_ref())? {
                is_new = true;
                entry.order = Some(order);
                entry.orders += 1;
                entry.message.clear();
            }
            Ok::<_, Failure>(entry)
        });
        decided.await?;
        self.conduct_on(run, &database);
        Ok(is_new)
    }

    /// Has a run conducted of which something was ordered just now.
    pub(super) fn conduct_on(self: &Arc<Self>, run: RunId, database: &str) {
        let server = tokio::task::block_in_place(|| match self.runs_of_server.is_empty() {
            true => None,
            false => self.server(self.config().ok().as_ref(), database),
        });
        self.conduct(run, server.as_deref(), false);
    }

    /// Comes to its end even where whoever asked for it has gone.
    async fn seen_to<T: Send + 'static>(
        &self,
        request: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        let seen_to = self.under_way.spawn(request).await;
        seen_to.unwrap_or_else(|_| {
            Err(Failure::failed(
                "the coordinator has a defect, please report it with what it has logged",
            ))
        })
    }

    fn outcome<T>(&self, action: &Action<'_>, outcome: Result<T, Failure>) -> Result<T, Status> {
        let outcome = outcome.map_err(|failure| failure.status());
        self.metrics.asked(action.verb, outcome.is_ok());
        action.log(&outcome);
        outcome
    }
}

/// What a coordinator does with a run that is not driven.
fn doing(order: Option<&RunOrder>, at_work: bool) -> &'static str {
    match order {
        None => "",
        Some(_) if !at_work => "waiting",
        Some(RunOrder::Forward { .. }) => "forward",
        Some(RunOrder::Back { .. }) => "back",
        Some(RunOrder::Commit) => "commit",
    }
}

/// The leader, as the service holds it.
#[async_trait]
impl Leader for Arc<Leading> {
    async fn submit(
        &self,
        by: &Identity,
        order: SubmitOrder,
        (pack, trace): (Upload, Parent),
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
        let leading = Arc::clone(self);
        let who = by.clone();
        let accepted = self.seen_to(async move {
            leading
                .submitted((&who, &order), (run, &pack), &trace)
                .await
        });
        self.outcome(&action, accepted.await)
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
            // One of a fleet is in no index: it is told of as long as it is driven.
            Some(run) if driven.contains_key(&run.to_string()) => {
                self.index.get(run).into_iter().collect()
            }
            Some(run) => vec![self.entry(run).map_err(|failure| failure.status())?],
            None => self.index.all(),
        };
        let at_work = self.conductors().at_work.clone();
        let indexed: Vec<RunStatus> = entries
            .into_iter()
            .map(|entry| {
                let of_driver = driven.remove(&entry.run.to_string());
                of_driver.unwrap_or_else(|| RunStatus {
                    run: entry.run.to_string(),
                    database: entry.database,
                    state: entry.state,
                    doing: doing(entry.order.as_ref(), at_work.contains(&entry.run)).to_owned(),
                    message: entry.message,
                    ..RunStatus::default()
                })
            })
            .collect();
        let mut of_fleets: Vec<RunStatus> = driven.into_values().collect();
        of_fleets.sort_by(|one, other| one.run.cmp(&other.run));
        Ok(StatusResponse {
            runs: indexed.into_iter().chain(of_fleets).collect(),
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
        let (leading, who, what) = (Arc::clone(self), by.clone(), action.detail.clone());
        let granted = self.seen_to(async move {
            let action = Action {
                by: &who,
                verb: wish.verb(),
                run: Some(run),
                detail: what,
            };
            Box::pin(leading.grant(&action, run, &wish)).await
        });
        self.outcome(&action, granted.await)
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

    async fn submit_fleet(
        &self,
        by: &Identity,
        (fleet, trace): (FleetUpload, Parent),
    ) -> Result<String, Status> {
        let action = Action {
            by,
            verb: "submit_fleet",
            run: None,
            detail: fleet.head.file.clone(),
        };
        let (leading, who) = (Arc::clone(self), by.clone());
        let accepted = self
            .seen_to(async move { Box::pin(leading.submitted_fleet(&who, fleet, &trace)).await });
        self.outcome(&action, accepted.await.map_err(Failure::tamed))
    }

    async fn plan_fleet(&self, by: &Identity, fleet: FleetUpload) -> Result<String, Status> {
        let action = Action {
            by,
            verb: "plan_fleet",
            run: None,
            detail: fleet.head.file.clone(),
        };
        // Nothing is left where whoever asks has gone.
        let planned = Box::pin(self.planned_fleet(fleet)).await;
        self.outcome(&action, planned.map_err(Failure::tamed))
    }

    async fn order_fleet(
        &self,
        by: &Identity,
        request: FleetOrderRequest,
    ) -> Result<String, Status> {
        let action = Action {
            by,
            verb: "order_fleet",
            run: None,
            detail: fleets::in_words(&request),
        };
        let (leading, who) = (Arc::clone(self), by.clone());
        let ordered = self.seen_to(async move { leading.order_for_fleet(&who, &request).await });
        self.outcome(&action, ordered.await)
    }

    async fn fleet_status(&self, fleet: &str, brief: bool) -> Result<FleetStatusResponse, Status> {
        let shown = Box::pin(self.shown_fleet(fleet, brief)).await;
        shown.map_err(|failure| failure.status())
    }

    async fn fleet_report(&self, fleet: &str) -> Result<String, Status> {
        let report = Box::pin(self.report_of_fleet(fleet)).await;
        report.map_err(|failure| failure.status())
    }

    async fn list_fleets(&self) -> Result<ListFleetsResponse, Status> {
        let fleets = self.summaries();
        Ok(ListFleetsResponse { fleets })
    }
}
