//! How much is kept for the way back, by task: before-images, recorded keys, copies, hidden tables, and
//! tables that were swapped out.

use std::collections::HashMap;

use sqlx::{PgConnection, Row};

use super::unsigned;
use crate::{
    Error, Result,
    ids::{RunId, TaskId},
};

/// What a task keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Bytes on disk of its tables, with their indexes.
    pub bytes: u64,
    /// Columns that it has hidden: they live in rows of the table itself, so they have no size of their
    /// own.
    pub hidden_columns: u64,
}

// What is kept has the task in its name: see ARCHITECTURE.md. A table that goes meanwhile has no size.
const KEPT: &str = "-- upshift: sizes of what is kept
SELECT task, sum(bytes)::bigint AS bytes, sum(columns)::bigint AS columns
FROM (
    SELECT substring(substr(c.relname, length($2) + 1) FROM '^[0-9]+')::integer AS task,
           pg_total_relation_size(c.oid) AS bytes, 0 AS columns
    FROM pg_catalog.pg_class c
    WHERE c.relnamespace = to_regnamespace('upshift_kept')
      AND starts_with(c.relname, $2) AND c.relkind IN ('r', 'm')
    UNION ALL
    SELECT substring(substr(n.nspname, length($3) + 1) FROM '^[0-9]+')::integer,
           pg_total_relation_size(c.oid), 0
    FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
    WHERE starts_with(n.nspname, $3) AND right(n.nspname, 4) = '_old' AND c.relkind = 'r'
    UNION ALL
    SELECT d.task, 0, count(*) FROM upshift.deferred d
    WHERE d.run = $1::uuid AND d.kind = 'column' GROUP BY d.task
) AS kept
WHERE task IS NOT NULL
GROUP BY task";

/// All of a run, in one query. A table that a pass has swapped out counts for the task that numbers the
/// pass.
///
/// # Errors
/// When the database cannot be asked.
pub async fn sizes(conn: &mut PgConnection, run: RunId) -> Result<HashMap<TaskId, Kept>> {
    let failed = || Error::database("asking for the sizes of what is kept");
    let short = run.short();
    let rows = sqlx::query(KEPT)
        .bind(run.to_string())
        .bind(format!("{short}_t"))
        .bind(format!("{}_{short}_t", super::KEPT_SCHEMA))
        .fetch_all(conn)
        .await
        .map_err(failed())?;
    let number = |value: Option<i64>| u64::try_from(value.unwrap_or(0)).unwrap_or(0);
    rows.iter()
        .map(|row| {
            let task = TaskId(unsigned(row.try_get("task").map_err(failed())?));
            let kept = Kept {
                bytes: number(row.try_get("bytes").map_err(failed())?),
                hidden_columns: number(row.try_get("columns").map_err(failed())?),
            };
            Ok((task, kept))
        })
        .collect()
}
