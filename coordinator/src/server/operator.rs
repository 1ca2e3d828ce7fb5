//! The `Operator` service: looks who asks and what for, and hands it to the coordinator that leads.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{Stream, StreamExt};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tonic::{Request, Response, Status, Streaming};
use upshift_proto::v1::{
    Accepted, CommitRequest, DrainRequest, FleetOrderRequest, FleetPart, FleetPlanResponse,
    FleetReportRequest, FleetReportResponse, FleetStatusRequest, FleetStatusResponse,
    ListFleetsRequest, ListFleetsResponse, PauseRequest, ResumeRequest, RollbackRequest, RunEvent,
    StatusRequest, StatusResponse, SubmitAnswer, SubmitOrder, SubmitPart, WatchRequest,
    WorkersRequest, WorkersResponse, operator_server::Operator, submit_part::Part,
};
use upshift_shared::{
    config::Role,
    ids::{RunId, WorkerId},
    telemetry::trace::{Parent, TRACEPARENT},
};

use super::{
    door::Entrance,
    fleets::{self, FleetUpload},
    identity::{Identity, identity, shown},
    rates::{Log, Rates},
    upload::Upload,
};

/// How long the next part of a pack may take.
const PART_DEADLINE: Duration = Duration::from_secs(30);
/// And a whole one.
const PACK_DEADLINE: Duration = Duration::from_secs(15 * 60);
/// Packs that may be on their way at once: each takes disk.
const PACKS: usize = 16;
/// Fleets that are planned at once: each is as many databases as its order names, and their catalogs.
const PLANS: usize = 2;
/// Streams of events at once: each event is made for each of them.
const WATCHERS: usize = 256;
/// Bytes of a name, a reason or an option that an operator may send.
const TEXT_LENGTH: usize = 1024;
/// Options of a run.
pub(super) const OPTIONS: usize = 256;

/// What an operator wants of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// No new units.
    Pause {
        /// For whoever asks how it stands.
        reason: Option<String>,
    },
    /// It goes on.
    Resume,
    /// It is taken back.
    Rollback {
        /// To this checkpoint; `None` for the start.
        to: Option<String>,
        /// Whatever is lost by it.
        force: bool,
    },
    /// Its way back is closed.
    Commit,
}

impl Wish {
    /// In one word.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Pause { .. } => "pause",
            Self::Resume => "resume",
            Self::Rollback { .. } => "rollback",
            Self::Commit => "commit",
        }
    }
}

/// A stream of events.
pub type Events = Pin<Box<dyn Stream<Item = Result<RunEvent, Status>> + Send>>;

/// The coordinator that leads, as operators see it.
#[async_trait]
pub trait Leader: Send + Sync {
    /// Compiles a pack, stores the run and begins to drive it, as a part of that trace.
    async fn submit(
        &self,
        by: &Identity,
        order: SubmitOrder,
        pack: (Upload, Parent),
    ) -> Result<SubmitAnswer, Status>;

    /// How runs stand.
    async fn status(&self, run: Option<RunId>) -> Result<StatusResponse, Status>;

    /// What happens from now on.
    async fn watch(&self, run: Option<RunId>) -> Result<Events, Status>;

    /// Sees to what an operator wants; what he is told.
    async fn wish(&self, by: &Identity, run: RunId, wish: Wish) -> Result<String, Status>;

    /// The workers that have a session.
    async fn workers(&self) -> Result<WorkersResponse, Status>;

    /// What is counted, as text for Prometheus.
    async fn figures(&self) -> Result<String, Status>;

    /// Asks a worker to leave; what the operator is told.
    async fn drain(&self, by: &Identity, worker: WorkerId) -> Result<String, Status>;

    /// Keeps a fleet and begins to conduct it, as a part of that trace; what the operator is told.
    async fn submit_fleet(
        &self,
        by: &Identity,
        fleet: (FleetUpload, Parent),
    ) -> Result<String, Status>;

    /// What every database of a fleet would get, as JSON.
    async fn plan_fleet(&self, by: &Identity, fleet: FleetUpload) -> Result<String, Status>;

    /// Sees to what an operator wants of a fleet; what he is told.
    async fn order_fleet(
        &self,
        by: &Identity,
        request: FleetOrderRequest,
    ) -> Result<String, Status>;

    /// How a fleet stands.
    async fn fleet_status(&self, fleet: &str, brief: bool) -> Result<FleetStatusResponse, Status>;

    /// What became of its databases, as JSON.
    async fn fleet_report(&self, fleet: &str) -> Result<String, Status>;

    /// The fleets that are known.
    async fn list_fleets(&self) -> Result<ListFleetsResponse, Status>;
}

/// The service.
pub struct OperatorService {
    leader: Entrance<Arc<dyn Leader>>,
    rates: Rates,
    log: Log,
    packs: Arc<Semaphore>,
    plans: Arc<Semaphore>,
    watchers: Arc<Semaphore>,
    max_pack_bytes: u64,
}

impl OperatorService {
    /// For whoever leads.
    #[must_use]
    pub fn new(leader: Entrance<Arc<dyn Leader>>, max_pack_bytes: u64) -> Self {
        Self {
            leader,
            rates: Rates::default(),
            log: Log::default(),
            packs: Arc::new(Semaphore::new(PACKS)),
            plans: Arc::new(Semaphore::new(PLANS)),
            watchers: Arc::new(Semaphore::new(WATCHERS)),
            max_pack_bytes,
        }
    }

    /// Who asks, if he may; and who answers.
    fn admit<T>(
        &self,
        request: &Request<T>,
        role: Role,
    ) -> Result<(Identity, Arc<dyn Leader>), Status> {
        let who = identity(request)?;
        self.rates.count(&who, request)?;
        who.expect(role).inspect_err(|refusal| {
            if self.log.has_room() {
                let from = request.remote_addr();
                tracing::warn!(?from, why = refusal.message(), "a call was refused");
            }
        })?;
        Ok((who, self.leader.enter()?))
    }

    async fn receive_fleet(
        &self,
        parts: &mut Streaming<FleetPart>,
        kept: bool,
    ) -> Result<FleetUpload, Status> {
        let received = fleets::receive(parts, self.max_pack_bytes, kept);
        let received = timeout(PACK_DEADLINE, received).await;
        received.map_err(|_| Status::deadline_exceeded("the pack takes too long"))?
    }

    async fn wish<T>(
        &self,
        request: &Request<T>,
        run: &str,
        wish: Wish,
    ) -> Result<Response<Accepted>, Status> {
        let (who, leader) = self.admit(request, Role::Operator)?;
        if let Wish::Pause { reason: Some(text) } | Wish::Rollback { to: Some(text), .. } = &wish {
            fits(text)?;
        }
        let message = leader.wish(&who, parse(run)?, wish).await?;
        Ok(Response::new(Accepted { message }))
    }
}

impl fmt::Debug for OperatorService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorService").finish_non_exhaustive()
    }
}

pub(super) fn parse(run: &str) -> Result<RunId, Status> {
    run.parse().map_err(|_| {
        let shown = shown(run, 64);
        Status::invalid_argument(format!("\"{shown}\" is not the id of a run"))
    })
}

/// A text that goes into logs, ledgers and onto terminals.
pub(super) fn fits(text: &str) -> Result<(), Status> {
    if text.len() <= TEXT_LENGTH && shown(text, TEXT_LENGTH) == text {
        return Ok(());
    }
    Err(Status::invalid_argument(format!(
        "\"{}\" is longer than {TEXT_LENGTH} bytes, or has control characters",
        shown(text, 64)
    )))
}

/// A connection string may carry a password: it goes no further, so that no log has it.
fn named_database(name: &str) -> Result<(), Status> {
    if name.contains("://") || name.contains('=') {
        return Err(Status::invalid_argument(
            "a database of a cluster is named by its entry [databases.NAME], not by a connection string",
        ));
    }
    fits(name)
}

/// A place among so many, or word that there is none.
fn place(among: &Arc<Semaphore>, what: &str) -> Result<OwnedSemaphorePermit, Status> {
    let place = Arc::clone(among).try_acquire_owned();
    place.map_err(|_| Status::resource_exhausted(format!("too many {what} at once: try later")))
}

/// The operator's program is one that this one understands.
pub(super) fn of_our_version(version: &str) -> Result<(), Status> {
    let ours = env!("CARGO_PKG_VERSION");
    if version == ours {
        return Ok(());
    }
    Err(Status::failed_precondition(format!(
        "the order comes from version {}, the coordinator is {ours}: use the same version",
        shown(version, 32)
    )))
}

/// What is to be done, and the pack.
async fn receive(
    parts: &mut Streaming<SubmitPart>,
    max_pack_bytes: u64,
) -> Result<(SubmitOrder, Upload), Status> {
    let Some(Part::Order(order)) = next_part(parts).await? else {
        return Err(Status::invalid_argument(
            "the first part has to be the order",
        ));
    };
    parse(&order.run)?;
    of_our_version(&order.version)?;
    named_database(&order.database)?;
    if order.options.len() > OPTIONS {
        let message = format!("more than {OPTIONS} options");
        return Err(Status::invalid_argument(message));
    }
    order.options.iter().try_for_each(|option| fits(option))?;
    let mut pack = Upload::begin(max_pack_bytes)?;
    while let Some(part) = next_part(parts).await? {
        match part {
            Part::File(piece) => pack.take(&piece)?,
            Part::Order(_) => return Err(Status::invalid_argument("a second order")),
        }
    }
    Ok((order, pack))
}

/// What a request belongs to.
fn trace_of<T>(request: &Request<T>) -> Parent {
    let trace = request.metadata().get(TRACEPARENT);
    let trace = trace.and_then(|trace| trace.to_str().ok());
    Parent::parse(trace.unwrap_or_default())
}

/// The run that is named, if one is.
fn named(run: &str) -> Result<Option<RunId>, Status> {
    (!run.is_empty()).then(|| parse(run)).transpose()
}

async fn next_part(parts: &mut Streaming<SubmitPart>) -> Result<Option<Part>, Status> {
    let part = timeout(PART_DEADLINE, parts.message()).await;
    let part =
        part.map_err(|_| Status::deadline_exceeded("the next part of the pack is late"))??;
    match part {
        None => Ok(None),
        Some(SubmitPart { part: Some(part) }) => Ok(Some(part)),
        Some(SubmitPart { part: None }) => Err(Status::invalid_argument("an empty part")),
    }
}

#[async_trait]
impl Operator for OperatorService {
    async fn submit(
        &self,
        request: Request<Streaming<SubmitPart>>,
    ) -> Result<Response<SubmitAnswer>, Status> {
        let (who, leader) = self.admit(&request, Role::Operator)?;
        let _place = place(&self.packs, "packs")?;
        let trace = trace_of(&request);
        let mut parts = request.into_inner();
        let received = timeout(PACK_DEADLINE, receive(&mut parts, self.max_pack_bytes)).await;
        let (order, pack) =
            received.map_err(|_| Status::deadline_exceeded("the pack takes too long"))??;
        let answer = leader.submit(&who, order, (pack, trace)).await?;
        Ok(Response::new(answer))
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let (_, leader) = self.admit(&request, Role::Viewer)?;
        let run = named(&request.get_ref().run)?;
        Ok(Response::new(leader.status(run).await?))
    }

    type WatchStream = Events;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Events>, Status> {
        let (_, leader) = self.admit(&request, Role::Viewer)?;
        let run = named(&request.get_ref().run)?;
        let place = place(&self.watchers, "watchers")?;
        let events = leader.watch(run).await?;
        // Held as long as the stream is.
        let events = events.inspect(move |_| {
            let _held = &place;
        });
        Ok(Response::new(Box::pin(events)))
    }

    async fn pause(&self, request: Request<PauseRequest>) -> Result<Response<Accepted>, Status> {
        let PauseRequest { run, reason } = request.get_ref().clone();
        let reason = Some(reason).filter(|reason| !reason.is_empty());
        self.wish(&request, &run, Wish::Pause { reason }).await
    }

    async fn resume(&self, request: Request<ResumeRequest>) -> Result<Response<Accepted>, Status> {
        let run = request.get_ref().run.clone();
        self.wish(&request, &run, Wish::Resume).await
    }

    async fn rollback(
        &self,
        request: Request<RollbackRequest>,
    ) -> Result<Response<Accepted>, Status> {
        let RollbackRequest { run, to, force } = request.get_ref().clone();
        let to = Some(to).filter(|to| !to.is_empty());
        self.wish(&request, &run, Wish::Rollback { to, force })
            .await
    }

    async fn commit(&self, request: Request<CommitRequest>) -> Result<Response<Accepted>, Status> {
        let run = request.get_ref().run.clone();
        self.wish(&request, &run, Wish::Commit).await
    }

    async fn workers(
        &self,
        request: Request<WorkersRequest>,
    ) -> Result<Response<WorkersResponse>, Status> {
        let (_, leader) = self.admit(&request, Role::Viewer)?;
        Ok(Response::new(leader.workers().await?))
    }

    async fn drain(&self, request: Request<DrainRequest>) -> Result<Response<Accepted>, Status> {
        let (who, leader) = self.admit(&request, Role::Operator)?;
        let worker = WorkerId(request.get_ref().worker);
        let message = leader.drain(&who, worker).await?;
        Ok(Response::new(Accepted { message }))
    }

    async fn submit_fleet(
        &self,
        request: Request<Streaming<FleetPart>>,
    ) -> Result<Response<Accepted>, Status> {
        let (who, leader) = self.admit(&request, Role::Operator)?;
        let _place = place(&self.packs, "packs")?;
        let trace = trace_of(&request);
        let mut parts = request.into_inner();
        let fleet = self.receive_fleet(&mut parts, true).await?;
        let message = leader.submit_fleet(&who, (fleet, trace)).await?;
        Ok(Response::new(Accepted { message }))
    }

    /// It has the coordinator ask databases what the order says, so it is not for whoever only looks.
    async fn plan_fleet(
        &self,
        request: Request<Streaming<FleetPart>>,
    ) -> Result<Response<FleetPlanResponse>, Status> {
        let (who, leader) = self.admit(&request, Role::Operator)?;
        let _planned = place(&self.plans, "plans of fleets")?;
        let _place = place(&self.packs, "packs")?;
        let mut parts = request.into_inner();
        let fleet = self.receive_fleet(&mut parts, false).await?;
        let json = leader.plan_fleet(&who, fleet).await?;
        Ok(Response::new(FleetPlanResponse { json }))
    }

    async fn order_fleet(
        &self,
        request: Request<FleetOrderRequest>,
    ) -> Result<Response<Accepted>, Status> {
        let (who, leader) = self.admit(&request, Role::Operator)?;
        let request = request.into_inner();
        fleets::bounded(&request)?;
        let message = leader.order_fleet(&who, request).await?;
        Ok(Response::new(Accepted { message }))
    }

    async fn fleet_status(
        &self,
        request: Request<FleetStatusRequest>,
    ) -> Result<Response<FleetStatusResponse>, Status> {
        let (_, leader) = self.admit(&request, Role::Viewer)?;
        let FleetStatusRequest { fleet, brief } = request.into_inner();
        fits(&fleet)?;
        Ok(Response::new(leader.fleet_status(&fleet, brief).await?))
    }

    async fn fleet_report(
        &self,
        request: Request<FleetReportRequest>,
    ) -> Result<Response<FleetReportResponse>, Status> {
        let (_, leader) = self.admit(&request, Role::Viewer)?;
        let FleetReportRequest { fleet } = request.into_inner();
        fits(&fleet)?;
        let json = leader.fleet_report(&fleet).await?;
        Ok(Response::new(FleetReportResponse { json }))
    }

    async fn list_fleets(
        &self,
        request: Request<ListFleetsRequest>,
    ) -> Result<Response<ListFleetsResponse>, Status> {
        let (_, leader) = self.admit(&request, Role::Viewer)?;
        Ok(Response::new(leader.list_fleets().await?))
    }
}
