//! Connections of a worker, or of all workers of a process: one for each unit that runs, kept open for a
//! while from unit to unit.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx::{PgConnection, Row};
use upshift_shared::{Error, Result, clock::Stopwatch, pg};

use crate::metrics::{Counted, Metrics};

/// What an idle session of a worker is called.
const IDLE_NAME: &str = "upshift worker";
/// A connection that nobody has wanted for so long is closed.
const IDLE: Duration = Duration::from_secs(10);
/// How long taking leave may take.
const CLOSE: Duration = Duration::from_secs(2);

/// An open connection.
pub(crate) struct Connection {
    /// The session.
    pub(crate) conn: PgConnection,
    /// Its server process.
    pub(crate) process: i32,
    counted: Counted,
}

impl Connection {
    /// Takes leave of the server, which knows then that the connection is free for somebody else.
    pub(crate) async fn close(self) {
        let Self { conn, counted, .. } = self;
        let closed = tokio::time::timeout(CLOSE, sqlx::Connection::close(conn));
        // One that cannot be told finds out by itself.
        let _closed = closed.await;
        drop(counted);
    }
}

struct Idle {
    database: String,
    since: Stopwatch,
    connection: Connection,
}

/// Idle connections, the oldest first.
pub struct Pool {
    idle: Mutex<VecDeque<Idle>>,
    /// So many are kept.
    most: AtomicUsize,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// Keeps so many idle connections at most.
    #[must_use]
    pub fn new(most: usize, metrics: Arc<Metrics>) -> Self {
        Self {
            idle: Mutex::default(),
            most: AtomicUsize::new(most),
            metrics,
        }
    }

    /// Keeps so many from now on.
    pub fn keep(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// What is counted of its owner.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle connection, or a new one.
    pub(crate) async fn take(&self, database: &str, target: &pg::Target) -> Result<Connection> {
        let idle = {
            let mut idle = self.idle();
            let place = idle.iter().rposition(|idle| idle.database == database);
            place.and_then(|place| idle.remove(place))
        };
        if let Some(idle) = idle {
            return Ok(idle.connection);
        }
        let mut conn = pg::connect(target, IDLE_NAME).await?;
        let process = sqlx::query("-- which server process is it\nSELECT pg_backend_pid()")
            .persistent(false)
            .fetch_one(&mut conn)
            .await
            .and_then(|row| row.try_get(0))
            .map_err(Error::database("asking for the server process"))?;
        Ok(Connection {
            conn,
            process,
            counted: self.metrics.connection(),
        })
    }

    /// Gives a connection back. One that broke is dropped instead.
    pub(crate) fn give_back(&self, database: &str, connection: Connection) {
        let mut idle = self.idle();
        idle.push_back(Idle {
            database: database.to_owned(),
            since: Stopwatch::start(),
            connection,
        });
        while idle.len() > self.most.load(Ordering::Relaxed) {
            idle.pop_front();
        }
    }

    /// Closes connections that nobody has wanted for long.
    pub(crate) fn sweep(&self) {
        self.idle().retain(|idle| idle.since.elapsed() < IDLE);
    }

    /// Closes the idle connections of a database: its server restarted, so they are all broken, or it is
    /// of no more use.
    pub(crate) fn forget(&self, database: &str) {
        self.idle().retain(|idle| idle.database != database);
    }
}
