//! Units: the piece of a task that one worker runs in one transaction. One file for each operator,
//! with its run and its undo; here is what they have in common: fence, ledger row, commit.
//!
//! A unit's transaction: the fence's lock (which takes no snapshot), the ledger row if the epoch is
//! still the holder's, the work, its row count, COMMIT. So a unit whose result was lost is simply
//! run again, and finds itself done.

mod append;
mod bisect;
mod check;
mod copy;
mod destroy;
mod error;
mod exec;
mod in_place;
mod metadata;
mod outside;
mod reaction;
mod reparse;
mod retry;
mod shadow;
mod statement;
mod transform;
mod verified;

use std::{io, time::Duration};

use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;
use upshift_shared::{
    Error, Result,
    clock::Stopwatch,
    ids::UnitId,
    ledger::{
        self, Bounds, Holder, fence,
        options::{OnBadData, RunOptions},
        unit::{Claim, UnitKey, UnitState},
    },
    pg::{
        Target,
        transaction::{self, Isolation, Spec, Transaction},
    },
    plan::{Cut, KeptTable, Operator, Sequences, StatementUndo, Task, Template},
};

pub use check::ask as ask_check;
pub use error::{FailureClass, UnitError};
pub use retry::{Retried, retry};

use crate::{failpoint, prepare::kept_name};

/// Which way a unit goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Do the work.
    Do,
    /// Take it back.
    Undo,
    /// Destroy what the task deferred and kept: the way back is closed. One unit a task.
    Commit,
}

impl Direction {
    /// In one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Do => "forward",
            Self::Undo => "back",
            Self::Commit => "commit",
        }
    }
}

/// How long a unit may wait and work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For one lock; zero for ever.
    pub lock: Duration,
    /// For one statement; zero for ever.
    pub statement: Duration,
}

/// All that a unit's execution needs to know.
#[derive(Debug, Clone, Copy)]
pub struct UnitContext<'a> {
    /// The run, and the epoch under which it is worked on.
    pub holder: Holder,
    /// The task.
    pub task: &'a Task,
    /// The unit's number.
    pub unit: UnitId,
    /// Which way.
    pub direction: Direction,
    /// Its range, where the task is cut.
    pub bounds: &'a Bounds,
    /// The instant of `now()`, as the task's preparation recorded it.
    pub pinned_now: &'a str,
    /// How long it may wait and work.
    pub timeouts: Timeouts,
    /// From 1.
    pub attempt: u32,
    /// The database, for external programs.
    pub target: &'a Target,
    /// Ends an external program; statements are cancelled by a side connection.
    pub cancel: &'a CancellationToken,
    /// Undo: go on where fewer rows come back than were kept.
    pub force: bool,
    /// How many units may run at once, this one among them: what memory is shared out over.
    pub units_at_once: u32,
    /// What the operator asked for.
    pub options: &'a RunOptions,
}

impl UnitContext<'_> {
    fn key(&self) -> UnitKey {
        UnitKey {
            holder: self.holder,
            task: self.task.id,
            unit: self.unit,
        }
    }

    /// Between two statements, a cancel by a side connection meets nobody: whoever runs many asks here.
    ///
    /// # Errors
    /// When the unit is to end: it is done again later.
    fn refuse_cancelled(&self) -> Result<()> {
        if !self.cancel.is_cancelled() {
            return Ok(());
        }
        Err(Error::Io {
            context: self.task.label.clone(),
            source: io::Error::new(io::ErrorKind::Interrupted, "the unit was cancelled"),
        })
    }

    /// What other sessions see.
    pub(crate) fn application_name(&self) -> String {
        ledger::application_name(self.holder.run, self.task.id, self.unit)
    }
}

/// What became of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitReport {
    /// Rows that it touched.
    pub rows: u64,
    /// The ledger had it already: an earlier attempt whose result was lost.
    pub already_done: bool,
    /// How long it took.
    pub elapsed: Duration,
}

/// Runs a unit, takes it back, or destroys what it deferred. However often it is called, its work is
/// in effect once.
///
/// # Errors
/// [`UnitError`] says what can be done about it; the unit has left nothing behind (work outside a
/// transaction: nothing that another attempt does not clear away).
pub async fn execute(
    conn: &mut PgConnection,
    unit: &UnitContext<'_>,
) -> Result<UnitReport, UnitError> {
    let watch = Stopwatch::start();
    let mut committing = false;
    let outcome = if unit.direction != Direction::Commit && outside::concerns(&unit.task.operator) {
        Box::pin(outside::execute(conn, unit)).await
    } else {
        Box::pin(in_transaction(conn, unit, &mut committing)).await
    };
    let rows = match outcome {
        Ok(rows) => rows,
        Err(error) if bisect::concerns(unit, &error) => {
            let failure = bisect::Failure {
                error: &error,
                is_deferred: committing,
            };
            Box::pin(bisect::run(conn, unit, failure, watch)).await?
        }
        Err(error) => return Err(UnitError::new(&error, unit, watch.elapsed())),
    };
    Ok(UnitReport {
        rows: rows.unwrap_or(0),
        already_done: rows.is_none(),
        elapsed: watch.elapsed(),
    })
}

/// Rows that it touched; `None` when the ledger had it already. `committing` becomes true once all is
/// written.
async fn in_transaction(
    conn: &mut PgConnection,
    unit: &UnitContext<'_>,
    committing: &mut bool,
) -> Result<Option<u64>> {
    failpoint::at(failpoint::BEFORE_LOCK, unit.task).await;
    let mut tx = begin(conn, unit).await?;
    failpoint::at(failpoint::AFTER_LOCK, unit.task).await;
    let rows = match unit.direction {
        Direction::Do => forward(&mut tx, unit).await?,
        Direction::Undo => back(&mut tx, unit).await?,
        Direction::Commit => Some(destroy::destroy(&mut tx, unit).await?),
    };
    if rows.is_none() {
        tx.rollback().await?;
        return Ok(None);
    }
    failpoint::at(failpoint::BEFORE_COMMIT, unit.task).await;
    *committing = true;
    tx.commit().await?;
    failpoint::at(failpoint::AFTER_COMMIT, unit.task).await;
    Ok(rows)
}

async fn begin<'c>(conn: &'c mut PgConnection, unit: &UnitContext<'_>) -> Result<Transaction<'c>> {
    let mut locks = vec![fence::LOCK.to_owned()];
    let mut isolation = Isolation::ReadCommitted;
    match (&unit.task.operator, unit.direction) {
        (_, Direction::Commit) => {}
        // Before-images must be exact: a row that an application changes meanwhile fails the unit
        // with a serialisation error, instead of being overwritten with its old value missing.
        (Operator::InPlace(_) | Operator::Append(_), _) => isolation = Isolation::RepeatableRead,
        // And what is read by one statement is written by another.
        (Operator::Transform(_), _) => isolation = Isolation::RepeatableRead,
        (Operator::Statement(op), _) => {
            if let StatementUndo::Copy { tables } = &op.undo {
                isolation = Isolation::RepeatableRead;
                locks.extend(copy::locks(tables));
            }
        }
        (
            Operator::Metadata(_) | Operator::Check(_) | Operator::Exec(_) | Operator::Shadow(_),
            _,
        ) => {}
    }
    let name = unit.application_name();
    transaction::begin(
        conn,
        &Spec {
            name: &name,
            isolation,
            read_only: false,
            lock_timeout: unit.timeouts.lock,
            statement_timeout: unit.timeouts.statement,
            application_name: Some(&name),
            settings: &unit.task.settings,
            locks: &locks,
        },
    )
    .await
}

async fn forward(tx: &mut PgConnection, unit: &UnitContext<'_>) -> Result<Option<u64>> {
    let range = unit.task.operator.cut().map(|_| unit.bounds);
    if ledger::unit::claim(tx, unit.key(), UnitState::Done, range).await? == Claim::Already {
        return Ok(None);
    }
    failpoint::at(failpoint::AFTER_LEDGER_ROW, unit.task).await;
    if draws(unit) && unit.task.operator.cut().is_none() {
        // What an attempt that failed has drawn is given back. (Of a task that is cut, other units
        // may have drawn meanwhile.)
        ledger::sequence::restore(tx, unit.holder.run, unit.task.id).await?;
    }
    let rows = match &unit.task.operator {
        Operator::Metadata(op) => metadata::run(tx, unit, op).await?,
        Operator::InPlace(op) => in_place::run(tx, unit, op).await?,
        Operator::Transform(op) => transform::run(tx, unit, op).await?,
        Operator::Append(op) => append::run(tx, unit, op).await?,
        Operator::Statement(op) => statement::run(tx, unit, op).await?,
        Operator::Check(op) => check::run(tx, unit, op).await?,
        Operator::Shadow(op) => shadow::run(tx, unit, op).await?,
        Operator::Exec(_) => return Err(not_here()),
    };
    failpoint::at(failpoint::AFTER_WORK, unit.task).await;
    ledger::unit::finish(tx, unit.key(), rows).await?;
    Ok(Some(rows))
}

async fn back(tx: &mut PgConnection, unit: &UnitContext<'_>) -> Result<Option<u64>> {
    let Some((touched, _)) = ledger::unit::claim_undo(tx, unit.key()).await? else {
        return Ok(None);
    };
    failpoint::at(failpoint::DURING_UNDO, unit.task).await;
    let rows = match &unit.task.operator {
        Operator::Metadata(op) => metadata::undo(tx, unit, op).await?,
        Operator::InPlace(op) => in_place::undo(tx, unit, op, touched).await?,
        Operator::Transform(op) => transform::undo(tx, unit, op, touched).await?,
        Operator::Append(op) => append::undo(tx, unit, op, touched).await?,
        Operator::Statement(op) => statement::undo(tx, unit, op).await?,
        Operator::Shadow(op) => shadow::undo(tx, unit, op).await?,
        Operator::Check(_) => 0,
        Operator::Exec(_) => return Err(not_here()),
    };
    if unit.options.on_bad_data == OnBadData::Quarantine {
        match ledger::bad_row::is_retry(unit.unit) {
            true => ledger::bad_row::quarantine_again(tx, unit.key()).await?,
            false => ledger::bad_row::forget(tx, unit.key()).await?,
        }
    }
    failpoint::at(failpoint::AFTER_WORK, unit.task).await;
    if draws(unit) {
        // Last, because it does not roll back.
        ledger::sequence::restore(tx, unit.holder.run, unit.task.id).await?;
    }
    Ok(Some(rows))
}

/// Whether the task may draw from sequences: where not, asking would cost every unit a round trip.
fn draws(unit: &UnitContext<'_>) -> bool {
    unit.task.sequences != Sequences::None
}

fn not_here() -> Error {
    Error::Refused("an external program cannot run inside a transaction: please report this".into())
}

/// An error's message as a unit would tell it: without values of users' rows.
#[must_use]
pub fn described(error: &Error) -> String {
    error::described(error, &[])
}

/// The parameters of a template, as texts: the instant where pinned, the unit's number, the lower
/// bound, the upper bound.
fn parameters(unit: &UnitContext<'_>, cut: Option<&Cut>) -> Vec<Option<String>> {
    let mut parameters = Vec::new();
    if unit.task.pinned_now {
        parameters.push(Some(unit.pinned_now.to_owned()));
    }
    parameters.push(Some(unit.unit.0.to_string()));
    if let Some(cut) = cut {
        for side in [&unit.bounds.lower, &unit.bounds.upper] {
            let values = side.as_deref().unwrap_or_default();
            parameters.extend((0..cut.key.len()).map(|i| values.get(i).cloned()));
        }
    }
    parameters
}

/// Runs a template once, planned for these very parameters.
async fn run_template(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    (template, kept, cut): (&Template, &KeptTable, Option<&Cut>),
) -> Result<u64> {
    let text = template.render(&kept_name(unit.holder.run, kept));
    let mut query = sqlx::query(upshift_shared::pg::sql(text)).persistent(false);
    for parameter in parameters(unit, cut) {
        query = query.bind(parameter);
    }
    let done = query
        .execute(tx)
        .await
        .map_err(Error::database(unit.task.label.clone()))?;
    Ok(done.rows_affected())
}
