//! Cuts: where units begin and end, so that a resumed run cuts where the first one did.

use sqlx::{PgConnection, Row};

use super::{
    fence::{self, Holder},
    signed, unsigned,
};
use crate::{
    Error, Result,
    ids::{RunId, TaskId, UnitId},
};

/// A range of a key: `(lower, upper]`, one text value for each key column; `None` for no bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Exclusive.
    pub lower: Option<Vec<String>>,
    /// Inclusive.
    pub upper: Option<Vec<String>>,
}

/// A cut unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutRow {
    /// Its task.
    pub task: TaskId,
    /// Its number.
    pub unit: UnitId,
    /// Its range.
    pub bounds: Bounds,
}

/// Records units that were cut, numbered from `first` on, and whether there will be no more.
///
/// Where an attempt whose answer was lost has recorded units from `first` on, those stand, and are
/// returned with whether there will be no more: they may have been cut otherwise, and this attempt may
/// come so late that they have been given out.
///
/// # Errors
/// [`Error::Fenced`] when somebody else drives the run.
pub async fn insert(
    conn: &mut PgConnection,
    holder: Holder,
    task: TaskId,
    first: UnitId,
    cuts: &[Bounds],
    exhausted: bool,
) -> Result<Option<(Vec<Bounds>, bool)>> {
    let side = |pick: fn(&Bounds) -> &Option<Vec<String>>| -> Vec<Option<String>> {
        cuts.iter()
            .map(|bounds| pick(bounds).as_deref().map(array_literal))
            .collect()
    };
    let (lower, upper) = (side(|b| &b.lower), side(|b| &b.upper));
    fence::run(conn, "record cuts", holder, |tx, _scope| {
        let (lower, upper) = (lower.clone(), upper.clone());
        Box::pin(insert_within(
            tx, holder.run, task, first, lower, upper, exhausted,
        ))
    })
    .await
}

async fn insert_within(
    tx: &mut PgConnection,
    run: RunId,
    task: TaskId,
    first: UnitId,
    lower: Vec<Option<String>>,
    upper: Vec<Option<String>>,
    exhausted: bool,
) -> Result<Option<(Vec<Bounds>, bool)>> {
    let context = || Error::database(format!("recording cuts of {task}"));
    let units = i64::try_from(lower.len()).unwrap_or(i64::MAX);
    // An earlier attempt's transaction that is still open is waited for at the first unit.
    let begun: i64 = sqlx::query_scalar(
        "-- record cuts
        WITH c AS MATERIALIZED (
            SELECT $3 + position::integer - 1 AS unit, lower::text[], upper::text[]
            FROM unnest($4::text[], $5::text[]) WITH ORDINALITY AS c (lower, upper, position)
        ), begun AS (
            INSERT INTO upshift.cut (run, task, unit, lower, upper)
            SELECT $1::uuid, $2, unit, lower, upper FROM c WHERE unit = $3
            ON CONFLICT (run, task, unit) DO NOTHING RETURNING unit
        ), rest AS (
            INSERT INTO upshift.cut (run, task, unit, lower, upper)
            SELECT $1::uuid, $2, c.unit, c.lower, c.upper FROM c, begun WHERE c.unit > $3
        )
        SELECT count(*) FROM begun",
    )
    .bind(run.to_string())
    .bind(signed(task.0))
    .bind(signed(first.0))
    .bind(lower)
    .bind(upper)
    .fetch_one(&mut *tx)
    .await
    .map_err(context())?;
    if begun == 0 && units > 0 {
        return recorded_before(tx, run, task, first).await.map(Some);
    }
    sqlx::query(
        "-- record whether all is cut
        UPDATE upshift.task SET cut_exhausted = cut_exhausted OR $3
        WHERE run = $1::uuid AND task = $2",
    )
    .bind(run.to_string())
    .bind(signed(task.0))
    .bind(exhausted)
    .execute(tx)
    .await
    .map_err(context())?;
    Ok(None)
}

/// The units from `first` on, and whether there will be no more.
async fn recorded_before(
    tx: &mut PgConnection,
    run: RunId,
    task: TaskId,
    first: UnitId,
) -> Result<(Vec<Bounds>, bool)> {
    let context = || Error::database(format!("reading cuts of {task}"));
    let rows = sqlx::query(
        "-- cuts of an earlier attempt
        SELECT lower, upper, EXISTS (
            SELECT FROM upshift.task t WHERE t.run = $1::uuid AND t.task = $2 AND t.cut_exhausted
        ) AS exhausted
        FROM upshift.cut WHERE run = $1::uuid AND task = $2 AND unit >= $3 ORDER BY unit",
    )
    .bind(run.to_string())
    .bind(signed(task.0))
    .bind(signed(first.0))
    .fetch_all(tx)
    .await
    .map_err(context())?;
    let mut exhausted = false;
    let mut bounds = Vec::with_capacity(rows.len());
    for row in &rows {
        exhausted = row.try_get("exhausted").map_err(context())?;
        bounds.push(Bounds {
            lower: row.try_get("lower").map_err(context())?,
            upper: row.try_get("upper").map_err(context())?,
        });
    }
    Ok((bounds, exhausted))
}

/// Cuts a unit in two at `middle`: it keeps the lower part, `new` gets the upper one. Returns where it is
/// split, which is elsewhere when an attempt whose answer was lost has split it; `None` when it is done
/// already, by a worker that was believed lost: it stays whole then.
///
/// # Errors
/// [`Error::Fenced`] when somebody else drives the run; [`Error::Refused`] when the unit was never
/// cut.
pub async fn split(
    conn: &mut PgConnection,
    holder: Holder,
    task: TaskId,
    unit: UnitId,
    new: UnitId,
    middle: &[String],
) -> Result<Option<Vec<String>>> {
    let middle = middle.to_vec();
    fence::run(conn, "split a unit", holder, |tx, _scope| {
        let middle = middle.clone();
        Box::pin(split_within(tx, holder.run, task, unit, new, middle))
    })
    .await
}

async fn split_within(
    tx: &mut PgConnection,
    run: RunId,
    task: TaskId,
    unit: UnitId,
    new: UnitId,
    middle: Vec<String>,
) -> Result<Option<Vec<String>>> {
    let context = || Error::database(format!("splitting {unit} of {task}"));
    // Waits for whoever works on the unit: see `unit::claim`.
    let locked = sqlx::query(
        "-- hold a unit that is to be split
        SELECT FROM upshift.cut WHERE run = $1::uuid AND task = $2 AND unit = $3 FOR UPDATE",
    )
    .bind(run.to_string())
    .bind(signed(task.0))
    .bind(signed(unit.0))
    .fetch_optional(&mut *tx)
    .await
    .map_err(context())?;
    if locked.is_none() {
        return Err(Error::Refused(format!(
            "{unit} of {task} has no range to split"
        )));
    }
    let split_before: Option<Option<Vec<String>>> = sqlx::query_scalar(
        "-- was it split by an earlier attempt
        SELECT lower FROM upshift.cut WHERE run = $1::uuid AND task = $2 AND unit = $3",
    )
    .bind(run.to_string())
    .bind(signed(task.0))
    .bind(signed(new.0))
    .fetch_optional(&mut *tx)
    .await
    .map_err(context())?;
    if let Some(Some(before)) = split_before {
        return Ok(Some(before));
    }
    if super::unit::is_done(&mut *tx, run, task, unit).await? {
        return Ok(None);
    }
    sqlx::query(
        "-- split a unit
        WITH old AS (
            SELECT upper FROM upshift.cut WHERE run = $1::uuid AND task = $2 AND unit = $3
        ), kept AS (
            UPDATE upshift.cut SET upper = $5::text[]
            WHERE run = $1::uuid AND task = $2 AND unit = $3
        )
        INSERT INTO upshift.cut (run, task, unit, lower, upper)
        SELECT $1::uuid, $2, $4, $5::text[], old.upper FROM old",
    )
    .bind(run.to_string())
    .bind(signed(task.0))
    .bind(signed(unit.0))
    .bind(signed(new.0))
    .bind(array_literal(&middle))
    .execute(tx)
    .await
    .map_err(context())?;
    Ok(Some(middle))
}

/// All cuts of a run, in order.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn load(conn: &mut PgConnection, run: RunId) -> Result<Vec<CutRow>> {
    let rows = sqlx::query(
        "-- load the run's cuts
        SELECT task, unit, lower, upper FROM upshift.cut WHERE run = $1::uuid ORDER BY task, unit",
    )
    .bind(run.to_string())
    .fetch_all(conn)
    .await
    .map_err(Error::database("reading cuts"))?;
    let failed = || Error::database("reading cuts");
    rows.iter()
        .map(|row| {
            Ok(CutRow {
                task: TaskId(unsigned(row.try_get("task").map_err(failed())?)),
                unit: UnitId(unsigned(row.try_get("unit").map_err(failed())?)),
                bounds: Bounds {
                    lower: row.try_get("lower").map_err(failed())?,
                    upper: row.try_get("upper").map_err(failed())?,
                },
            })
        })
        .collect()
}

/// A one-dimensional array as PostgreSQL reads it: `unnest` would flatten an array of arrays.
pub(super) fn array_literal(values: &[String]) -> String {
    let quoted: Vec<String> = values
        .iter()
        .map(|value| format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    format!("{{{}}}", quoted.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn array_literals_are_quoted() {
        let values = ["a,b".to_owned(), "q\"\\".to_owned(), String::new()];
        assert_eq!(array_literal(&values), r#"{"a,b","q\"\\",""}"#);
    }
}
