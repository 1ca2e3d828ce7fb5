//! The maintenance database: where one is connected while nobody may be connected to the database itself.

use std::time::Duration;

use sqlx::{Connection, Row};
use tokio::time::sleep;
use upshift_shared::{
    Error, Result,
    clock::Stopwatch,
    pg::{self, PgConnection, Target, execute_raw},
};

/// Databases that every server has; the first one that the role may connect to is taken.
const CANDIDATES: [&str; 2] = ["postgres", "template1"];
/// How long another process that is at it may take to end: one that was killed is noticed by its server.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
/// How often others are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// So many sessions are named.
const NAMED: usize = 10;

/// A session in the maintenance database, about another database.
#[derive(Debug)]
pub struct Maintenance {
    /// The session.
    pub conn: PgConnection,
    database: String,
}

impl Maintenance {
    /// Connects.
    ///
    /// # Errors
    /// When no maintenance database lets the role in.
    pub async fn open(target: &Target) -> Result<Self> {
        let mut last = None;
        for name in CANDIDATES.into_iter().filter(|c| *c != target.database()) {
            match pg::connect(&target.on_database(name), "upshift maintenance").await {
                Ok(mut conn) => {
                    // Copying a database takes as long as it takes.
                    let settings = "SET statement_timeout = 0; SET idle_session_timeout = 0";
                    execute_raw(&mut conn, settings)
                        .await
                        .map_err(Error::database("setting up the maintenance session"))?;
                    return Ok(Self {
                        conn,
                        database: target.database().to_owned(),
                    });
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::Refused("there is no maintenance database".to_owned())))
    }

    /// Takes the lock that two processes meet at which make or restore snapshots of the same database.
    /// It goes with the session.
    ///
    /// # Errors
    /// [`Error::Refused`] when another process holds it.
    pub async fn lock(&mut self) -> Result<()> {
        let watch = Stopwatch::start();
        loop {
            let locked: bool = sqlx::query(
                "-- upshift: one handles the snapshots of a database
                 SELECT pg_try_advisory_lock(hashtextextended('upshift snapshot of ' || $1, 0)) AS locked",
            )
            .bind(&self.database)
            .fetch_one(&mut self.conn)
            .await
            .and_then(|row| row.try_get("locked"))
            .map_err(Error::database("locking the snapshots of the database"))?;
            if locked {
                return Ok(());
            }
            if watch.elapsed() >= LOCK_PATIENCE {
                return Err(Error::Refused(format!(
                    "another upshift takes or restores a snapshot of database {}: wait for it",
                    self.database
                )));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until nobody is connected to the database; ends the sessions of others where that was asked
    /// for.
    ///
    /// # Errors
    /// [`Error::Refused`], naming who is there, when `wait` is over.
    pub async fn await_nobody(&mut self, wait: Duration, end_sessions: bool) -> Result<()> {
        let watch = Stopwatch::start();
        loop {
            let others = self.others().await?;
            if others.is_empty() {
                return Ok(());
            }
            if watch.elapsed() >= wait {
                return Err(in_the_way(&self.database, &others));
            }
            if end_sessions {
                self.end_others().await?;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Who is in the way, for people. (Of sessions of other roles an ordinary one sees this much.)
    async fn others(&mut self) -> Result<Vec<String>> {
        sqlx::query(
            "-- upshift: who is connected to the database
             SELECT format('session %s (%s, as %s)', pid, coalesce(nullif(application_name, ''), 'no application_name'),
                           coalesce(usename, '?')) AS who
               FROM pg_catalog.pg_stat_activity
              WHERE datname = $1 AND coalesce(backend_type, '') NOT LIKE 'autovacuum%'
             UNION ALL
             SELECT format('prepared transaction %s', gid) FROM pg_catalog.pg_prepared_xacts WHERE database = $1",
        )
        .bind(&self.database)
        .fetch_all(&mut self.conn)
        .await
        .and_then(|rows| rows.iter().map(|row| row.try_get("who")).collect())
        .map_err(Error::database("asking who is connected to the database"))
    }

    async fn end_others(&mut self) -> Result<()> {
        sqlx::query(
            "-- upshift: end the sessions of others, as asked for
             SELECT pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
              WHERE datname = $1 AND coalesce(backend_type, 'client backend') = 'client backend'",
        )
        .bind(&self.database)
        .execute(&mut self.conn)
        .await
        .map_err(Error::database("ending the sessions of others"))?;
        Ok(())
    }

    /// Runs a statement that needs the database to itself, again where somebody got in between.
    ///
    /// # Errors
    /// What the server says; [`Error::Refused`] when others stay.
    pub async fn alone(
        &mut self,
        (wait, end_sessions): (Duration, bool),
        (context, statement): (&str, &str),
    ) -> Result<()> {
        let watch = Stopwatch::start();
        loop {
            let left = wait.saturating_sub(watch.elapsed());
            self.await_nobody(left, end_sessions).await?;
            let done = execute_raw(&mut self.conn, statement).await;
            match done.map_err(Error::database(context)) {
                // object_in_use: PostgreSQL has waited for 5 seconds itself.
                Err(error) if error.sqlstate().as_deref() == Some("55006") => {
                    if watch.elapsed() >= wait {
                        let others = self.others().await?;
                        return Err(in_the_way(&self.database, &others));
                    }
                }
                done => return done.map(drop),
            }
        }
    }

    /// Ends the session, and with it the lock.
    pub async fn close(self) {
        // An error means that it has ended.
        let _ended = self.conn.close().await;
    }
}

fn in_the_way(database: &str, others: &[String]) -> Error {
    let mut list = others.iter().take(NAMED).cloned().collect::<Vec<_>>();
    if others.len() > NAMED {
        list.push(format!("{} more", others.len() - NAMED));
    }
    if list.is_empty() {
        list.push("somebody who comes and goes".to_owned());
    }
    Error::Refused(format!(
        "database {database} has to be left by everybody, and there still are: {}; stop what connects to \
         it, or let --end-sessions end such sessions",
        list.join(", ")
    ))
}
