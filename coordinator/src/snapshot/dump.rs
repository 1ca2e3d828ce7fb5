//! Snapshots as files: pg_dump before the run's first task, pg_restore into a copy that takes the
//! database's place.
//!
//! ```text
//! DIRECTORY/NAME/upshift.json    what is about the database, not in it
//! DIRECTORY/NAME/data/           what pg_dump has written
//! DIRECTORY/NAME.….part/         the same of a process that was killed
//! ```
//!
//! A dump is whole once it has its name. A half is never written to again: pg_dump outlives a process
//! that was killed, and must not meet the next one's files.

mod files;
mod manifest;
mod obstacle;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use upshift_shared::{
    Error, Result,
    pg::{self, PgConnection, execute_raw},
};
use upshift_worker::{failpoint, program::Program};

use self::manifest::Manifest;
use super::{
    COPIED, RESTORE_COPIED, Snapshot, carry,
    maintenance::Maintenance,
    marker::{self, Marker, State},
    template,
};

pub(super) use obstacle::obstacles;

/// How often sessions of a pg_restore whose parent was killed are ended before that is given up; PostgreSQL
/// waits for 5 seconds each time (`CountOtherDBBackends` in procarray.c).
const DROP_ATTEMPTS: u32 = 5;
/// A session that is asked to end has gone by then, as a rule.
const TO_END: Duration = Duration::from_millis(200);

/// Where the dump of this run is, or will be.
#[must_use]
pub fn place(snapshot: &Snapshot, directory: &Path) -> PathBuf {
    let keep = |c: char| match c.is_alphanumeric() || c == '-' || c == '_' {
        true => c,
        false => '_',
    };
    // PostgreSQL's names may hold what means something in a path.
    let database: String = snapshot.target.database().chars().map(keep).collect();
    directory.join(format!("{database}_upshift_{}", snapshot.run))
}

fn configured(snapshot: &Snapshot) -> Result<&Path> {
    let directory = snapshot.settings.directory.as_deref();
    directory.ok_or_else(|| Error::Refused(obstacle::NO_DIRECTORY.to_owned()))
}

/// Takes it.
pub(super) async fn make(snapshot: &Snapshot) -> Result<()> {
    let mut maintenance = Maintenance::open(&snapshot.target).await?;
    let made = make_within(&mut maintenance, snapshot).await;
    maintenance.close().await;
    made
}

async fn make_within(maintenance: &mut Maintenance, snapshot: &Snapshot) -> Result<()> {
    let directory = configured(snapshot)?;
    let place = place(snapshot, directory);
    maintenance.lock().await?;
    files::remove(&place)?;
    // A copy of an earlier dump would pass for one of this.
    drop_copy(&mut maintenance.conn, snapshot).await?;
    let manifest = Manifest::read(&mut maintenance.conn, snapshot).await?;
    // Removed when this fails or is interrupted.
    let half = files::begin(&place)?;
    manifest.write(half.path())?;
    let patience = snapshot.settings.wait.as_millis();
    let words = [
        "pg_dump".to_owned(),
        "--no-password".to_owned(),
        "--format=directory".to_owned(),
        format!("--jobs={}", snapshot.settings.jobs),
        format!("--lock-wait-timeout={patience}"),
        format!("--file={}", files::data(half.path()).display()),
    ];
    run(snapshot, words.into()).await?;
    failpoint::reach(COPIED);
    files::finish(half, &place)
}

/// Refuses where there is no dump to restore, before anything is said or done.
///
/// # Errors
/// [`Error::Refused`]
pub fn refuse_gone(snapshot: &Snapshot) -> Result<()> {
    let place = place(snapshot, configured(snapshot)?);
    Manifest::find(&place, snapshot.run).map(drop)
}

/// Restores it into a copy, marked `ready`, which [`template::Restore`] can put in the database's place. To
/// be called with [`Maintenance::lock`].
///
/// # Errors
/// What pg_restore says, for one: the database is as it was.
pub async fn copy(maintenance: &mut Maintenance, snapshot: &Snapshot) -> Result<()> {
    let copy = snapshot.name();
    let found = marker::read(&mut maintenance.conn, &copy).await?;
    if found.is_some_and(|m| m.state == State::Ready && m.run == snapshot.run) {
        return Ok(());
    }
    let place = place(snapshot, configured(snapshot)?);
    let manifest = Manifest::find(&place, snapshot.run)?;
    drop_copy(&mut maintenance.conn, snapshot).await?;
    let restored = copy_within(&mut maintenance.conn, snapshot, (&place, manifest)).await;
    if restored.is_err() {
        // What it says is worth more than that the half cannot be dropped: the next attempt does so.
        let _dropped = drop_copy(&mut maintenance.conn, snapshot).await;
    }
    restored.map_err(|error| {
        Error::Refused(format!(
            "the dump in {} could not be restored, and database {} is as it was: {error}",
            place.display(),
            snapshot.target.database()
        ))
    })
}

async fn copy_within(
    conn: &mut PgConnection,
    snapshot: &Snapshot,
    (place, manifest): (&Path, Manifest),
) -> Result<()> {
    let copy = snapshot.name();
    execute_raw(
        conn,
        format!("-- upshift: restore a dump\n{}", manifest.create),
    )
    .await
    .map_err(Error::database(format!("creating database {copy}")))?;
    let mut mark = Marker {
        state: State::Taking,
        run: snapshot.run,
        database: snapshot.target.database().to_owned(),
        epoch: 0,
        to: None,
        comment: manifest.comment,
    };
    mark.write(conn, &copy).await?;
    let words = [
        "pg_restore".to_owned(),
        "--no-password".to_owned(),
        "--exit-on-error".to_owned(),
        format!("--jobs={}", snapshot.settings.jobs),
        format!("--dbname={}", connection_string(&copy)),
        files::data(place).display().to_string(),
    ];
    run(snapshot, words.into()).await?;
    analyze(snapshot).await?;
    failpoint::reach(RESTORE_COPIED);
    carry::execute(conn, &manifest.properties).await?;
    mark.state = State::Ready;
    mark.write(conn, &copy).await
}

/// A name alone would be taken for a connection string if it looked like one (`expand_dbname` of
/// PQconnectdbParams).
fn connection_string(database: &str) -> String {
    let quoted = database.replace('\\', "\\\\").replace('\'', "\\'");
    format!("dbname='{quoted}'")
}

/// A dump has no statistics of the optimizer.
async fn analyze(snapshot: &Snapshot) -> Result<()> {
    let copy = snapshot.target.on_database(&snapshot.name());
    let mut conn = pg::connect(&copy, "upshift snapshot").await?;
    execute_raw(
        &mut conn,
        "-- upshift: statistics of a restored dump\nSET statement_timeout = 0; ANALYZE",
    )
    .await
    .map_err(Error::database("analyzing the restored database"))?;
    // An error means that it has ended.
    let _ended = sqlx::Connection::close(conn).await;
    Ok(())
}

/// Throws it away, with what was restored from it and did not come to its place. Not there is fine.
pub(super) async fn discard(snapshot: &Snapshot) -> Result<()> {
    let place = place(snapshot, configured(snapshot)?);
    let mut maintenance = Maintenance::open(&snapshot.target).await?;
    let dropped = match maintenance.lock().await {
        Ok(()) => drop_copy(&mut maintenance.conn, snapshot).await,
        failed => failed,
    };
    maintenance.close().await;
    dropped?;
    files::remove(&place)
}

/// Drops the copy; a pg_restore of a process that was killed may still be at work on it.
async fn drop_copy(conn: &mut PgConnection, snapshot: &Snapshot) -> Result<()> {
    let copy = snapshot.name();
    for _ in 0..DROP_ATTEMPTS {
        match template::drop_own(conn, &copy, snapshot.run).await {
            // object_in_use
            Err(error) if error.sqlstate().as_deref() == Some("55006") => {}
            done => return done,
        }
        sqlx::query(
            "-- upshift: end what still restores a dump
             SELECT pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
              WHERE datname = $1 AND usename = current_user AND backend_type = 'client backend'",
        )
        .bind(&copy)
        .execute(&mut *conn)
        .await
        .map_err(Error::database("ending what still restores a dump"))?;
        sleep(TO_END).await;
    }
    template::drop_own(conn, &copy, snapshot.run).await
}

async fn run(snapshot: &Snapshot, words: Vec<String>) -> Result<()> {
    let program = Program {
        words,
        target: &snapshot.target,
        // Like a unit's: whoever takes the run over ends a pg_dump whose parent was killed.
        application_name: format!(
            "upshift {} {} snapshot",
            snapshot.run.short(),
            snapshot.task
        ),
        timeout: snapshot.settings.timeout,
        environment: Vec::new(),
        leaves_others: false,
    };
    // A process that is interrupted drops this, and the program ends with it.
    program.run(&CancellationToken::new()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_connection_string() {
        assert_eq!(connection_string("a=b 'c\\"), "dbname='a=b \\'c\\\\'");
    }
}
