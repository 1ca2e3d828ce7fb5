//! The fence: who drives a run is who holds its highest epoch. A unit's transaction holds
//! `upshift.fence` in ACCESS SHARE mode from before its snapshot to its end; who raises the epoch
//! takes ACCESS EXCLUSIVE, so every older holder has either committed or will read the new epoch.

use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::{PgConnection, Row};

use crate::{
    Error, Result,
    clock::Stopwatch,
    ids::{Epoch, RunId},
    pg::transaction::{self, Scope, Spec},
};

/// Takes no snapshot, so that under REPEATABLE READ the epoch read after it is the current one.
pub const LOCK: &str = "LOCK TABLE upshift.fence IN ACCESS SHARE MODE";

/// How long older holders are waited for before their sessions are ended.
const GRACE: Duration = Duration::from_secs(3);

/// Who writes for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Holder {
    /// The run.
    pub run: RunId,
    /// The epoch that it holds.
    pub epoch: Epoch,
}

/// The run's current epoch; `None` where the ledger does not know the run.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn current(conn: &mut PgConnection, run: RunId) -> Result<Option<Epoch>> {
    let row =
        sqlx::query("-- the run's epoch\nSELECT epoch FROM upshift.fence WHERE run = $1::uuid")
            .bind(run.to_string())
            .fetch_optional(conn)
            .await
            .map_err(Error::database("reading the epoch"))?;
    row.map(|row| row.try_get("epoch").map(Epoch))
        .transpose()
        .map_err(Error::database("reading the epoch"))
}

/// Fails unless the holder's epoch is the run's. To be called behind [`LOCK`], in its transaction.
///
/// # Errors
/// [`Error::Fenced`] when the run was taken over.
pub async fn check(conn: &mut PgConnection, holder: Holder) -> Result<()> {
    match current(conn, holder.run).await? {
        Some(epoch) if epoch == holder.epoch => Ok(()),
        Some(epoch) => Err(Error::Fenced {
            held: holder.epoch.0,
            current: epoch.0,
        }),
        None => Err(Error::Refused(format!(
            "the ledger does not know run {}",
            holder.run
        ))),
    }
}

/// Runs a short transaction as the run's holder: [`LOCK`], [`check`], `body`.
///
/// # Errors
/// [`Error::Fenced`] when the run was taken over; what `body` or the server said otherwise.
pub async fn run<'env, T: Send>(
    conn: &mut PgConnection,
    name: &'static str,
    holder: Holder,
    mut body: impl for<'c> FnMut(&'c mut PgConnection, Scope<'c, 'env>) -> BoxFuture<'c, Result<T>>
    + Send,
) -> Result<T> {
    let locks = [LOCK.to_owned()];
    let mut spec = Spec::new(name);
    spec.locks = &locks;
    let mut attempt = 1;
    loop {
        let failure = match once(conn, &spec, holder, &mut body).await {
            Ok(value) => return Ok(value),
            Err(failure) => failure,
        };
        if !transaction::try_again(&failure, name, attempt) {
            return Err(failure);
        }
        attempt += 1;
    }
}

async fn once<'env, T>(
    conn: &mut PgConnection,
    spec: &Spec<'_>,
    holder: Holder,
    body: &mut (
             impl for<'c> FnMut(&'c mut PgConnection, Scope<'c, 'env>) -> BoxFuture<'c, Result<T>> + Send
         ),
) -> Result<T> {
    let mut tx = transaction::begin(conn, spec).await?;
    check(&mut tx, holder).await?;
    let value = body(&mut tx, Scope::default()).await?;
    tx.commit().await?;
    Ok(value)
}

/// Takes the run over: raises its epoch, so that no older holder can write any more, and ends the
/// sessions that still work for it. Returns when none is left.
///
/// Older holders have a few seconds to finish what they are about to commit; then their sessions are
/// ended (which a role may do to its own).
///
/// # Errors
/// When the deadline passes with an older holder still there: the message names its process.
pub async fn raise(conn: &mut PgConnection, run: RunId, deadline: Duration) -> Result<Epoch> {
    let watch = Stopwatch::start();
    let mut patience = GRACE.min(deadline);
    let epoch = loop {
        match raise_once(conn, run, patience).await {
            Ok(epoch) => break epoch,
            Err(error) if error.sqlstate().as_deref() == Some("55P03") => {
                let left = deadline.saturating_sub(watch.elapsed());
                let ended = end_sessions(conn, run).await?;
                if left.is_zero() {
                    return Err(still_there(run, &ended));
                }
                patience = GRACE.min(left).max(Duration::from_millis(100));
            }
            Err(error) => return Err(error),
        }
    };
    // What is left works outside a transaction: CREATE INDEX CONCURRENTLY, external programs.
    loop {
        let left = end_sessions(conn, run).await?;
        if left.is_empty() {
            return Ok(epoch);
        }
        if watch.elapsed() >= deadline {
            return Err(still_there(run, &left));
        }
        // The server ends a session at its next check for interrupts: there is nothing to wait on.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Where a database has taken the place of another, with a ledger of before: its epoch comes at least to that
/// of `older`, so that no holder of the other database's ledger can write once it is [`raise`]d again.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn raise_above(conn: &mut PgConnection, older: Holder) -> Result<()> {
    sqlx::query(
        "-- the epoch of the database that this one replaced
        UPDATE upshift.fence SET epoch = greatest(epoch, $2) WHERE run = $1::uuid",
    )
    .bind(older.run.to_string())
    .bind(older.epoch.0)
    .execute(conn)
    .await
    .map(drop)
    .map_err(Error::database(
        "raising the epoch of the restored database",
    ))
}

fn still_there(run: RunId, processes: &[i32]) -> Error {
    let list: Vec<String> = processes.iter().map(ToString::to_string).collect();
    Error::Refused(format!(
        "sessions of an earlier attempt at run {run} do not end: server processes {}; end them with \
         SELECT pg_terminate_backend(…), then try again",
        if list.is_empty() {
            "unknown".to_owned()
        } else {
            list.join(", ")
        },
    ))
}

async fn raise_once(conn: &mut PgConnection, run: RunId, patience: Duration) -> Result<Epoch> {
    let locks = ["LOCK TABLE upshift.fence IN ACCESS EXCLUSIVE MODE".to_owned()];
    let mut spec = Spec::new("take the run over");
    spec.lock_timeout = patience;
    spec.locks = &locks;
    let mut tx = transaction::begin(conn, &spec).await?;
    let epoch: i64 = sqlx::query(
        "-- raise the epoch
        INSERT INTO upshift.fence AS f (run, epoch) VALUES ($1::uuid, 1)
        ON CONFLICT (run) DO UPDATE SET epoch = f.epoch + 1
        RETURNING epoch",
    )
    .bind(run.to_string())
    .fetch_one(&mut *tx)
    .await
    .and_then(|row| row.try_get("epoch"))
    .map_err(Error::database("raising the epoch"))?;
    tx.commit().await?;
    Ok(Epoch(epoch))
}

/// Asks every session that works on a unit of the run to end; the processes that were there.
async fn end_sessions(conn: &mut PgConnection, run: RunId) -> Result<Vec<i32>> {
    let rows = sqlx::query(
        "-- end the sessions of an older holder
        SELECT pid, pg_terminate_backend(pid)
        FROM pg_stat_activity
        WHERE datname = current_database()
          AND pid <> pg_backend_pid()
          AND starts_with(application_name, $1)",
    )
    .bind(format!("upshift {} t", run.short()))
    .fetch_all(conn)
    .await
    .map_err(Error::database("ending the sessions of an older holder"))?;
    rows.iter()
        .map(|row| row.try_get("pid"))
        .collect::<sqlx::Result<_>>()
        .map_err(Error::database("ending the sessions of an older holder"))
}
