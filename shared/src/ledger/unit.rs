//! Units: the rows that say what is in effect. A unit's row is written in the transaction of its
//! work, so there is no other truth to compare it with.

use std::collections::HashSet;

use sqlx::{PgConnection, Row};

use super::{
    cut::{Bounds, array_literal},
    fence::{self, Holder},
    signed, unsigned,
};
use crate::{
    Error, Result,
    ids::{RunId, TaskId, UnitId},
};

/// Where a unit stands. Durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitState {
    /// Work that cannot be in a transaction has begun; nobody knows how far it came. Set by the
    /// worker before it.
    Started,
    /// Its work is in effect. Set by the worker, in the transaction of the work.
    Done,
    /// Its work was taken back. Set by the worker, in the transaction of the undo.
    Undone,
}

impl UnitState {
    /// As the ledger writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Done => "done",
            Self::Undone => "undone",
        }
    }

    fn parse(text: &str) -> Result<Self> {
        match text {
            "started" => Ok(Self::Started),
            "done" => Ok(Self::Done),
            "undone" => Ok(Self::Undone),
            other => Err(Error::Format(format!(
                "the ledger has a unit in state \"{other}\", which this program does not know"
            ))),
        }
    }
}

/// A unit's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitRow {
    /// Its task.
    pub task: TaskId,
    /// Its number.
    pub unit: UnitId,
    /// Where it stands.
    pub state: UnitState,
    /// Rows that it touched.
    pub rows: u64,
}

/// Which unit of which run, and who works on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitKey {
    /// Who.
    pub holder: Holder,
    /// The task.
    pub task: TaskId,
    /// The unit.
    pub unit: UnitId,
}

/// What became of an attempt to claim a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It is this transaction's.
    Fresh,
    /// It is this one's, and an earlier attempt outside a transaction had begun.
    Again,
    /// It is done already (or, for an undo, not in effect).
    Already,
}

/// Claims a unit: one statement that inserts its row if the epoch is still the holder's and the unit
/// not in effect. To be called behind [`fence::LOCK`].
///
/// A unit may be split after it was given out: a worker that was believed lost still has its old
/// range then, and must not do the part that is another unit now. So a unit with a range holds its
/// row in `upshift.cut` to the end of its transaction (a split waits for it, and finds it done), and
/// is refused where that row says another range. Under REPEATABLE READ a split that commits between
/// snapshot and lock fails it with a serialisation error, and it is tried again.
///
/// # Errors
/// [`Error::Fenced`] when the run was taken over; [`Error::Refused`] when the unit was split.
pub async fn claim(
    tx: &mut PgConnection,
    key: UnitKey,
    state: UnitState,
    bounds: Option<&Bounds>,
) -> Result<Claim> {
    let side = |side: fn(&Bounds) -> &Option<Vec<String>>| {
        bounds.and_then(|bounds| side(bounds).as_deref().map(array_literal))
    };
    let row = sqlx::query(
        "-- claim a unit
        WITH before AS MATERIALIZED (
            SELECT state FROM upshift.unit WHERE run = $1::uuid AND task = $3 AND unit = $4
        ), held AS MATERIALIZED (
            SELECT lower, upper FROM upshift.cut
            WHERE $6 AND run = $1::uuid AND task = $3 AND unit = $4 FOR SHARE
        )
        INSERT INTO upshift.unit AS u (run, task, unit, state, epoch)
        SELECT f.run, $3, $4, $5, f.epoch
        FROM upshift.fence f WHERE f.run = $1::uuid AND f.epoch = $2
            AND NOT EXISTS (
                SELECT FROM held WHERE lower IS DISTINCT FROM $7::text[]
                    OR upper IS DISTINCT FROM $8::text[]
            )
        ON CONFLICT (run, task, unit) DO UPDATE
        SET state = excluded.state, epoch = excluded.epoch, rows = 0,
            finished_at = clock_timestamp()
        WHERE u.state <> 'done'
        RETURNING (SELECT state FROM before) AS before",
    )
    .bind(key.holder.run.to_string())
    .bind(key.holder.epoch.0)
    .bind(signed(key.task.0))
    .bind(signed(key.unit.0))
    .bind(state.as_str())
    .bind(bounds.is_some())
    .bind(side(|bounds| &bounds.lower))
    .bind(side(|bounds| &bounds.upper))
    .fetch_optional(&mut *tx)
    .await
    .map_err(Error::database(format!(
        "claiming {} of {}",
        key.unit, key.task
    )))?;
    let Some(row) = row else {
        // Nothing was inserted: fenced, done, or split.
        fence::check(tx, key.holder).await?;
        return if is_done(tx, key.holder.run, key.task, key.unit).await? {
            Ok(Claim::Already)
        } else {
            Err(Error::Refused(format!(
                "{} of {} was split since it was given out",
                key.unit, key.task
            )))
        };
    };
    let before: Option<String> = row.try_get("before").map_err(Error::database(format!(
        "claiming {} of {}",
        key.unit, key.task
    )))?;
    Ok(match before.as_deref() {
        Some("started") => Claim::Again,
        _ => Claim::Fresh,
    })
}

/// Whether the ledger has the unit as done.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn is_done(
    conn: &mut PgConnection,
    run: RunId,
    task: TaskId,
    unit: UnitId,
) -> Result<bool> {
    sqlx::query(
        "-- is a unit done
        SELECT FROM upshift.unit
        WHERE run = $1::uuid AND task = $2 AND unit = $3 AND state = 'done'",
    )
    .bind(run.to_string())
    .bind(signed(task.0))
    .bind(signed(unit.0))
    .fetch_optional(conn)
    .await
    .map(|row| row.is_some())
    .map_err(Error::database(format!("reading {unit} of {task}")))
}

/// Records the rows that a unit touched and, for work outside a transaction, that it is done.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn finish(tx: &mut PgConnection, key: UnitKey, rows: u64) -> Result<()> {
    sqlx::query(
        "-- finish a unit
        UPDATE upshift.unit SET state = 'done', rows = $4, finished_at = clock_timestamp()
        WHERE run = $1::uuid AND task = $2 AND unit = $3",
    )
    .bind(key.holder.run.to_string())
    .bind(signed(key.task.0))
    .bind(signed(key.unit.0))
    .bind(i64::try_from(rows).unwrap_or(i64::MAX))
    .execute(tx)
    .await
    .map_err(Error::database(format!(
        "finishing {} of {}",
        key.unit, key.task
    )))?;
    Ok(())
}

/// Claims a unit's undo: sets its row from `done` (or `started`) to `undone`; returns the rows that
/// it had touched, and whether it was only `started`. `None` when it is not in effect.
///
/// # Errors
/// [`Error::Fenced`] when the run was taken over.
pub async fn claim_undo(tx: &mut PgConnection, key: UnitKey) -> Result<Option<(u64, UnitState)>> {
    let context = || format!("claiming the undo of {} of {}", key.unit, key.task);
    let row = sqlx::query(
        "-- claim the undo of a unit
        WITH before AS MATERIALIZED (
            SELECT state FROM upshift.unit WHERE run = $1::uuid AND task = $3 AND unit = $4
        )
        UPDATE upshift.unit u
        SET state = 'undone', epoch = f.epoch, finished_at = clock_timestamp()
        FROM upshift.fence f
        WHERE f.run = $1::uuid AND f.epoch = $2
          AND u.run = f.run AND u.task = $3 AND u.unit = $4 AND u.state <> 'undone'
        RETURNING u.rows, (SELECT state FROM before) AS before",
    )
    .bind(key.holder.run.to_string())
    .bind(key.holder.epoch.0)
    .bind(signed(key.task.0))
    .bind(signed(key.unit.0))
    .fetch_optional(&mut *tx)
    .await
    .map_err(Error::database(context()))?;
    let Some(row) = row else {
        fence::check(tx, key.holder).await?;
        return Ok(None);
    };
    let rows: i64 = row.try_get("rows").map_err(Error::database(context()))?;
    let before: String = row.try_get("before").map_err(Error::database(context()))?;
    Ok(Some((
        u64::try_from(rows).unwrap_or(0),
        UnitState::parse(&before)?,
    )))
}

/// Sets every unit of a task that is in effect to `undone`: for a task whose work goes as a whole.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn undo_all(tx: &mut PgConnection, run: RunId, task: TaskId) -> Result<()> {
    sqlx::query(
        "-- all units of a task are undone
        UPDATE upshift.unit SET state = 'undone', finished_at = clock_timestamp()
        WHERE run = $1::uuid AND task = $2 AND state <> 'undone'",
    )
    .bind(run.to_string())
    .bind(signed(task.0))
    .execute(tx)
    .await
    .map_err(Error::database(format!("taking {task} back")))?;
    Ok(())
}

/// All units of a run that have a row, in order.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn load(conn: &mut PgConnection, run: RunId) -> Result<Vec<UnitRow>> {
    let rows = sqlx::query(
        "-- load the run's units
        SELECT task, unit, state, rows FROM upshift.unit WHERE run = $1::uuid ORDER BY task, unit",
    )
    .bind(run.to_string())
    .fetch_all(conn)
    .await
    .map_err(Error::database("reading units"))?;
    let failed = || Error::database("reading units");
    rows.iter()
        .map(|row| {
            let rows: i64 = row.try_get("rows").map_err(failed())?;
            Ok(UnitRow {
                task: TaskId(unsigned(row.try_get("task").map_err(failed())?)),
                unit: UnitId(unsigned(row.try_get("unit").map_err(failed())?)),
                state: UnitState::parse(row.try_get("state").map_err(failed())?)?,
                rows: u64::try_from(rows).unwrap_or(0),
            })
        })
        .collect()
}

/// The tasks of a run that have a unit whose work is, or may be, in effect.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn in_effect(conn: &mut PgConnection, run: RunId) -> Result<HashSet<TaskId>> {
    let failed = || Error::database("asking what is in effect");
    let rows = sqlx::query(
        "-- tasks that are in effect
        SELECT DISTINCT task FROM upshift.unit WHERE run = $1::uuid AND state <> 'undone'",
    )
    .bind(run.to_string())
    .fetch_all(conn)
    .await
    .map_err(failed())?;
    rows.iter()
        .map(|row| Ok(TaskId(unsigned(row.try_get("task").map_err(failed())?))))
        .collect()
}

/// How much of a task is in effect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskCount {
    /// Units done.
    pub units: u64,
    /// Rows that they touched.
    pub rows: u64,
}

/// Units done and their rows, by task: for `status`.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn counts(conn: &mut PgConnection, run: RunId) -> Result<Vec<(TaskId, TaskCount)>> {
    let rows = sqlx::query(
        "-- count the run's units
        SELECT task, count(*) AS units, sum(rows)::bigint AS rows
        FROM upshift.unit WHERE run = $1::uuid AND state = 'done' GROUP BY task ORDER BY task",
    )
    .bind(run.to_string())
    .fetch_all(conn)
    .await
    .map_err(Error::database("counting units"))?;
    let failed = || Error::database("counting units");
    let number = |value: i64| u64::try_from(value).unwrap_or(0);
    rows.iter()
        .map(|row| {
            let count = TaskCount {
                units: number(row.try_get("units").map_err(failed())?),
                rows: number(row.try_get("rows").map_err(failed())?),
            };
            Ok((
                TaskId(unsigned(row.try_get("task").map_err(failed())?)),
                count,
            ))
        })
        .collect()
}
