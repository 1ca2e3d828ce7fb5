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
        options::RunOptions,
    },
    pg::{PgConnection, Target},
    plan::{Plan, Task},
};
use upshift_worker::unit::{self, Direction, Retried, Timeouts, UnitContext};

use super::Limits;

/// A run, its plan, and what it may take.
pub type Work<'a> = (Holder, &'a Plan, &'a Limits);

/// Works on every quarantined row again, each unit's in a transaction of their own; one answer for each.
///
/// # Errors
/// When something else than the data stands in the way; what was done before it stays.
pub async fn retry(
    conn: &mut PgConnection,
    target: &Target,
    (holder, plan, limits): Work<'_>,
) -> Result<Vec<(StoredRow, Retried)>> {
    let rows = ledger::bad_row::load(conn, holder.run).await?;
    let rows: Vec<StoredRow> = rows
        .into_iter()
        .filter(|row| row.state == BadRowState::Quarantined)
        .collect();
    let options = ledger::options::load(conn, holder.run).await?;
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
            options: &options,
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
        let retried = outcome.map_err(|error| cannot(task, &error.to_string(), &error))?;
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
        return Ok(());
    }
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
fn cannot(task: &Task, message: &str, error: &Error) -> Error {
    match error.sqlstate().as_deref() {
        Some(code) if code.starts_with("42") => Error::Refused(format!(
            "the rows of {} ({}) cannot be retried, because a later step has changed what the statement \
             is about: {message}",
            task.id, task.label
        )),
        _ => Error::Refused(format!("retrying {} ({}): {message}", task.id, task.label)),
    }
}
