//! Did an application write tables that a pass has built anew? The way back swaps the old table in
//! again, and what was written since would be lost: so it is looked for before anything is taken
//! back, and found, it stops the rollback unless that is forced.
//!
//! Where nobody else is connected, the server's own counters tell in no time: the table has just the
//! rows that were put into it (a session's counts are in when it has ended). Where they do not tell,
//! the table is scanned for rows that no unit of the run wrote: a unit's ledger row and what it wrote
//! have the same `xmin`, and so have a unit's ledger row and what its way back wrote
//! (`upshift.taken_back`, once the ledger has forgotten the unit).

use sqlx::Row;
use upshift_shared::{
    Error, Result,
    ids::{RunId, TaskId},
    ledger,
    pg::{self, PgConnection},
    plan::{Operator, Plan, Shadow, ShadowStage, Task},
};

use crate::figures::counted;

/// What an application wrote to tables of which a swap back would lose it, in words; `None` where it wrote
/// none. `taken`: whether a task is in effect and taken back.
///
/// # Errors
/// When the database cannot be asked.
pub(super) async fn find(
    conn: &mut PgConnection,
    run: RunId,
    plan: &Plan,
    taken: &dyn Fn(TaskId) -> bool,
) -> Result<Option<String>> {
    let mut found = Vec::new();
    let mut filled = None;
    for task in &plan.tasks {
        let Some(op) = swap(task).filter(|_| taken(task.id)) else {
            continue;
        };
        // A later pass has put the table away; what counts is the one in use.
        let later = |other: &&Task| {
            other.id > task.id
                && swap(other).is_some_and(|o| o.table == op.table)
                && taken(other.id)
        };
        if plan.tasks.iter().any(|other| later(&other)) {
            continue;
        }
        if filled.is_none() {
            filled = Some(ledger::unit::counts(conn, run).await?);
        }
        let rows_of = |id: TaskId| {
            let counts = filled.iter().flatten();
            counts
                .filter(|(task, _)| *task == id)
                .map(|(_, count)| count.rows)
                .sum::<u64>()
        };
        let filled_rows = fill_of(plan, op).map_or(0, |fill| rows_of(fill.id));
        if is_untouched(conn, op, filled_rows).await? {
            continue;
        }
        let expected = expected_rows(plan, task, op, &rows_of);
        found.extend(scan(conn, run, op, expected).await?);
    }
    Ok((!found.is_empty()).then(|| found.join("; ")))
}

fn swap(task: &Task) -> Option<&Shadow> {
    match &task.operator {
        Operator::Shadow(op) if matches!(op.stage, ShadowStage::Swap { .. }) => Some(op),
        _ => None,
    }
}

fn fill_of<'p>(plan: &'p Plan, op: &Shadow) -> Option<&'p Task> {
    plan.tasks.iter().find(|task| match &task.operator {
        Operator::Shadow(other) => {
            other.pass == op.pass && matches!(other.stage, ShadowStage::Fill { .. })
        }
        _ => false,
    })
}

/// Rows that the table has where only the run wrote it; `None` where later tasks wrote it in a way
/// whose rows are not counted.
pub(crate) fn expected_rows(
    plan: &Plan,
    swap: &Task,
    op: &Shadow,
    rows_of: &dyn Fn(TaskId) -> u64,
) -> Option<u64> {
    use upshift_shared::plan::InPlaceAction;
    let fill = fill_of(plan, op)?;
    let relation = swap
        .tables
        .iter()
        .find(|used| used.table == op.table.to_string())?
        .relation;
    let mut rows = rows_of(fill.id);
    let writes = |task: &&Task| {
        task.id > swap.id
            && task
                .tables
                .iter()
                .any(|used| used.write && used.relation == relation)
    };
    for task in plan.tasks.iter().filter(writes) {
        let (own, count) = (op.table.to_string(), rows_of(task.id));
        match &task.operator {
            Operator::InPlace(later) if later.table == own => {
                if later.action == InPlaceAction::Delete {
                    rows = rows.checked_sub(count)?;
                }
            }
            Operator::Append(later) if later.table == own => rows += count,
            Operator::Metadata(_) | Operator::Check(_) | Operator::Shadow(_) => {}
            _ => return None,
        }
    }
    Some(rows)
}

/// Whether the server's counters say that the table was written by its fill alone.
async fn is_untouched(conn: &mut PgConnection, op: &Shadow, filled: u64) -> Result<bool> {
    let failed = || Error::database(format!("looking for writes to {}", op.table.plain()));
    let row = sqlx::query(
        "-- upshift: counters of a table
        SELECT pg_stat_get_tuples_inserted(c.oid) = $2
               AND pg_stat_get_tuples_updated(c.oid) = 0
               AND pg_stat_get_tuples_deleted(c.oid) = 0
               AND current_setting('track_counts')::boolean
               AND NOT EXISTS (
                   SELECT FROM pg_stat_activity a
                   WHERE a.datname = current_database() AND a.backend_type = 'client backend'
                     AND a.pid <> pg_backend_pid()
                     AND coalesce(a.application_name, '') !~ '^upshift') AS untouched
        FROM pg_class c WHERE c.oid = to_regclass($1)",
    )
    .bind(op.table.to_string())
    .bind(i64::try_from(filled).unwrap_or(i64::MAX))
    .persistent(false)
    .fetch_optional(conn)
    .await
    .map_err(failed())?;
    row.map_or(Ok(false), |row| {
        let untouched: Option<bool> = row.try_get("untouched")?;
        Ok(untouched.unwrap_or(false))
    })
    .map_err(failed())
}

async fn scan(
    conn: &mut PgConnection,
    run: RunId,
    op: &Shadow,
    expected: Option<u64>,
) -> Result<Option<String>> {
    let table = op.table.plain();
    let failed = || Error::database(format!("looking for writes to {table}"));
    let there: Option<bool> = sqlx::query("-- is it there\nSELECT to_regclass($1) IS NOT NULL")
        .bind(op.table.to_string())
        .persistent(false)
        .fetch_one(&mut *conn)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed())?;
    if there != Some(true) {
        return Ok(None);
    }
    let own: Vec<String> = sqlx::query(
        "-- upshift: the transactions of a run
        SELECT xmin::text AS xid FROM upshift.unit WHERE run = $1::uuid
        UNION
        SELECT xid::text FROM upshift.taken_back WHERE run = $1::uuid",
    )
    .bind(run.to_string())
    .fetch_all(&mut *conn)
    .await
    .and_then(|rows| rows.iter().map(|row| row.try_get("xid")).collect())
    .map_err(failed())?;
    let row = sqlx::query(pg::sql(format!(
        "/* upshift: rows that no unit wrote */
        SELECT count(*) AS rows,
               count(*) FILTER (WHERE NOT t.xmin = ANY ($1::text[]::xid[])) AS written
        FROM ONLY {} AS t",
        op.table
    )))
    .bind(own)
    .persistent(false)
    .fetch_one(conn)
    .await
    .map_err(failed())?;
    let rows: i64 = row.try_get("rows").map_err(failed())?;
    let written: i64 = row.try_get("written").map_err(failed())?;
    let (rows, written) = (rows.unsigned_abs(), written.unsigned_abs());
    // What is not there any more was deleted; what is new is among those written.
    let gone = expected.map_or(0, |expected| {
        expected.saturating_sub(rows - written.min(rows))
    });
    let rows = |count| counted(count, "row");
    Ok(match (written, gone) {
        (0, 0) => None,
        (0, gone) => Some(format!("{table}: {} deleted", rows(gone))),
        (written, 0) => Some(format!("{table}: {} added", rows(written))),
        (written, gone) => Some(format!(
            "{table}: {} added or changed, {gone} changed or deleted",
            rows(written)
        )),
    })
}
