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
/// # Errors
/// [`Error::Fenced`] when somebody else drives the run.
pub async fn insert(
    conn: &mut PgConnection,
    holder: Holder,
    task: TaskId,
    first: UnitId,
    cuts: &[Bounds],
    exhausted: bool,
) -> Result<()> {
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
) -> Result<()> {
    sqlx::query(
        "-- record cuts
        INSERT INTO upshift.cut (run, task, unit, lower, upper)
        SELECT $1::uuid, $2, $3 + c.position::integer - 1, c.lower::text[], c.upper::text[]
        FROM unnest($4::text[], $5::text[]) WITH ORDINALITY AS c (lower, upper, position)",
    )
    .bind(run.to_string())
    .bind(signed(task.0))
    .bind(signed(first.0))
    .bind(lower)
    .bind(upper)
    .execute(&mut *tx)
    .await
    .map_err(Error::database(format!("recording cuts of {task}")))?;
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
    .map_err(Error::database(format!("recording cuts of {task}")))?;
    Ok(())
}

/// Cuts a unit in two at `middle`: it keeps the lower part, `new` gets the upper one. `false` when it
/// is done already, by a worker that was believed lost: it stays whole then.
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
) -> Result<bool> {
    let middle = array_literal(middle);
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
    middle: String,
) -> Result<bool> {
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
    if super::unit::is_done(&mut *tx, run, task, unit).await? {
        return Ok(false);
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
    .bind(middle)
    .execute(tx)
    .await
    .map_err(context())?;
    Ok(true)
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
