//! Coordination of a cluster, with a database's lock taken in the database too: somebody who runs a command
//! on it by himself, and knows nothing of the cluster, has to meet it.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;
use upshift_shared::{Result, ids::RunId};

use super::{Coordination, Embedded, FleetEntry, Held, Locked, Member, RunEntry, Topic};

/// What a cluster agrees on, and the lock of one database.
#[derive(Debug)]
pub struct OfCluster {
    cluster: Arc<dyn Coordination>,
    database: Embedded,
}

impl OfCluster {
    /// `database` has to know the databases that are locked.
    #[must_use]
    pub fn new(cluster: Arc<dyn Coordination>, database: Embedded) -> Self {
        Self { cluster, database }
    }
}

/// Both locks.
struct Both {
    of_cluster: Box<dyn Held>,
    of_database: Box<dyn Held>,
}

#[async_trait]
impl Held for Both {
    async fn lost(&self) -> String {
        tokio::select! {
            why = self.of_cluster.lost() => format!("in the cluster: {why}"),
            why = self.of_database.lost() => why,
        }
    }

    async fn release(self: Box<Self>) {
        self.of_database.release().await;
        self.of_cluster.release().await;
    }
}

#[async_trait]
impl Coordination for OfCluster {
    async fn campaign(&self, member: &Member) -> Result<Box<dyn Held>> {
        self.cluster.campaign(member).await
    }

    async fn leader(&self) -> Result<Option<Member>> {
        self.cluster.leader().await
    }

    async fn lock_database(&self, database: &str, holder: &Member) -> Result<Locked> {
        let of_cluster = match self.cluster.lock_database(database, holder).await? {
            Locked::Granted(held) => held,
            taken @ Locked::Taken { .. } => return Ok(taken),
        };
        match self.database.lock_database(database, holder).await {
            Ok(Locked::Granted(of_database)) => Ok(Locked::Granted(Box::new(Both {
                of_cluster,
                of_database,
            }))),
            Ok(taken @ Locked::Taken { .. }) => {
                of_cluster.release().await;
                Ok(taken)
            }
            Err(error) => {
                of_cluster.release().await;
                Err(error)
            }
        }
    }

    async fn register_worker(&self, worker: &Member) -> Result<Box<dyn Held>> {
        self.cluster.register_worker(worker).await
    }

    async fn workers(&self) -> Result<Vec<Member>> {
        self.cluster.workers().await
    }

    async fn decide(&self, question: &str, answer: &str) -> Result<String> {
        self.cluster.decide(question, answer).await
    }

    async fn decision(&self, question: &str) -> Result<Option<String>> {
        self.cluster.decision(question).await
    }

    async fn put_run(&self, entry: &RunEntry) -> Result<()> {
        self.cluster.put_run(entry).await
    }

    async fn forget_run(&self, run: RunId) -> Result<()> {
        self.cluster.forget_run(run).await
    }

    async fn runs(&self) -> Result<Vec<RunEntry>> {
        self.cluster.runs().await
    }

    async fn put_fleet(&self, entry: &FleetEntry) -> Result<()> {
        self.cluster.put_fleet(entry).await
    }

    async fn forget_fleet(&self, fleet: &str) -> Result<()> {
        self.cluster.forget_fleet(fleet).await
    }

    async fn fleets(&self) -> Result<Vec<FleetEntry>> {
        self.cluster.fleets().await
    }

    async fn put_submission(&self, submission: RunId, part: u32, bytes: &[u8]) -> Result<()> {
        self.cluster.put_submission(submission, part, bytes).await
    }

    async fn submission(&self, submission: RunId) -> Result<Vec<Vec<u8>>> {
        self.cluster.submission(submission).await
    }

    async fn submissions(&self) -> Result<Vec<RunId>> {
        self.cluster.submissions().await
    }

    async fn forget_submission(&self, submission: RunId) -> Result<()> {
        self.cluster.forget_submission(submission).await
    }

    async fn watch(&self, topic: Topic) -> Result<mpsc::Receiver<()>> {
        self.cluster.watch(topic).await
    }
}
