//! Check: a query that must return no row.
//!
//! Advances its unit to `done`. Aborted when there is a row: the message says what the author said it
//! means and how many rows there are, never what is in them. Nothing to undo.

use sqlx::{PgConnection, Row};
use upshift_shared::{Error, Result, pg::sql, plan::Check};

use super::UnitContext;

/// Rows are counted up to here: a check that fails tends to fail for a whole table.
const COUNTED: i64 = 1000;

/// Runs the query; returns the rows that it looked at, which is none.
pub(super) async fn run(tx: &mut PgConnection, unit: &UnitContext<'_>, op: &Check) -> Result<u64> {
    let statement = format!(
        "/* upshift: check */ SELECT pg_catalog.count(*) FROM (SELECT 1 FROM (\n{}\n) AS upshift_rows \
         LIMIT {COUNTED}) AS upshift_counted",
        op.query.trim_end().trim_end_matches(';'),
    );
    let found: i64 = sqlx::query(sql(statement))
        .persistent(false)
        .fetch_one(tx)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(Error::database(unit.task.label.clone()))?;
    match found {
        0 => Ok(0),
        COUNTED => Err(refusal(op, "1000 rows or more")),
        1 => Err(refusal(op, "1 row")),
        rows => Err(refusal(op, &format!("{rows} rows"))),
    }
}

fn refusal(op: &Check, rows: &str) -> Error {
    Error::Refused(format!(
        "check failed: {} ({rows}); mend the data, then resume",
        op.message
    ))
}
