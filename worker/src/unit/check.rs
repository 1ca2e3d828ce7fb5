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
    match ask(tx, &unit.task.label, op).await? {
        None => Ok(0),
        Some(failed) => Err(Error::Refused(format!(
            "check failed: {failed}; mend the data, then resume"
        ))),
    }
}

/// Asks a check; gives what its author said it means, and how many rows there are, where it does not
/// hold.
///
/// # Errors
/// When the query cannot be run.
pub async fn ask(conn: &mut PgConnection, label: &str, op: &Check) -> Result<Option<String>> {
    let statement = format!(
        "/* upshift: check */ SELECT pg_catalog.count(*) FROM (SELECT 1 FROM (\n{}\n) AS upshift_rows \
         LIMIT {COUNTED}) AS upshift_counted",
        op.query.trim_end().trim_end_matches(';'),
    );
    let found: i64 = sqlx::query(sql(statement))
        .persistent(false)
        .fetch_one(conn)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(Error::database(label.to_owned()))?;
    let rows = match found {
        0 => return Ok(None),
        COUNTED => "1000 rows or more".to_owned(),
        1 => "1 row".to_owned(),
        rows => format!("{rows} rows"),
    };
    Ok(Some(format!("{} ({rows})", op.message)))
}
