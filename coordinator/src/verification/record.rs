//! What a run leaves, recorded when it is prepared: how many rows the tables have that it wrote or built,
//! with `--verify full` their digests, and every object of the schema.
//!
//! It only reads until all is known, and then writes it at once: whoever is killed before does it again.
//! The cost is in proportion to the run's: the rows of a table that a pass built are the sum of its units;
//! a large table of which little was written is not counted at all ([`LARGE`], [`LITTLE`]).

use std::collections::HashMap;

use upshift_shared::{
    Error, Result,
    ids::TaskId,
    ledger::{
        self, Holder,
        left::LeftTable,
        options::Verify,
        run::{Change, RunError, RunState},
    },
    pg::{PgConnection, Target},
    plan::{Operator, Plan, ShadowStage},
};

use super::{
    checks,
    measure::{self, Job, Want},
    tables::{self, Found},
};
use crate::driver::rollback::written::expected_rows;

/// A table of fewer rows is counted in any case: that takes a tenth of a second.
const LARGE: u64 = 1_000_000;
/// Writing a row costs about as much as counting so many.
const LITTLE: u64 = 100;
/// Connections that read at once.
const READERS: u64 = 4;
/// Opening one takes as long as counting so many rows, or as digesting a tenth of them.
const ROWS_OF_A_READER: u64 = 100_000;

/// Asks the lasting checks, and records what the run leaves. Where a check does not hold, the run is
/// `failed`.
///
/// # Errors
/// [`Error::Refused`] with the check that does not hold; or when the database cannot be read.
pub(crate) async fn prepared(
    conn: &mut PgConnection,
    target: &Target,
    (holder, plan): (Holder, &Plan),
    verify: Verify,
) -> Result<()> {
    if let Some(failed) = checks::ask(conn, plan).await?.into_iter().next() {
        let message = format!(
            "check failed after the whole run: {}; mend the data, then resume\n  --> {}",
            failed.message, failed.source
        );
        let error = RunError {
            message: message.clone(),
            source: Some(failed.source),
            sqlstate: None,
        };
        let change = Change {
            error: Some(&error),
            ..Change::default()
        };
        ledger::run::change_state(conn, holder, RunState::Failed, change).await?;
        return Err(Error::Refused(message));
    }
    left(conn, target, (holder, plan), verify).await
}

/// Records what the run leaves after quarantined rows were retried, and asks the lasting checks. The run is
/// `prepared` whatever they say.
///
/// # Errors
/// [`Error::Refused`] with the check that does not hold; or when the database cannot be read.
pub(crate) async fn retried(
    conn: &mut PgConnection,
    target: &Target,
    (holder, plan): (Holder, &Plan),
    verify: Verify,
) -> Result<()> {
    left(conn, target, (holder, plan), verify).await?;
    match checks::ask(conn, plan).await?.into_iter().next() {
        None => Ok(()),
        Some(failed) => Err(Error::Refused(format!(
            "check failed after the retry: {}; mend the data, or take the run back\n  --> {}",
            failed.message, failed.source
        ))),
    }
}

async fn left(
    conn: &mut PgConnection,
    target: &Target,
    (holder, plan): (Holder, &Plan),
    verify: Verify,
) -> Result<()> {
    if verify == Verify::Off {
        return Ok(());
    }
    let amounts = amounts(conn, holder, plan).await?;
    let names: Option<Vec<String>> = plan
        .written
        .as_ref()
        .map(|written| written.iter().map(|table| table.table.clone()).collect());
    let mut tx = measure::begin(conn).await?;
    let found = tables::find(&mut tx, names.as_deref()).await?;
    let mut left: Vec<LeftTable> = found
        .iter()
        .map(|found| unmeasured(found, &amounts))
        .collect();
    let wanted: Vec<usize> = (0..found.len())
        .filter(|place| match verify {
            Verify::Full => true,
            _ => left[*place].rows.is_none() && amounts.is_worth_counting(&found[*place]),
        })
        .collect();
    let want = match verify {
        Verify::Full => Want::Digest,
        Verify::Counts | Verify::Off => Want::Rows,
    };
    let jobs: Vec<Job> = wanted
        .iter()
        .map(|place| Job {
            table: found[*place].table.clone(),
            want,
        })
        .collect();
    let rows: u64 = wanted.iter().map(|place| found[*place].rows).sum();
    let rows = match want {
        Want::Rows => rows,
        Want::Digest => rows.saturating_mul(10),
    };
    let readers = (1 + rows / ROWS_OF_A_READER).min(READERS) as usize;
    let measured = measure::measure(&mut tx, target, &jobs, readers).await?;
    tx.rollback().await?;
    for (place, measured) in wanted.into_iter().zip(measured) {
        left[place].rows = Some(measured.rows);
        left[place].content = measured.content;
    }
    ledger::left::record(conn, holder, verify, &left).await
}

fn unmeasured(found: &Found, amounts: &Amounts) -> LeftTable {
    let name = found.table.name.to_string();
    // What was written by way of a parent is not among the sums.
    let alone = found.roots.iter().all(|root| *root == name);
    LeftTable {
        rows: amounts.exact.get(&name).copied().filter(|_| alone),
        relation: found.relation,
        content: None,
        name,
    }
}

/// What the run's own sums say of tables, by their names after it.
#[derive(Debug, Default)]
struct Amounts {
    /// Rows that they have.
    exact: HashMap<String, u64>,
    /// Rows that were written.
    touched: HashMap<String, u64>,
}

impl Amounts {
    fn is_worth_counting(&self, found: &Found) -> bool {
        let name = found.table.name.to_string();
        let names = found.roots.iter().chain([&name]);
        let touched: u64 = names.filter_map(|name| self.touched.get(name)).sum();
        found.rows <= LARGE || touched.saturating_mul(LITTLE) >= found.rows
    }
}

async fn amounts(conn: &mut PgConnection, holder: Holder, plan: &Plan) -> Result<Amounts> {
    let mut amounts = Amounts::default();
    // What is opaque may have written any table.
    let Some(written) = &plan.written else {
        return Ok(amounts);
    };
    let names: HashMap<u32, &String> = written
        .iter()
        .map(|table| (table.relation, &table.table))
        .collect();
    let counts: HashMap<TaskId, u64> = ledger::unit::counts(conn, holder.run)
        .await?
        .into_iter()
        .map(|(task, count)| (task, count.rows))
        .collect();
    let rows_of = |task: TaskId| counts.get(&task).copied().unwrap_or_default();
    for task in &plan.tasks {
        let writes = task.tables.iter().filter(|used| used.write);
        for name in writes.filter_map(|used| names.get(&used.relation)) {
            *amounts.touched.entry((*name).clone()).or_default() += rows_of(task.id);
        }
        let Operator::Shadow(op) = &task.operator else {
            continue;
        };
        let own = task
            .tables
            .iter()
            .find(|used| used.table == op.table.to_string())
            .and_then(|used| names.get(&used.relation));
        if let (ShadowStage::Swap { .. }, Some(name)) = (&op.stage, own) {
            // A later pass over the same table has the last word.
            match expected_rows(plan, task, op, &rows_of) {
                Some(rows) => amounts.exact.insert((*name).clone(), rows),
                None => amounts.exact.remove(*name),
            };
        }
    }
    Ok(amounts)
}
