//! `upshift coordinator`: one process of a cluster that leads, or waits until it does. Whoever leads
//! drives all runs of the cluster; the others tell those who come where it is.
//!
//! Order of shutdown: nobody is let in any more, units in flight end, what drives the runs ends, their
//! locks are given back, the lead is given back: then another one goes on.

mod audit;
mod conducting;
mod fleets;
mod granting;
mod index;
mod leader;
mod submitting;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use clap::Args;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use upshift_shared::{
    Error, Result,
    config::{ClusterSettings, Config, Environment},
};

use super::{
    Failure,
    scrape::{self, Figures},
    signals,
};
use crate::{
    coordination::{Coordination, Etcd, EtcdOptions, Held, Member, Topic},
    driver::{hub::Hub, process::member},
    engine::Load,
    metrics::Metrics,
    server::{Door, Entrance, Leader, Listener, OperatorService, SessionEvent, SessionService},
};
use leader::Leading;

/// How long units in flight may take when another coordinator is to go on.
const HAND_OVER: Duration = Duration::from_secs(30);
/// How long the server may take to end.
const DISMISSAL: Duration = Duration::from_secs(10);
/// Between attempts to lead while etcd is away.
const CAMPAIGN_AGAIN: Duration = Duration::from_secs(1);

/// `upshift coordinator`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where metrics are served, over plain HTTP [default: metrics of [cluster], else nowhere]
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> Result<(), Failure> {
    let environment = Environment::capture();
    let mut loaded = Config::load(config, &environment)?;
    loaded.cluster.metrics = arguments.metrics.or(loaded.cluster.metrics);
    let cluster = loaded.cluster.clone();
    let Some(etcd) = EtcdOptions::of(&cluster, &environment)? else {
        return Err(Failure::usage(
            "[cluster] etcd is missing: coordinators of a cluster agree there on who leads",
        ));
    };
    let stop = CancellationToken::new();
    let mut background = JoinSet::new();
    signals::cancel_on_signal(&mut background, stop.clone())?;
    let listener = Listener::bind(&cluster).await?;
    let address = listener.address()?;
    let metrics = Arc::new(Metrics::default());
    let doors = Doors::default();
    let process = Process {
        config: config.map(Path::to_owned),
        settings: loaded,
        member: Member {
            address: advertised(&cluster, address.to_string()),
            ..member()
        },
        metrics,
        doors,
    };
    println!(
        "coordinator {} listens on {address}, as {}",
        process.member.name, process.member.address
    );
    let served = Served::begin(listener, &process, &mut background).await?;
    let done = process.take_part(&etcd, &stop).await;
    served.end().await;
    background.abort_all();
    Ok(done?)
}

/// By what URL others reach it, where that is not said.
fn advertised(cluster: &ClusterSettings, address: String) -> String {
    let scheme = if cluster.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let said = cluster.advertise.clone();
    said.unwrap_or_else(|| format!("{scheme}://{address}"))
}

/// Who is let in, and to whom.
struct Doors {
    sessions: watch::Sender<Door<mpsc::Sender<SessionEvent>>>,
    operators: watch::Sender<Door<Arc<dyn Leader>>>,
}

impl Default for Doors {
    fn default() -> Self {
        Self {
            sessions: watch::Sender::new(Door::Closed { leader: None }),
            operators: watch::Sender::new(Door::Closed { leader: None }),
        }
    }
}

impl Doors {
    fn close(&self, leader: Option<&str>) {
        let leader = leader.map(str::to_owned);
        let closed = leader.clone();
        self.sessions.send_replace(Door::Closed { leader });
        self.operators.send_replace(Door::Closed { leader: closed });
    }

    fn open(&self, hub: &Hub, leader: Arc<dyn Leader>) {
        self.sessions.send_replace(Door::Open(hub.sessions()));
        self.operators.send_replace(Door::Open(leader));
    }
}

/// What a coordinator counts, with how much there is to do where it leads.
struct OfCoordinator {
    metrics: Arc<Metrics>,
    leader: Entrance<Arc<dyn Leader>>,
}

#[async_trait]
impl Figures for OfCoordinator {
    async fn text(&self) -> String {
        let of_leader = match self.leader.enter() {
            Ok(leader) => leader.figures().await.ok(),
            Err(_) => None,
        };
        of_leader.unwrap_or_else(|| self.metrics.text(Load::default(), 0))
    }
}

/// The listener at work.
struct Served {
    stop: CancellationToken,
    serving: JoinSet<Result<()>>,
    readers: TaskTracker,
}

impl Served {
    async fn begin(
        listener: Listener,
        process: &Process,
        background: &mut JoinSet<()>,
    ) -> Result<Self> {
        let cluster = &process.settings.cluster;
        let readers = TaskTracker::new();
        let sessions = Entrance::new(process.doors.sessions.subscribe());
        let operators = Entrance::new(process.doors.operators.subscribe());
        let session = SessionService::guarded(sessions, readers.clone());
        let operator = OperatorService::new(operators.clone(), cluster.max_pack_bytes);
        let stop = CancellationToken::new();
        let mut serving = JoinSet::new();
        serving.spawn(listener.serve(session, operator, stop.clone()));
        let figures = OfCoordinator {
            metrics: Arc::clone(&process.metrics),
            leader: operators,
        };
        let address = (cluster.metrics, cluster.insecure);
        scrape::serve(address, Arc::new(figures), background).await?;
        Ok(Self {
            stop,
            serving,
            readers,
        })
    }

    async fn end(mut self) {
        self.stop.cancel();
        self.readers.close();
        let ended = async { while self.serving.join_next().await.is_some() {} };
        // Whoever still watches is cut off.
        let _late = timeout(DISMISSAL, ended).await;
    }
}

/// This process, as long as it takes part.
struct Process {
    config: Option<PathBuf>,
    settings: Config,
    member: Member,
    metrics: Arc<Metrics>,
    doors: Doors,
}

impl Process {
    /// Leads whenever it can, until `stop`.
    async fn take_part(&self, options: &EtcdOptions, stop: &CancellationToken) -> Result<()> {
        let Some(etcd) = signals::unless(stop, Etcd::connect_in_time(options)).await? else {
            return Ok(());
        };
        while !stop.is_cancelled() {
            // A client for each time: what it writes as leader is bound to that lead.
            let client = etcd.clone();
            match self.wait_to_lead(&client, stop).await {
                Ok(Some(lead)) => self.lead(client, lead, stop).await,
                Ok(None) => {}
                Err(error @ Error::Format(_)) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "etcd does not answer");
                    self.doors.close(None);
                    signals::pause(stop, CAMPAIGN_AGAIN).await;
                }
            }
        }
        Ok(())
    }

    /// Stands by until it leads; meanwhile it says who does.
    async fn wait_to_lead(
        &self,
        etcd: &Etcd,
        stop: &CancellationToken,
    ) -> Result<Option<Box<dyn Held>>> {
        let mut changes = etcd.watch(Topic::Leader).await?;
        let mut campaign = Box::pin(etcd.campaign(&self.member));
        loop {
            let leader = etcd.leader().await?;
            self.doors
                .close(leader.as_ref().map(|leader| leader.address.as_str()));
            tokio::select! {
                lead = &mut campaign => return lead.map(Some),
                Some(()) = changes.recv() => {}
                () = stop.cancelled() => return Ok(None),
            }
        }
    }

    /// Lets everybody in once it has gone on with what earlier leaders were at; returns where it cannot.
    async fn serve(&self, hub: &Hub, leading: &Arc<Leading>, stop: &CancellationToken) {
        if let Err(error) = leading.begin().await {
            tracing::error!(%error, "the index of runs cannot be read");
            // Another one may be able to.
            return signals::pause(stop, CAMPAIGN_AGAIN).await;
        }
        self.doors.open(hub, Arc::new(Arc::clone(leading)));
        std::future::pending().await
    }

    /// Leads until it is told to stop, or has lost the lead.
    async fn lead(&self, etcd: Etcd, lead: Box<dyn Held>, stop: &CancellationToken) {
        tracing::info!(name = self.member.name, "leads");
        println!("{} leads", self.member.name);
        self.metrics.leads(true);
        let (hub, driver) = Hub::new(Arc::clone(&self.metrics));
        let stop_driver = CancellationToken::new();
        let mut driving = JoinSet::new();
        driving.spawn(driver.run(stop_driver.clone()));
        let coordination: Arc<dyn Coordination> = Arc::new(etcd);
        let leading = Leading::new(
            (self.config.clone(), &self.settings),
            (hub.clone(), Arc::clone(&coordination)),
            (self.member.clone(), Arc::clone(&self.metrics)),
        );
        let kept = tokio::select! {
            () = self.serve(&hub, &leading, stop) => true,
            () = stop.cancelled() => true,
            Some(ended) = driving.join_next() => {
                tracing::error!(?ended, "a defect in the driver: another coordinator is to lead");
                true
            }
            why = lead.lost() => {
                println!("{} no longer leads: {why}", self.member.name);
                false
            }
        };
        self.doors.close(None);
        self.metrics.leads(false);
        leading.leave();
        if kept {
            // Whoever cannot be told has ended already.
            let _ended = hub.hand_over().await;
            if timeout(HAND_OVER, leading.left()).await.is_err() {
                tracing::warn!("some runs have units that do not end: they are left to others");
            }
        }
        stop_driver.cancel();
        leading.abort().await;
        while driving.join_next().await.is_some() {}
        if kept {
            lead.release().await;
        }
    }
}
