//! Coordination within one process. The database's lock is also taken in the database itself, as a
//! session advisory lock on a connection of its own, so that two processes cannot meet there.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use sqlx::{Connection, Row};
use tokio::sync::{mpsc, watch};
use upshift_shared::{
    Error, Result,
    ids::RunId,
    pg::{self, PgConnection, Target},
};

use super::{Coordination, FleetEntry, Held, Locked, Member, RunEntry, Topic, background};

/// The two keys of the advisory lock. Advisory locks are per database, so these are the same
/// everywhere.
pub const DATABASE_LOCK: (i32, i32) = (0x5550_5348, 1);

/// A process that was just killed still holds the lock until its server notices.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
/// How often the connection that holds a database's lock is asked whether it lives.
const PING_EVERY: Duration = Duration::from_secs(2);
/// An answer later than this is none.
const PING_DEADLINE: Duration = Duration::from_secs(10);

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").finish_non_exhaustive()
    }
}

/// Coordination within one process. Clones share everything.
#[derive(Clone, Default)]
pub struct Embedded {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Databases by the name that configuration knows them by. One that is not listed is locked
    /// within this process only.
    targets: BTreeMap<String, Target>,
    /// Where decisions are durable: the ledger of this database. Without it they last as long as the
    /// process.
    home: Option<Target>,
    changes: Changes,
}

#[derive(Default)]
struct State {
    leader: Option<Member>,
    locks: HashSet<String>,
    workers: BTreeMap<u64, Member>,
    next_worker: u64,
    decisions: BTreeMap<String, String>,
    runs: BTreeMap<RunId, RunEntry>,
    fleets: BTreeMap<String, FleetEntry>,
    submissions: BTreeMap<RunId, BTreeMap<u32, Vec<u8>>>,
}

/// One counter a topic; whoever waits for a change waits for it to rise.
struct Changes([watch::Sender<u64>; 4]);

impl Default for Changes {
    fn default() -> Self {
        Self([(); 4].map(|()| watch::Sender::new(0)))
    }
}

impl Changes {
    fn of(&self, topic: Topic) -> &watch::Sender<u64> {
        &self.0[topic as usize]
    }

    fn tell(&self, topic: Topic) {
        self.of(topic).send_modify(|revision| *revision += 1);
    }
}

impl Embedded {
    /// For these databases; decisions are kept in the ledger of `home`.
    #[must_use]
    pub fn new(targets: BTreeMap<String, Target>, home: Option<Target>) -> Self {
        Self {
            shared: Arc::new(Shared {
                targets,
                home,
                ..Shared::default()
            }),
        }
    }
}

impl Shared {
    /// A panic elsewhere cannot leave the state half changed: every change is one assignment.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a closure when dropped: what is held in this process.
struct Release<F: FnMut() + Send + Sync>(F);

impl<F: FnMut() + Send + Sync> Drop for Release<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[async_trait]
impl<F: FnMut() + Send + Sync> Held for Release<F> {
    async fn lost(&self) -> String {
        // The process would have to be gone.
        std::future::pending().await
    }

    async fn release(self: Box<Self>) {}
}

/// A database's lock: in this process, and in the database.
struct DatabaseLock {
    connection: tokio::sync::Mutex<PgConnection>,
    _local: Box<dyn Held>,
}

#[async_trait]
impl Held for DatabaseLock {
    async fn lost(&self) -> String {
        loop {
            tokio::time::sleep(PING_EVERY).await;
            let mut connection = self.connection.lock().await;
            match tokio::time::timeout(PING_DEADLINE, connection.ping()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.to_string(),
                Err(_) => return "the server does not answer".to_owned(),
            }
        }
    }

    async fn release(self: Box<Self>) {
        // The server gives the lock back when the session ends; an error means that it has ended.
        let _ended = self.connection.into_inner().close().await;
    }
}

#[async_trait]
impl Coordination for Embedded {
    async fn campaign(&self, member: &Member) -> Result<Box<dyn Held>> {
        let mut changes = self.shared.changes.of(Topic::Leader).subscribe();
        loop {
            changes.borrow_and_update();
            {
                let mut state = self.shared.state();
                if state.leader.is_none() {
                    state.leader = Some(member.clone());
                    break;
                }
            }
            // The sender lives as long as `self`.
            let _never = changes.changed().await;
        }
        self.shared.changes.tell(Topic::Leader);
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(Release(move || {
            shared.state().leader = None;
            shared.changes.tell(Topic::Leader);
        })))
    }

    async fn leader(&self) -> Result<Option<Member>> {
        Ok(self.shared.state().leader.clone())
    }

    async fn lock_database(&self, database: &str, _holder: &Member) -> Result<Locked> {
        let name = database.to_owned();
        if !self.shared.state().locks.insert(name.clone()) {
            let by = "another run of this process".to_owned();
            return Ok(Locked::Taken { by });
        }
        let shared = Arc::clone(&self.shared);
        let local: Box<dyn Held> = Box::new(Release(move || {
            shared.state().locks.remove(&name);
        }));
        match self.shared.targets.get(database) {
            None => Ok(Locked::Granted(local)),
            Some(target) => lock_in_database(target, local).await,
        }
    }

    async fn register_worker(&self, worker: &Member) -> Result<Box<dyn Held>> {
        let number = {
            let mut state = self.shared.state();
            state.next_worker += 1;
            let number = state.next_worker;
            state.workers.insert(number, worker.clone());
            number
        };
        self.shared.changes.tell(Topic::Workers);
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(Release(move || {
            shared.state().workers.remove(&number);
            shared.changes.tell(Topic::Workers);
        })))
    }

    async fn workers(&self) -> Result<Vec<Member>> {
        Ok(self.shared.state().workers.values().cloned().collect())
    }

    async fn decide(&self, question: &str, answer: &str) -> Result<String> {
        let stands = match &self.shared.home {
            Some(home) => decide_in_ledger(home, question, answer).await?,
            None => {
                let mut state = self.shared.state();
                let entry = state.decisions.entry(question.to_owned());
                entry.or_insert_with(|| answer.to_owned()).clone()
            }
        };
        self.shared.changes.tell(Topic::Decisions);
        Ok(stands)
    }

    async fn decision(&self, question: &str) -> Result<Option<String>> {
        match &self.shared.home {
            Some(home) => {
                let mut connection = pg::connect(home, "upshift decisions").await?;
                read_decision(&mut connection, question).await
            }
            None => Ok(self.shared.state().decisions.get(question).cloned()),
        }
    }

    async fn put_run(&self, entry: &RunEntry) -> Result<()> {
        self.shared.state().runs.insert(entry.run, entry.clone());
        self.shared.changes.tell(Topic::Runs);
        Ok(())
    }

    async fn forget_run(&self, run: RunId) -> Result<()> {
        self.shared.state().runs.remove(&run);
        self.shared.changes.tell(Topic::Runs);
        Ok(())
    }

    async fn runs(&self) -> Result<Vec<RunEntry>> {
        Ok(self.shared.state().runs.values().cloned().collect())
    }

    async fn put_fleet(&self, entry: &FleetEntry) -> Result<()> {
        entry.fits()?;
        let mut state = self.shared.state();
        state.fleets.insert(entry.fleet.clone(), entry.clone());
        Ok(())
    }

    async fn forget_fleet(&self, fleet: &str) -> Result<()> {
        self.shared.state().fleets.remove(fleet);
        Ok(())
    }

    async fn fleets(&self) -> Result<Vec<FleetEntry>> {
        Ok(self.shared.state().fleets.values().cloned().collect())
    }

    async fn put_submission(&self, submission: RunId, part: u32, bytes: &[u8]) -> Result<()> {
        let mut state = self.shared.state();
        let parts = state.submissions.entry(submission).or_default();
        parts.insert(part, bytes.to_vec());
        Ok(())
    }

    async fn submission(&self, submission: RunId) -> Result<Vec<Vec<u8>>> {
        let state = self.shared.state();
        let parts = state.submissions.get(&submission);
        Ok(parts.map_or_else(Vec::new, |parts| parts.values().cloned().collect()))
    }

    async fn submissions(&self) -> Result<Vec<RunId>> {
        Ok(self.shared.state().submissions.keys().copied().collect())
    }

    async fn forget_submission(&self, submission: RunId) -> Result<()> {
        self.shared.state().submissions.remove(&submission);
        Ok(())
    }

    async fn watch(&self, topic: Topic) -> Result<mpsc::Receiver<()>> {
        let mut changes = self.shared.changes.of(topic).subscribe();
        let (sender, receiver) = mpsc::channel(1);
        // Ends by itself when the receiver is dropped or this backend is.
        let forward = async move {
            while changes.changed().await.is_ok() {
                if let Err(mpsc::error::TrySendError::Closed(())) = sender.try_send(()) {
                    break;
                }
            }
        };
        background::spawn(forward);
        Ok(receiver)
    }
}

const LOCK: &str = "-- upshift: take the database's lock
SELECT pg_catalog.pg_advisory_lock($1, $2)";

const HOLDER: &str = "-- upshift: who holds the database's lock
SELECT l.pid, coalesce(a.application_name, '') AS application,
       coalesce(host(a.client_addr), 'a local socket') AS address
  FROM pg_catalog.pg_locks l
  LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
 WHERE l.locktype = 'advisory' AND l.granted AND l.classid = $1::bigint::oid
   AND l.objid = $2::bigint::oid AND l.objsubid = 2
   AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())";

async fn lock_in_database(target: &Target, local: Box<dyn Held>) -> Result<Locked> {
    let mut connection = pg::connect(target, "upshift lock").await?;
    let context = "taking the lock of the database";
    let patience = LOCK_PATIENCE.as_millis();
    // The session idles for as long as the run lasts.
    let settings = format!("SET lock_timeout = {patience}; SET idle_session_timeout = 0");
    pg::execute_raw(&mut connection, settings)
        .await
        .map_err(Error::database(context))?;
    let locked = sqlx::query(LOCK)
        .bind(DATABASE_LOCK.0)
        .bind(DATABASE_LOCK.1)
        .execute(&mut connection)
        .await
        .map_err(Error::database(context));
    match locked {
        Ok(_) => Ok(Locked::Granted(Box::new(DatabaseLock {
            connection: tokio::sync::Mutex::new(connection),
            _local: local,
        }))),
        Err(error) if error.sqlstate().as_deref() == Some("55P03") => {
            let by = database_lock_holder(&mut connection).await?;
            let by = by.unwrap_or_else(|| "another process".to_owned());
            Ok(Locked::Taken { by })
        }
        Err(error) => Err(error),
    }
}

/// Who holds the database's lock, for people; `None` where nobody does.
///
/// # Errors
/// When the database cannot be asked.
pub async fn database_lock_holder(connection: &mut PgConnection) -> Result<Option<String>> {
    sqlx::query(HOLDER)
        .bind(i64::from(DATABASE_LOCK.0))
        .bind(i64::from(DATABASE_LOCK.1))
        .fetch_optional(connection)
        .await
        .and_then(|row| {
            row.map(|row| {
                let pid: i32 = row.try_get("pid")?;
                let application: String = row.try_get("application")?;
                let address: String = row.try_get("address")?;
                Ok(format!("session {pid} ({application}, from {address})"))
            })
            .transpose()
        })
        .map_err(Error::database("asking who holds the database's lock"))
}

const DECIDE: &str = "-- upshift: decide once
INSERT INTO upshift.decision (question, answer) VALUES ($1, $2) ON CONFLICT DO NOTHING";

const DECISION: &str = "-- upshift: what was decided
SELECT answer FROM upshift.decision WHERE question = $1";

async fn decide_in_ledger(home: &Target, question: &str, answer: &str) -> Result<String> {
    let mut connection = pg::connect(home, "upshift decisions").await?;
    // One statement is one transaction: durable when it returns.
    sqlx::query(DECIDE)
        .bind(question)
        .bind(answer)
        .execute(&mut connection)
        .await
        .map_err(Error::database("recording a decision"))?;
    let stands = read_decision(&mut connection, question).await?;
    stands.ok_or_else(|| Error::Format("the ledger lost a decision".to_owned()))
}

async fn read_decision(connection: &mut PgConnection, question: &str) -> Result<Option<String>> {
    sqlx::query_scalar(DECISION)
        .bind(question)
        .fetch_optional(connection)
        .await
        .map_err(Error::database("reading a decision"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordination::suite;

    #[tokio::test]
    async fn the_suite_holds() {
        suite::run(async || Embedded::default()).await;
    }
}
