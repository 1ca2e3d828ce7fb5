//! What several processes must agree on: who leads, who may touch a database, which workers there
//! are, what was decided, which runs and fleets exist. One trait, two backends (`embedded` here; `etcd` for
//! clusters), one test suite ([`suite`]) for both.
//!
//! The ledger, not coordination, says what is done: traffic here grows with workers and runs, never
//! with units.

mod background;
mod embedded;
mod etcd;
mod fleets;
mod of_cluster;
pub mod suite;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use upshift_shared::{Result, ids::RunId};

pub use embedded::{DATABASE_LOCK, Embedded, database_lock_holder};
pub use etcd::{Etcd, EtcdOptions, EtcdTls};
pub use fleets::{
    CarriedOrder, ENTRY_BYTES, FleetEntry, FleetFailure, GivenOrder, PART_BYTES, TakenOrder,
};
pub use of_cluster::OfCluster;

/// A process that takes part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// For people: host name and process id.
    pub name: String,
    /// Where it can be reached; empty for one that only calls others.
    pub address: String,
}

/// A run, as the index of runs knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEntry {
    /// The run.
    pub run: RunId,
    /// Its database, by the name that configuration knows it by.
    pub database: String,
    /// Its state, in the ledger's words.
    pub state: String,
    /// What the leader is to do with it; `None` for nothing. Whoever leads next does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<RunOrder>,
    /// How often something was ordered: the same order again, while the last one is just ending, is another.
    #[serde(default)]
    pub orders: u32,
    /// Options of `upshift run` that it was submitted with, which hold whenever it goes on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Whether nothing can be ordered any more: it is committed, or taken back to the start.
    #[serde(default)]
    pub closed: bool,
    /// Why it waits, or what it failed for; empty for neither. Without values of users' rows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The trace that the run belongs to (W3C Trace Context), which whoever leads next goes on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// What the leader is to do with a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum RunOrder {
    /// Drive it to `prepared`.
    Forward {
        /// And commit it then.
        commit: bool,
        /// As its operator has typed them.
        #[serde(default)]
        options: Vec<String>,
    },
    /// Take it back.
    Back {
        /// To this checkpoint; `None` for the start.
        to: Option<String>,
        /// Whatever is lost by it.
        force: bool,
    },
    /// Close its way back.
    Commit,
}

/// What can be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// Who leads.
    Leader,
    /// Which workers there are.
    Workers,
    /// Decisions.
    Decisions,
    /// The index of runs.
    Runs,
}

/// The answer to a request for a database's lock.
pub enum Locked {
    /// It is held now.
    Granted(Box<dyn Held>),
    /// Somebody else holds it.
    Taken {
        /// Who, for people.
        by: String,
    },
}

/// Something that is held until it is released, dropped, or lost.
#[async_trait]
pub trait Held: Send + Sync {
    /// Returns when it is no longer held, with why. Until then the holder may act on it.
    async fn lost(&self) -> String;

    /// Gives it back. Dropping it does the same, later.
    async fn release(self: Box<Self>);
}

/// What several processes must agree on.
#[async_trait]
pub trait Coordination: Send + Sync + std::fmt::Debug {
    /// Waits until this process leads. At most one leads at any time.
    async fn campaign(&self, member: &Member) -> Result<Box<dyn Held>>;

    /// Who leads, if anybody.
    async fn leader(&self) -> Result<Option<Member>>;

    /// Takes the lock of a database, by the name that configuration knows it by. Nobody else that
    /// uses this trait holds it at the same time.
    async fn lock_database(&self, database: &str, holder: &Member) -> Result<Locked>;

    /// Adds a worker, for as long as what is returned is held.
    async fn register_worker(&self, worker: &Member) -> Result<Box<dyn Held>>;

    /// The workers that are registered.
    async fn workers(&self) -> Result<Vec<Member>>;

    /// Decides a question once and for ever: whoever comes first. Returns the decision that stands,
    /// durable by then.
    async fn decide(&self, question: &str, answer: &str) -> Result<String>;

    /// What was decided, if anything.
    async fn decision(&self, question: &str) -> Result<Option<String>>;

    /// Writes a run into the index, or its new state.
    async fn put_run(&self, entry: &RunEntry) -> Result<()>;

    /// Takes a run out of the index.
    async fn forget_run(&self, run: RunId) -> Result<()>;

    /// The index of runs, by their start.
    async fn runs(&self) -> Result<Vec<RunEntry>>;

    /// Writes a fleet, or what has become of it. Each must be read whole: see [`FleetEntry::fits`].
    async fn put_fleet(&self, entry: &FleetEntry) -> Result<()>;

    /// Takes a fleet out.
    async fn forget_fleet(&self, fleet: &str) -> Result<()>;

    /// The fleets, by their names.
    async fn fleets(&self) -> Result<Vec<FleetEntry>>;

    /// Writes a part, of [`PART_BYTES`] at most, of what was submitted; parts are numbered from 0.
    async fn put_submission(&self, submission: RunId, part: u32, bytes: &[u8]) -> Result<()>;

    /// What was submitted: its parts, in order, that many.
    async fn submission(&self, submission: RunId) -> Result<Vec<Vec<u8>>>;

    /// Which submissions there are parts of.
    async fn submissions(&self) -> Result<Vec<RunId>>;

    /// Takes out all parts of a submission.
    async fn forget_submission(&self, submission: RunId) -> Result<()>;

    /// Tells of changes from now on: at least one message after each change of the topic; several
    /// changes may become one. The reader then asks for what is.
    async fn watch(&self, topic: Topic) -> Result<mpsc::Receiver<()>>;
}
