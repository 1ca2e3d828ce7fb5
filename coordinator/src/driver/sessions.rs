//! The driver's own sessions with the target database: a few, for the ledger, cuts and preparations.
//! Workers have their own.

use std::{
    ops::{Deref, DerefMut},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{Semaphore, SemaphorePermit};
use upshift_shared::{
    Error, Result,
    pg::{self, PgConnection, Target},
};

/// At most so many at once of a run.
const SESSIONS: u32 = 4;
/// After this long without a connection the run stops; it can be resumed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between attempts to reconnect, doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Sessions that are taken and given back.
#[derive(Debug)]
pub struct Sessions {
    target: Target,
    /// What they are called in `pg_stat_activity`.
    name: String,
    idle: Mutex<Vec<PgConnection>>,
    permits: Semaphore,
}

/// A session that is given back when dropped, unless it was found broken.
#[derive(Debug)]
pub struct Session<'a> {
    of: &'a Sessions,
    connection: Option<PgConnection>,
    _permit: SemaphorePermit<'a>,
}

impl Sessions {
    /// For a run that has so many units at once; none are open yet.
    #[must_use]
    pub fn new(target: Target, name: String, units: u32) -> Self {
        Self::at_most(target, name, units.clamp(1, SESSIONS) as usize)
    }

    /// As many at once as given; none are open yet.
    #[must_use]
    pub fn at_most(target: Target, name: String, sessions: usize) -> Self {
        Self {
            target,
            name,
            idle: Mutex::new(Vec::new()),
            permits: Semaphore::new(sessions),
        }
    }

    /// With one that is open already.
    #[must_use]
    pub fn with(self, open: Option<PgConnection>) -> Self {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.extend(open);
        drop(idle);
        self
    }

    /// One that is open and of no use to anybody else at present.
    pub(super) fn take_idle(&self) -> Option<Session<'_>> {
        let permit = self.permits.try_acquire().ok()?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Session {
            of: self,
            connection: Some(idle.pop()?),
            _permit: permit,
        })
    }

    /// Waits for a session; opens one if need be.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn take(&self) -> Result<Session<'_>> {
        let permit = self.permits.acquire().await;
        let permit = permit.expect("the semaphore is never closed");
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let connection = match idle {
            Some(connection) => connection,
            None => pg::connect(&self.target, &self.name).await?,
        };
        Ok(Session {
            of: self,
            connection: Some(connection),
            _permit: permit,
        })
    }

    /// Where they lead.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Forgets all idle sessions: one of them was lost, so the others will be.
    fn forget(&self) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

impl Session<'_> {
    /// Closes it instead of giving it back.
    pub fn discard(mut self) {
        self.connection = None;
        self.of.forget();
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            let mut idle = self.of.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(connection);
        }
    }
}

impl Deref for Session<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect("it is there until dropped")
    }
}

impl DerefMut for Session<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("it is there until dropped")
    }
}

/// Whether an error means that the session is gone: the server restarted, failed over, was cut off.
#[must_use]
pub fn is_connection_lost(error: &Error) -> bool {
    let Error::Database { source, .. } = error else {
        return false;
    };
    match source {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(e) => e.code().is_some_and(|code| {
            // admin_shutdown, crash_shutdown, cannot_connect_now; connection exceptions
            matches!(&*code, "57P01" | "57P02" | "57P03") || code.starts_with("08")
        }),
        _ => false,
    }
}

/// Pauses between attempts to reconnect, until patience is at an end.
#[derive(Debug, Clone)]
pub struct Backoff {
    pause: Duration,
    waited: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            pause: FIRST_PAUSE,
            waited: Duration::ZERO,
        }
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.waited >= PATIENCE {
            return None;
        }
        let pause = self.pause;
        self.waited += pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_ends() {
        let pauses: Vec<Duration> = Backoff::default().collect();
        assert_eq!(pauses[0], FIRST_PAUSE);
        assert!(pauses.iter().all(|pause| *pause <= LONGEST_PAUSE));
        let sum: Duration = pauses.iter().sum();
        assert!(sum >= PATIENCE && sum < PATIENCE + LONGEST_PAUSE);
    }
}
