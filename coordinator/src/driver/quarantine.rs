//! Quarantined rows of a prepared run: the statement once more on rows whose data was mended, and the way
//! back of that.
//!
//! A retry is what was done last, after whatever came after the statement: so any rollback takes all
//! retries back before anything else, the last one first, and their rows are quarantined as before.

use tokio_util::sync::CancellationToken;
use upshift_shared::{
    Error, Result,
    ids::{TaskId, UnitId},
    ledger::{
        self, Bounds, Holder,
        bad_row::{BadRowState, StoredRow},
        event::Draft,
        options::{RunOptions, Verify},
    },
    pg::{PgConnection, Target},
    plan::{Plan, Task},
};
use upshift_worker::{
    failpoint,
    unit::{self, Direction, Retried, Timeouts, UnitContext},
};

use super::Limits;
use crate::verification::record;

/// A run, its plan, and what it may take.
pub type Work<'a> = (Holder, &'a Plan, &'a Limits);

/// Works on every quarantined row again, each unit's in a transaction of their own; one answer for each.
/// What the run leaves is recorded anew where that has changed it, by this retry or one that was killed.
///
/// # Errors
/// When something else than the data stands in the way; what was done before it stays.
/// [`Error::Refused`] when a lasting check does not hold any more.
pub async fn retry(
    conn: &mut PgConnection,
    target: &Target,
    work: Work<'_>,
) -> Result<Vec<(StoredRow, Retried)>> {
    let (holder, plan, _) = work;
    let options = ledger::options::load(conn, holder.run).await?;
    let answers = retry_all(conn, target, work, &options).await;
    let recorded = record_anew(conn, target, (holder, plan), options.verify).await;
    let answers = answers?;
    if !answers.is_empty() {
        let done = |(_, retried): &&(StoredRow, Retried)| retried.failure.is_none();
        let done = answers.iter().filter(done).count();
        let detail = serde_json::json!({"retried": done, "quarantined": answers.len() - done});
        let event = Draft::new("rows_retried", detail);
        ledger::event::append(conn, holder, &event).await?;
    }
    recorded?;
    Ok(answers)
}

async fn record_anew(
    conn: &mut PgConnection,
    target: &Target,
    run: (Holder, &Plan),
    verify: Verify,
) -> Result<()> {
    match ledger::bad_row::retried_since_recorded(conn, run.0.run).await? {
        true => record::retried(conn, target, run, verify).await,
        false => Ok(()),
    }
}

async fn retry_all(
    conn: &mut PgConnection,
    target: &Target,
    (holder, plan, limits): Work<'_>,
    options: &RunOptions,
) -> Result<Vec<(StoredRow, Retried)>> {
    let rows = ledger::bad_row::load(conn, holder.run).await?;
    let rows: Vec<StoredRow> = rows
        .into_iter()
        .filter(|row| row.state == BadRowState::Quarantined)
        .collect();
    let tasks = ledger::task::load(conn, holder.run).await?;
    let mut answers = Vec::with_capacity(rows.len());
    for of_unit in rows.chunk_by(|a, b| (a.task, a.unit) == (b.task, b.unit)) {
        let task = planned(plan, of_unit[0].task)?;
        let number = ledger::bad_row::next_retry(conn, holder.run, task.id).await?;
        let pinned_now = tasks
            .get(&task.id)
            .map_or("", |row| row.pinned_now.as_str());
        let place = Place {
            target,
            options,
            pinned_now,
        };
        let outcome = {
            let (bounds, cancel) = (Bounds::default(), CancellationToken::new());
            let context = place.context(
                (holder, task, number),
                Direction::Do,
                (limits, &bounds, &cancel),
            );
            unit::retry(conn, &context, of_unit).await
        };
        let retried = outcome.map_err(|error| cannot(task, &error))?;
        answers.extend(of_unit.iter().cloned().zip(retried));
    }
    Ok(answers)
}

/// Takes all retries of a run back.
///
/// # Errors
/// When one cannot be taken back: its rows were changed or deleted since, or a lock is in its way.
pub async fn take_retries_back(
    conn: &mut PgConnection,
    target: &Target,
    (holder, plan, limits): Work<'_>,
) -> Result<()> {
    let retries = ledger::bad_row::retries(conn, holder.run).await?;
    if retries.is_empty() {
        failpoint::reach(failpoint::AFTER_RETRIES_BACK);
        return Ok(());
    }
    // From the first one on it is no longer what the run had left.
    ledger::left::forget(conn, holder).await?;
    let options = ledger::options::load(conn, holder.run).await?;
    let place = Place {
        target,
        options: &options,
        pinned_now: "",
    };
    for (task, number) in retries {
        let task = planned(plan, task)?;
        let (bounds, cancel) = (Bounds::default(), CancellationToken::new());
        let context = place.context(
            (holder, task, number),
            Direction::Undo,
            (limits, &bounds, &cancel),
        );
        unit::execute(conn, &context).await.map_err(|error| {
            Error::Refused(format!(
                "the retry of quarantined rows of {} ({}) cannot be taken back: {}; mend that and say \
                 `upshift rollback` again",
                task.id, task.label, error.message
            ))
        })?;
    }
    failpoint::reach(failpoint::AFTER_RETRIES_BACK);
    Ok(())
}

/// What the units of a run have in common here.
struct Place<'a> {
    target: &'a Target,
    options: &'a RunOptions,
    pinned_now: &'a str,
}

impl<'a> Place<'a> {
    fn context(
        &self,
        (holder, task, unit): (Holder, &'a Task, UnitId),
        direction: Direction,
        (limits, bounds, cancel): (&Limits, &'a Bounds, &'a CancellationToken),
    ) -> UnitContext<'a> {
        UnitContext {
            holder,
            task,
            unit,
            direction,
            bounds,
            pinned_now: self.pinned_now,
            timeouts: Timeouts {
                lock: limits.lock_timeout,
                statement: limits.statement_timeout,
            },
            attempt: 1,
            target: self.target,
            cancel,
            force: limits.force,
            units_at_once: 1,
            options: self.options,
        }
    }
}

fn planned(plan: &Plan, task: TaskId) -> Result<&Task> {
    plan.tasks.get(task.0 as usize).ok_or_else(|| {
        Error::Format(format!(
            "the plan has no {task}, of which rows are quarantined"
        ))
    })
}

/// A later step may have changed the table since: then the statement is no longer one on it.
fn cannot(task: &Task, error: &Error) -> Error {
    let message = unit::described(error);
    match error.sqlstate().as_deref() {
        Some(code) if code.starts_with("42") => Error::Refused(format!(
            "the rows of {} ({}) cannot be retried, because a later step has changed what the statement \
             is about: {message}",
            task.id, task.label
        )),
        _ => Error::Refused(format!("retrying {} ({}): {message}", task.id, task.label)),
    }
}
