//! Verification: what units counted and digested, before and after. A unit's row is written in the
//! transaction of its work, and only where it says more than the unit's row in `upshift.unit`.

use sqlx::{PgConnection, Row};

use super::{signed, unit::UnitKey, unsigned};
use crate::{
    Error, Result,
    ids::{RunId, TaskId},
};

/// Rows and their digests, before and after; of one unit, or of all units of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sides {
    /// Rows that it looked at.
    pub rows_before: u64,
    /// Rows that it left of them.
    pub rows_after: u64,
    /// The sum of the hashes of those rows that are left, as they were; `None` where none was made.
    pub digest_before: Option<String>,
    /// As they are.
    pub digest_after: Option<String>,
}

/// What the units of a task say together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSides {
    /// The task.
    pub task: TaskId,
    /// How many units have a row.
    pub units: u64,
    /// Sums; a digest is `None` where a unit has none.
    pub sides: Sides,
}

/// Records what a unit measured, in its transaction.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn record(tx: &mut PgConnection, key: UnitKey, sides: &Sides) -> Result<()> {
    sqlx::query(
        "-- record what a unit verified
        INSERT INTO upshift.verification AS v
            (run, task, unit, rows_before, rows_after, digest_before, digest_after)
        VALUES ($1::uuid, $2, $3, $4, $5, $6::text::numeric, $7::text::numeric)
        ON CONFLICT (run, task, unit) DO UPDATE
        SET rows_before = excluded.rows_before, rows_after = excluded.rows_after,
            digest_before = excluded.digest_before, digest_after = excluded.digest_after",
    )
    .bind(key.holder.run.to_string())
    .bind(signed(key.task.0))
    .bind(signed(key.unit.0))
    .bind(i64::try_from(sides.rows_before).unwrap_or(i64::MAX))
    .bind(i64::try_from(sides.rows_after).unwrap_or(i64::MAX))
    .bind(sides.digest_before.as_deref())
    .bind(sides.digest_after.as_deref())
    .execute(tx)
    .await
    .map_err(Error::database(format!(
        "recording what {} of {} verified",
        key.unit, key.task
    )))?;
    Ok(())
}

/// What the units of each task of a run say together, in order of tasks; of one task, where it is named.
/// None for a ledger that is older than verification.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn sums(
    conn: &mut PgConnection,
    run: RunId,
    task: Option<TaskId>,
) -> Result<Vec<TaskSides>> {
    let failed = || Error::database("reading what units verified");
    if !super::has_table(conn, "upshift.verification").await? {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "-- what the units of tasks verified
        SELECT task, count(*) AS units, sum(rows_before)::bigint AS rows_before,
               sum(rows_after)::bigint AS rows_after,
               CASE WHEN bool_and(digest_before IS NOT NULL) THEN sum(digest_before)::text END
                   AS digest_before,
               CASE WHEN bool_and(digest_after IS NOT NULL) THEN sum(digest_after)::text END
                   AS digest_after
        FROM upshift.verification
        WHERE run = $1::uuid AND ($2::integer IS NULL OR task = $2)
        GROUP BY task ORDER BY task",
    )
    .bind(run.to_string())
    .bind(task.map(|task| signed(task.0)))
    .fetch_all(conn)
    .await
    .map_err(failed())?;
    rows.iter()
        .map(|row| {
            let count = |name: &str| row.try_get(name).map(i64::unsigned_abs);
            Ok(TaskSides {
                task: TaskId(unsigned(row.try_get("task")?)),
                units: count("units")?,
                sides: Sides {
                    rows_before: count("rows_before")?,
                    rows_after: count("rows_after")?,
                    digest_before: row.try_get("digest_before")?,
                    digest_after: row.try_get("digest_after")?,
                },
            })
        })
        .collect::<sqlx::Result<_>>()
        .map_err(failed())
}

/// Units of a task whose work is in effect: how many there are, and the rows that they wrote.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn units_done(conn: &mut PgConnection, run: RunId, task: TaskId) -> Result<(u64, u64)> {
    let failed = || Error::database(format!("reading the units of {task}"));
    let row = sqlx::query(
        "-- units and rows of a task
        SELECT count(*) AS units, coalesce(sum(rows), 0)::bigint AS rows
        FROM upshift.unit WHERE run = $1::uuid AND task = $2 AND state = 'done'",
    )
    .bind(run.to_string())
    .bind(signed(task.0))
    .fetch_one(conn)
    .await
    .map_err(failed())?;
    let count = |name: &str| row.try_get(name).map(i64::unsigned_abs);
    Ok((
        count("units").map_err(failed())?,
        count("rows").map_err(failed())?,
    ))
}
