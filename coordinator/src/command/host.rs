//! Where a command's runs are driven: in a process of their own, with its workers, or by the coordinator
//! of a cluster, among others.

use std::{collections::BTreeMap, sync::Arc};

use upshift_shared::{
    Result,
    config::{Config, Environment},
    ledger::control::{Change, Pause},
    pg::Target,
    telemetry::trace::Parent,
};

use crate::{
    coordination::{Coordination, Embedded, OfCluster},
    driver::{Ended, Order, Place, hub::Hub, process},
    engine::ServerId,
};

/// Units of a run at once in a cluster, where nobody says how many.
pub(crate) const CLUSTER_UNITS: u32 = 8;

/// Where runs are driven.
#[derive(Debug, Clone, Default)]
pub(crate) enum Host {
    /// In this process alone.
    #[default]
    Process,
    /// By the coordinator of a cluster.
    Cluster(Box<ClusterHost>),
}

/// The coordinator of a cluster that this process is.
#[derive(Debug, Clone)]
pub(crate) struct ClusterHost {
    pub(crate) hub: Hub,
    pub(crate) coordination: Arc<dyn Coordination>,
    /// The numbers of servers that have limits, by `host:port`.
    pub(crate) servers: Arc<BTreeMap<String, (ServerId, u32)>>,
    /// Whether another coordinator has driven the run before: what was wanted of it then holds.
    pub(crate) takes_over: bool,
    /// Units of a run at once, where nobody says how many.
    pub(crate) units: u32,
    /// What the run's spans belong to.
    pub(crate) trace: Parent,
}

impl Host {
    /// What locks the database of that name.
    pub(super) fn coordination(&self, name: &str, target: &Target) -> Arc<dyn Coordination> {
        let targets = BTreeMap::from([(name.to_owned(), target.clone())]);
        let embedded = Embedded::new(targets, Some(target.clone()));
        match self {
            Self::Process => Arc::new(embedded),
            Self::Cluster(cluster) => {
                Arc::new(OfCluster::new(Arc::clone(&cluster.coordination), embedded))
            }
        }
    }

    /// Units of a run at once, where its operator does not say.
    pub(super) fn units(&self, name: &str, config: &Config) -> Option<u32> {
        match self {
            Self::Process => config.run.workers,
            Self::Cluster(cluster) => {
                let place = config.place(name).and_then(|place| place.max_units);
                Some(place.or(config.run.workers).unwrap_or(cluster.units))
            }
        }
    }

    /// Whether it is driven by the command's own process.
    pub(super) fn is_process(&self) -> bool {
        matches!(self, Self::Process)
    }

    /// Sessions in which a run is committed. A coordinator does that itself, beside all limits of units.
    pub(super) fn commit_sessions(&self, workers: u32) -> u32 {
        match self {
            Self::Process => workers,
            Self::Cluster(_) => 1,
        }
    }

    /// What whoever drives a run wants of it beside `change`: a command wants it to go on; a coordinator
    /// was told separately, and what was wanted of a run that another one has driven holds.
    pub(super) fn wanted(&self, change: Change) -> Option<Change> {
        match self {
            Self::Process => Some(Change {
                paused: Some(Pause::End),
                ..change
            }),
            Self::Cluster(cluster) => (!cluster.takes_over).then_some(change),
        }
    }

    /// Where a run on that database is among the others.
    pub(super) fn place(&self, name: &str, target: &Target, config: &Config) -> Place {
        let Self::Cluster(cluster) = self else {
            return Place::default();
        };
        let limited = cluster.servers.get(&target.server());
        Place {
            server: limited.map(|(id, _)| *id),
            wants: config
                .place(name)
                .map(|place| place.labels.clone())
                .unwrap_or_default(),
            close_connections: limited.is_some(),
        }
    }

    /// What the spans of its runs belong to.
    pub(super) fn trace(&self) -> Parent {
        match self {
            Self::Process => Parent::of_environment(&Environment::capture()),
            Self::Cluster(cluster) => cluster.trace.clone(),
        }
    }

    /// Drives a run to its end, or to where it has to stop.
    pub(super) async fn drive(
        &self,
        order: Order,
        last_words: impl FnOnce(&Ended) -> String + Send + 'static,
    ) -> Result<Ended> {
        match self {
            Self::Process => process::drive(order, last_words).await,
            Self::Cluster(cluster) => cluster.hub.drive(order, last_words).await?.release().await,
        }
    }
}
