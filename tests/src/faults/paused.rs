//! A process that waits at a failpoint, so that a test can act at that very instant; and a session that
//! holds every table meanwhile.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use upshift_shared::clock::Stopwatch;

use crate::harness::{Database, Outcome, Running, Upshift};

/// How long something may take to come about.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a unit may take to wait for a lock, if it is going to.
const UNTIL_WAITING: Duration = Duration::from_millis(1500);
/// How often one looks.
const LOOK: Duration = Duration::from_millis(10);

/// What the application_name of a unit's session looks like.
const OF_A_UNIT: &str =
    "datname = current_database() AND application_name ~ '^upshift [0-9a-f]{12} t'";

/// A process at a failpoint, or one that ended without coming there.
#[derive(Debug)]
pub struct Paused {
    running: Running,
    folder: TempDir,
    /// Whether it is there.
    pub there: bool,
}

impl Paused {
    /// Starts the command, and waits until it is at the point.
    ///
    /// # Errors
    /// Where it neither comes there nor ends.
    pub async fn at(command: Upshift, point: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let file = folder.path().join("paused");
        let name = file.to_str().context("a path in UTF-8")?;
        let mut running = command
            .variable("UPSHIFT_FAILPOINT_PAUSE", point)
            .variable("UPSHIFT_FAILPOINT_FILE", name)
            .start()?;
        let watch = Stopwatch::start();
        loop {
            let there = file.exists();
            if there || running.has_ended()? {
                return Ok(Self {
                    running,
                    folder,
                    there,
                });
            }
            if watch.elapsed() > PATIENCE {
                bail!("it does not come to {point}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Lets it go on.
    pub fn let_go(&self) {
        // One that never came there has no such file.
        let _gone = std::fs::remove_file(self.folder.path().join("paused"));
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn has_ended(&mut self) -> Result<bool> {
        self.running.has_ended()
    }

    /// Lets it go on, and waits for its end.
    ///
    /// # Errors
    /// Where it does not end.
    pub fn end(self) -> Result<Outcome> {
        self.let_go();
        self.running.wait()
    }
}

/// A session that holds all tables of a database: whoever wants one waits.
#[derive(Debug)]
pub struct Locks {
    session: PgConnection,
}

impl Locks {
    /// Takes them.
    ///
    /// # Errors
    /// Where they are not to be had.
    pub async fn take(database: &Database) -> Result<Self> {
        let url = database.server().url("postgres", database.name());
        let mut session = PgConnection::connect(&url).await?;
        let watch = Stopwatch::start();
        loop {
            let taken = sqlx::raw_sql(
                "BEGIN; SET LOCAL lock_timeout = '5s';
                 DO $$ DECLARE name text; BEGIN
                     FOR name IN SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                                  WHERE relkind IN ('r', 'p') AND relpersistence = 'p'
                                    AND nspname NOT IN ('pg_catalog', 'information_schema', 'upshift', 'upshift_kept')
                                  ORDER BY c.oid
                     LOOP EXECUTE 'LOCK TABLE ONLY ' || name; END LOOP;
                 END $$",
            )
            .execute(&mut session)
            .await;
            match taken {
                Ok(_) => return Ok(Self { session }),
                // Another unit wants them the other way round.
                Err(error) if watch.elapsed() > PATIENCE => return Err(error.into()),
                Err(_) => {
                    sqlx::raw_sql("ROLLBACK").execute(&mut session).await?;
                }
            }
        }
    }

    /// Waits until a unit waits for one of them; whether one does. One that needs none of them does not.
    ///
    /// # Errors
    /// Where the server does not say.
    pub async fn somebody_waits(&mut self, paused: &mut Paused) -> Result<bool> {
        let waiting = format!(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND {OF_A_UNIT})"
        );
        let watch = Stopwatch::start();
        while watch.elapsed() < UNTIL_WAITING && !paused.has_ended()? {
            let waits: bool = sqlx::query_scalar(sqlx::AssertSqlSafe(waiting.clone()))
                .fetch_one(&mut self.session)
                .await?;
            if waits {
                return Ok(true);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(false)
    }

    /// Calls `pg_cancel_backend` or `pg_terminate_backend` for every unit that is at work; how many there
    /// were.
    ///
    /// # Errors
    /// Where the server says no.
    pub async fn strike(&mut self, function: &str) -> Result<i64> {
        let strike =
            format!("SELECT count({function}(pid)) FROM pg_stat_activity WHERE {OF_A_UNIT}");
        Ok(sqlx::query_scalar(sqlx::AssertSqlSafe(strike))
            .fetch_one(&mut self.session)
            .await?)
    }

    /// Gives them back.
    ///
    /// # Errors
    /// Where the session is gone.
    pub async fn give_back(self) -> Result<()> {
        Ok(self.session.close().await?)
    }
}
