//! A unit that fails for its data: its rows are searched for those at fault, on the worker's own
//! connection, in a transaction of the unit (fence, ledger row) that does the work piece by piece.
//!
//! Under policy `stop` that transaction is rolled back, whatever it found; the rows are recorded, and the
//! unit fails with a message that names table, column and statement, but no value. Under `quarantine` it
//! is the unit's transaction: the rest is done, the bad rows are recorded with it, and it commits; an
//! attempt that is killed leaves nothing. Where rows cannot be left out soundly, it stops all the same.

mod fault;
mod search;
mod subject;

use std::time::Duration;

use serde_json::Value;
use sqlx::PgConnection;
use upshift_shared::{
    Error, Result,
    clock::Stopwatch,
    ledger::{
        self,
        bad_row::{BadRow, BadRowState},
        fence,
        options::{OnBadData, RunOptions},
        unit::{Claim, UnitState},
    },
    pg::{
        execute_raw,
        transaction::{self, Spec, Transaction},
    },
};

use self::{
    fault::Namer,
    search::{Limit, Outcome, Stopped},
};
pub(super) use self::{
    search::{attempt, only},
    subject::Subject,
};
use super::{Direction, UnitContext, UnitError, begin, draws, error::described};
use crate::failpoint;

/// Under policy `stop`, so many rows are looked for in one unit.
const SOUGHT: usize = 100;

/// Whether a failure is about values of rows: data exceptions, integrity constraints, what triggers and
/// functions raise, a subquery with more than one row, a value that a function of ours refuses.
pub(super) fn is_of_data(error: &Error) -> bool {
    if matches!(error, Error::BadValue { .. }) {
        return true;
    }
    let code = error.sqlstate().unwrap_or_default();
    ["22", "23", "P0", "21"]
        .iter()
        .any(|class| code.starts_with(class))
}

/// Whether a unit's failure is looked into.
pub(super) fn concerns(unit: &UnitContext<'_>, error: &Error) -> bool {
    unit.direction == Direction::Do && is_of_data(error)
}

/// What is looked into.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure<'a> {
    /// What happened.
    pub(super) error: &'a Error,
    /// At COMMIT: what is checked at the end of a transaction.
    pub(super) is_deferred: bool,
}

/// What became of the search.
enum Verdict {
    /// The unit is done already.
    Already,
    /// It is done, without its bad rows.
    Done(u64),
    /// It is not, and this was found out.
    Failed(Report),
}

/// What is told of a failure.
#[derive(Default)]
struct Report {
    rows: Vec<BadRow>,
    /// Sentences about the search.
    remarks: Vec<String>,
    /// Whether these are all the rows that the failure may be about.
    is_complete: bool,
    /// Whether another run could go on without such rows.
    spares: bool,
}

/// Looks into a failure; does the unit without its bad rows, if that is the policy. Rows that it touched;
/// `None` when the ledger had the unit already. `watch`: since the unit began.
pub(super) async fn run(
    conn: &mut PgConnection,
    unit: &UnitContext<'_>,
    failure: Failure<'_>,
    watch: Stopwatch,
) -> Result<Option<u64>, UnitError> {
    let failed = |error: &Error| UnitError::new(error, unit, watch.elapsed());
    let report = match within(conn, unit, failure).await.map_err(|e| failed(&e))? {
        Verdict::Already => return Ok(None),
        Verdict::Done(rows) => {
            let within = expect_within(conn, unit).await;
            return within.map(|()| Some(rows)).map_err(|e| failed(&e));
        }
        Verdict::Failed(report) => report,
    };
    let recorded = record(conn, unit, failure.error, &report.rows).await;
    recorded.map_err(|e| failed(&e))?;
    let mut told = failed(failure.error);
    told.message = tell(unit, failure.error, &report);
    Err(told)
}

/// Units that search at once do not see each other's rows. So who has committed some counts again: the
/// last of them sees all, and ends the run.
async fn expect_within(conn: &mut PgConnection, unit: &UnitContext<'_>) -> Result<()> {
    let counts = ledger::bad_row::counts(conn, unit.holder.run).await?;
    let (rows, most) = (counts.quarantined + counts.retried, most(unit));
    if rows <= u64::from(most) {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "{rows} rows are quarantined, which is more than --max-bad-rows {most} allows; this unit is done \
         all the same: see `upshift quarantine list {}`, then roll back, or resume to go on until the \
         next bad row",
        unit.holder.run
    )))
}

async fn within(
    conn: &mut PgConnection,
    unit: &UnitContext<'_>,
    failure: Failure<'_>,
) -> Result<Verdict> {
    let millis = unit.options.search_millis;
    let millis = millis.unwrap_or(RunOptions::SEARCH_MILLIS);
    let remark = |text: String| {
        Ok(Verdict::Failed(Report {
            remarks: vec![text],
            ..Report::default()
        }))
    };
    if millis == 0 {
        return remark("its rows were not searched: --search-time is 0s".to_owned());
    }
    if super::outside::concerns(&unit.task.operator) {
        return remark("its rows cannot be searched: it is not in a transaction".to_owned());
    }
    failpoint::at(failpoint::BEFORE_LOCK, unit.task).await;
    let mut tx = begin(conn, unit).await?;
    failpoint::at(failpoint::AFTER_LOCK, unit.task).await;
    let range = unit.task.operator.cut().map(|_| unit.bounds);
    if ledger::unit::claim(&mut tx, unit.key(), UnitState::Done, range).await? == Claim::Already {
        tx.rollback().await?;
        return Ok(Verdict::Already);
    }
    failpoint::at(failpoint::AFTER_LEDGER_ROW, unit.task).await;
    let mut subject = match Subject::of(&mut tx, unit).await? {
        Ok(subject) => subject,
        Err(why) => {
            tx.rollback().await?;
            return remark(format!("its rows cannot be searched: {why}"));
        }
    };
    if failure.is_deferred {
        check_at_once(&mut tx, &mut subject).await?;
    }
    let limit = Limit {
        rows: sought(&mut tx, unit, &subject).await?,
        time: Duration::from_millis(millis),
        watch: Stopwatch::start(),
    };
    failpoint::at(failpoint::DURING_SEARCH, unit.task).await;
    let outcome = search::search(&mut tx, unit, &subject, limit).await?;
    let mut rows = Vec::with_capacity(outcome.found.len());
    let mut namer = Namer::new(&mut tx, unit, &subject, limit).await?;
    for found in &outcome.found {
        rows.push(namer.name(&mut tx, found).await?);
    }
    if leaves_out(unit, &subject) && outcome.stopped.is_none() {
        let done = outcome.part.rows;
        subject.verify(&mut tx, unit, outcome.part).await?;
        quarantine(tx, unit, &rows, done).await?;
        return Ok(Verdict::Done(done));
    }
    tx.rollback().await?;
    let remarks = remarks(unit, &subject, (&outcome, limit));
    let stops = unit.options.on_bad_data == OnBadData::Stop;
    let spares = stops && !rows.is_empty() && !draws(unit);
    Ok(Verdict::Failed(Report {
        rows,
        remarks,
        is_complete: outcome.stopped.is_none(),
        // What a pass does is done in place then.
        spares: spares && (subject.whole.is_none() || !subject.keeps()),
    }))
}

/// What is checked at the end of a transaction fails where no row is at work any more.
async fn check_at_once(tx: &mut PgConnection, subject: &mut Subject<'_>) -> Result<()> {
    let why = "with deferred constraints checked at once";
    subject.doubt.get_or_insert_with(|| why.to_owned());
    subject.whole.get_or_insert_with(|| why.to_owned());
    execute_raw(tx, "SET CONSTRAINTS ALL IMMEDIATE")
        .await
        .map_err(Error::database("checking deferred constraints"))?;
    Ok(())
}

/// Records the unit as done, so many rows of it, and these as left out.
async fn quarantine(
    mut tx: Transaction<'_>,
    unit: &UnitContext<'_>,
    rows: &[BadRow],
    done: u64,
) -> Result<()> {
    ledger::bad_row::record(&mut tx, unit.key(), BadRowState::Quarantined, rows).await?;
    failpoint::at(failpoint::AFTER_WORK, unit.task).await;
    ledger::unit::finish(&mut tx, unit.key(), done).await?;
    failpoint::at(failpoint::BEFORE_COMMIT, unit.task).await;
    unit.refuse_cancelled()?;
    tx.commit().await?;
    failpoint::at(failpoint::AFTER_COMMIT, unit.task).await;
    Ok(())
}

/// Whether the unit may be done without its bad rows.
fn leaves_out(unit: &UnitContext<'_>, subject: &Subject<'_>) -> bool {
    unit.options.on_bad_data == OnBadData::Quarantine && refused(unit, subject).is_none()
}

/// Why bad rows cannot be left out.
fn refused(unit: &UnitContext<'_>, subject: &Subject<'_>) -> Option<String> {
    if draws(unit) {
        return Some("ids drawn from a sequence would come out otherwise".to_owned());
    }
    subject.whole.clone()
}

/// How many rows are looked for.
async fn sought(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    subject: &Subject<'_>,
) -> Result<usize> {
    if !leaves_out(unit, subject) {
        return Ok(SOUGHT);
    }
    let counts = ledger::bad_row::counts(tx, unit.holder.run).await?;
    let most = u64::from(most(unit));
    let left = most.saturating_sub(counts.quarantined + counts.retried);
    Ok(usize::try_from(left).unwrap_or(usize::MAX))
}

fn most(unit: &UnitContext<'_>) -> u32 {
    let most = unit.options.max_bad_rows;
    most.unwrap_or(RunOptions::MAX_BAD_ROWS)
}

fn remarks(
    unit: &UnitContext<'_>,
    subject: &Subject<'_>,
    (outcome, limit): (&Outcome, Limit),
) -> Vec<String> {
    let mut remarks = Vec::new();
    match outcome.stopped {
        Some(Stopped::Many) if leaves_out(unit, subject) => remarks.push(format!(
            "that is more than --max-bad-rows {} allows",
            most(unit)
        )),
        Some(Stopped::Many) => remarks.push("there are more".to_owned()),
        Some(Stopped::Time) => remarks.push(format!(
            "the search ended after {} s (--search-time): there may be more",
            limit.time.as_secs_f64()
        )),
        None if outcome.found.is_empty() => {
            remarks.push("no row fails by itself: it is several together".to_owned());
        }
        None => {}
    }
    if let Some(why) = &subject.doubt {
        remarks.push(format!("approximately: searched {why}"));
    }
    if unit.options.on_bad_data == OnBadData::Quarantine
        && let Some(why) = refused(unit, subject)
    {
        remarks.push(format!("they cannot be quarantined: {why}"));
    }
    remarks
}

/// Records what was found, once the unit is rolled back. Where no row was, what the server said of the
/// failure: its detail may hold values, which are shown only on request.
async fn record(
    conn: &mut PgConnection,
    unit: &UnitContext<'_>,
    failure: &Error,
    rows: &[BadRow],
) -> Result<()> {
    let whole;
    let rows = match rows {
        [] => {
            whole = [fault::bad_row(unit, failure, |_| {})];
            &whole[..]
        }
        rows => rows,
    };
    let name = unit.application_name();
    let locks = [fence::LOCK.to_owned()];
    let mut spec = Spec::new(&name);
    spec.application_name = Some(&name);
    spec.locks = &locks;
    let mut tx = transaction::begin(conn, &spec).await?;
    fence::check(&mut tx, unit.holder).await?;
    ledger::bad_row::record(&mut tx, unit.key(), BadRowState::Found, rows).await?;
    tx.commit().await
}

/// The message: places, counts, and what to do; no key and no value.
fn tell(unit: &UnitContext<'_>, failure: &Error, report: &Report) -> String {
    let first = report.rows.first();
    let source = match first {
        Some(bad) => bad.source.clone(),
        None => {
            let source = unit.task.sources.first();
            source.map(ToString::to_string).unwrap_or_default()
        }
    };
    // It may speak of any of them.
    let rows = report.rows.iter().filter_map(|bad| bad.row.as_ref());
    let mut rows: Vec<&Value> = rows.collect();
    if !report.is_complete || rows.len() < report.rows.len() {
        rows.clear();
    }
    let said = described(failure, &rows);
    let mut text = format!("{source}: {said}");
    for (place, source, count) in places(unit, &report.rows) {
        let rows = if count == 1 { "row" } else { "rows" };
        text.push_str(&format!("\n  {count} bad {rows}: {place}, by {source}"));
    }
    if !report.remarks.is_empty() {
        text.push_str(&format!("\n  {}", report.remarks.join("; ")));
    }
    text.push_str(&format!(
        "\n  keys and values: upshift quarantine list {} --values",
        unit.holder.run
    ));
    if report.spares {
        text.push_str(
            "\n  to go on without such rows: roll back, and run with --on-bad-data quarantine",
        );
    }
    text
}

/// Rows counted by what is at fault, in the order in which they were found.
fn places(unit: &UnitContext<'_>, rows: &[BadRow]) -> Vec<(String, String, usize)> {
    let mut places: Vec<(String, String, usize)> = Vec::new();
    for bad in rows {
        let place = fault::place(unit, bad);
        let known = places
            .iter_mut()
            .find(|(p, source, _)| *p == place && *source == bad.source);
        match known {
            Some((_, _, count)) => *count += 1,
            None => places.push((place, bad.source.clone(), 1)),
        }
    }
    places
}
