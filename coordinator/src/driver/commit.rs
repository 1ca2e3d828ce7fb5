//! `commit`: the decision first, the destruction after it. From the moment that the ledger says
//! `committed` there is no way back; what was hidden and kept is then destroyed task by task, each in
//! a transaction of its own, and whoever finds some of it left over goes on with it.

use std::time::Duration;

use sqlx::Row;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use upshift_shared::{
    Error, Result,
    clock::Stopwatch,
    ids::{RunId, UnitId},
    ledger::{self, Bounds, Holder, options::RunOptions},
    pg::{PgConnection, Target},
    plan::{Plan, Task},
};
use upshift_worker::unit::{self, Direction, FailureClass, Timeouts, UnitContext};

use super::Limits;
use crate::progress::{Ending, Going, Progress, ProgressEvent};

/// How often the destruction of one task is tried when a lock or the connection is in its way.
const ATTEMPTS: u32 = 8;

const PENDING: &str = "-- upshift: is there something left to destroy
SELECT EXISTS (SELECT FROM upshift.deferred WHERE run = $1::uuid)
    OR EXISTS (SELECT FROM pg_catalog.pg_class c
                WHERE c.relnamespace = to_regnamespace('upshift_kept')
                  AND starts_with(c.relname, $2)) AS pending";

const FORGET_CUTS: &str = "-- upshift: nothing will be cut again
DELETE FROM upshift.cut WHERE run = $1::uuid";

/// Whether a committed run still has something to destroy.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn is_pending(conn: &mut PgConnection, run: RunId) -> Result<bool> {
    if !ledger::snapshot::load(conn, run).await?.is_empty() {
        return Ok(true);
    }
    sqlx::query(PENDING)
        .bind(run.to_string())
        .bind(format!("{}_", run.short()))
        .fetch_one(conn)
        .await
        .and_then(|row| row.try_get("pending"))
        .map_err(Error::database("asking what commit has left to do"))
}

/// Closes the way back and destroys what was hidden and kept. Again is fine.
///
/// # Errors
/// When the run may not be committed, or something stands in the way of the destruction; then the
/// run is committed all the same, and `commit` goes on where it stopped.
pub async fn commit(
    conn: &mut PgConnection,
    target: &Target,
    holder: Holder,
    plan: &Plan,
    limits: &Limits,
    progress: &mut dyn Progress,
) -> Result<()> {
    let watch = Stopwatch::start();
    let modules: Vec<(String, String)> = plan
        .modules
        .iter()
        .map(|module| (module.name.clone(), module.to.to_string()))
        .collect();
    ledger::run::commit(conn, holder, &modules).await?;
    let rows = ledger::task::load(conn, holder.run).await?;
    let tasks: Vec<&Task> = plan
        .tasks
        .iter()
        .filter(|t| rows.contains_key(&t.id))
        .collect();
    let event = ProgressEvent::RunStarted {
        run: holder.run,
        going: Going::Commit,
        tasks: tasks.len() as u64,
        tasks_done: 0,
        rows: 0,
        seconds: 0.0,
        workers: 1,
    };
    progress.show(watch.elapsed(), &event);
    for task in tasks {
        destroy(conn, target, holder, task, limits).await?;
        let event = ProgressEvent::TaskDone { task: task.id };
        progress.show(watch.elapsed(), &event);
    }
    sqlx::query(FORGET_CUTS)
        .bind(holder.run.to_string())
        .execute(&mut *conn)
        .await
        .map_err(Error::database("forgetting where units were cut"))?;
    let event = ProgressEvent::RunEnded {
        ending: Ending::Committed,
        message: "there is no way back now".to_owned(),
    };
    progress.show(watch.elapsed(), &event);
    Ok(())
}

async fn destroy(
    conn: &mut PgConnection,
    target: &Target,
    holder: Holder,
    task: &Task,
    limits: &Limits,
) -> Result<()> {
    let (bounds, cancel) = (Bounds::default(), CancellationToken::new());
    let options = RunOptions::default();
    let mut pause = Duration::from_millis(250);
    for attempt in 1.. {
        let context = UnitContext {
            holder,
            task,
            unit: UnitId(0),
            direction: Direction::Commit,
            bounds: &bounds,
            pinned_now: "",
            timeouts: Timeouts {
                lock: limits.lock_timeout,
                statement: limits.statement_timeout,
            },
            attempt,
            target,
            cancel: &cancel,
            force: false,
            units_at_once: 1,
            options: &options,
        };
        let Err(error) = unit::execute(conn, &context).await else {
            return Ok(());
        };
        let passing = matches!(error.class, FailureClass::Now | FailureClass::Later);
        if !passing || attempt >= ATTEMPTS {
            let code = error.sqlstate.map(|code| format!(" (SQLSTATE {code})"));
            return Err(Error::Refused(format!(
                "run {} is committed, but what it dropped is not all destroyed yet: {} ({}): {}{}; \
                 mend that and say `upshift commit` again",
                holder.run,
                task.id,
                task.label,
                error.message,
                code.unwrap_or_default()
            )));
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(8));
    }
    Ok(())
}
