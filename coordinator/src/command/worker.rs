//! `upshift worker`: runs units for the coordinator of a cluster, until it is told to stop.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use clap::Args;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use upshift_shared::{
    Result,
    clock::Stopwatch,
    config::{Config, Environment},
    pg::Target,
};
use upshift_worker::{
    link::Link,
    metrics::Metrics,
    service::{FindCoordinators, Service},
    session::{Offer, ResolveDatabase},
};

use super::{
    Failure,
    scrape::{self, Figures},
    signals,
};
use crate::{
    coordination::{Coordination, Etcd, EtcdOptions},
    driver::process::member,
};

/// How long an answer of the configuration is used: a password may have been changed.
const KNOWN_FOR: Duration = Duration::from_secs(60);

/// Between attempts to be known to etcd.
const REGISTER_AGAIN: Duration = Duration::from_secs(5);

/// `upshift worker`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Units that it runs at once [default: as many as processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: Option<u32>,
    /// Where it is, such as region=eu or server=db1; databases whose labels contradict are left to others
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// URL of a coordinator; may be given several times [default: coordinators of [cluster], else etcd is
    /// asked]
    #[arg(long = "coordinator", value_name = "URL")]
    coordinators: Vec<String>,
    /// Where metrics are served, over plain HTTP [default: metrics of [cluster], else nowhere]
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> Result<(), Failure> {
    let environment = Environment::capture();
    let loaded = Config::load(config, &environment)?;
    let cluster = &loaded.cluster;
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    let mut urls = arguments.coordinators;
    if urls.is_empty() {
        urls.clone_from(&cluster.coordinators);
    }
    let shutdown = CancellationToken::new();
    let mut background = tokio::task::JoinSet::new();
    signals::cancel_on_signal(&mut background, shutdown.clone())?;
    let options = EtcdOptions::of(cluster, &environment)?;
    let finder: Arc<dyn FindCoordinators> = match (&options, urls.is_empty()) {
        (_, false) => Arc::new(urls),
        (Some(options), true) => {
            let etcd = signals::unless(&shutdown, Etcd::connect_in_time(options)).await?;
            let Some(etcd) = etcd else {
                return Ok(());
            };
            Arc::new(LeaderInEtcd(etcd))
        }
        (None, true) => {
            return Err(Failure::usage(
                "where is the coordinator? say --coordinator URL, or coordinators or etcd of [cluster]",
            ));
        }
    };
    if let Some(options) = options {
        background.spawn(stay_registered(options));
    }
    let metrics = Arc::new(Metrics::default());
    let figures: Arc<dyn Figures> = Arc::clone(&metrics) as _;
    let address = arguments.metrics.or(cluster.metrics);
    scrape::serve((address, cluster.insecure), figures, &mut background).await?;
    let service = Service {
        finder,
        link: Link::new(cluster, &environment)?,
        offer: Offer {
            slots: arguments.slots.unwrap_or(processors),
            labels: arguments.labels.into_iter().collect::<BTreeMap<_, _>>(),
        },
        resolver: Arc::new(Resolver::new(config)),
        metrics,
    };
    let done = service.run(shutdown).await;
    background.abort_all();
    Ok(done?)
}

/// For those who ask etcd which workers there are: it works without, too.
async fn stay_registered(options: EtcdOptions) {
    loop {
        let registered = async {
            let etcd = Box::pin(Etcd::connect_in_time(&options)).await?;
            etcd.register_worker(&member()).await
        };
        match registered.await {
            Ok(registered) => {
                let why = registered.lost().await;
                tracing::info!(why, "etcd no longer knows this worker: it is told anew");
            }
            Err(error) => tracing::warn!(%error, "etcd is not told of this worker"),
        }
        sleep(REGISTER_AGAIN).await;
    }
}

/// Asks etcd who leads.
struct LeaderInEtcd(Etcd);

#[async_trait]
impl FindCoordinators for LeaderInEtcd {
    async fn find(&self) -> Result<Vec<String>> {
        let leader = self.0.leader().await?;
        Ok(leader.map(|member| member.address).into_iter().collect())
    }
}

/// Databases by the names of this machine's configuration, which is read again when it may have changed.
struct Resolver {
    config: Option<PathBuf>,
    known: Mutex<HashMap<String, (Stopwatch, Target)>>,
}

impl Resolver {
    fn new(config: Option<&Path>) -> Self {
        Self {
            config: config.map(Path::to_owned),
            known: Mutex::default(),
        }
    }
}

impl ResolveDatabase for Resolver {
    fn resolve(&self, name: &str) -> Result<Target> {
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, target)) = lock().get(name)
            && since.elapsed() < KNOWN_FOR
        {
            return Ok(target.clone());
        }
        let environment = Environment::capture();
        let config = Config::load(self.config.as_deref(), &environment)?;
        let target = config.named(name, &environment)?.connection.target();
        let mut known = lock();
        known.retain(|_, (since, _)| since.elapsed() < KNOWN_FOR);
        known.insert(name.to_owned(), (Stopwatch::start(), target.clone()));
        Ok(target)
    }
}
