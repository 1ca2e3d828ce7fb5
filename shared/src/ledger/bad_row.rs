//! Rows that a statement could not work on: found by a run that stopped, or quarantined by one that went
//! on without them. They hold values of the users' rows, which nobody prints unless asked to.

use serde::Serialize;
use serde_json::Value;
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{Holder, fence, signed, unit::UnitKey, unsigned};
use crate::{
    Error, Result,
    ids::{RunId, TaskId, UnitId},
};

/// Units from this number on are retries of quarantined rows. Numbers of units are `integer` in the
/// ledger, and no task is cut into so many.
pub const FIRST_RETRY: u32 = 1 << 30;

/// Whether a unit is a retry of quarantined rows.
#[must_use]
pub fn is_retry(unit: UnitId) -> bool {
    unit.0 >= FIRST_RETRY
}

/// What became of a row. Durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BadRowState {
    /// The run stopped because of it. Set by the worker, once the unit is rolled back.
    Found,
    /// It was left out. Set by the worker, in the transaction of the rest of the unit.
    Quarantined,
    /// The statement has worked on it after all. Set by a retry, in its transaction.
    Retried,
}

impl BadRowState {
    /// As the ledger writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Quarantined => "quarantined",
            Self::Retried => "retried",
        }
    }

    fn parse(text: &str) -> Result<Self> {
        match text {
            "found" => Ok(Self::Found),
            "quarantined" => Ok(Self::Quarantined),
            "retried" => Ok(Self::Retried),
            other => Err(Error::Format(format!(
                "the ledger has a bad row in state \"{other}\", which this program does not know"
            ))),
        }
    }
}

/// A row and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Its table, quoted and qualified.
    pub table: String,
    /// Its key: an object of texts. `None` where the row could not be found out.
    pub key: Option<Value>,
    /// All of it, as it was before the statement.
    pub row: Option<Value>,
    /// The column, or columns, at fault.
    pub column: Option<String>,
    /// What the statement would have given to it, where that can be computed.
    pub value: Option<Value>,
    /// What PostgreSQL reported; empty where a function of ours refused the value.
    pub sqlstate: String,
    /// In the server's words, which may hold values.
    pub message: String,
    /// Likewise.
    pub detail: Option<String>,
    /// Where the statement stands.
    pub source: String,
}

/// A row of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRow {
    /// The task.
    pub task: TaskId,
    /// The unit.
    pub unit: UnitId,
    /// Its number among those of the unit.
    pub seq: u32,
    /// The row.
    pub bad: BadRow,
    /// What became of it.
    pub state: BadRowState,
}

/// How many rows there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Because of which the run stopped.
    pub found: u64,
    /// Left out.
    pub quarantined: u64,
    /// Left out first, done after all.
    pub retried: u64,
}

/// An older program's ledger does not have it.
const TABLE: &str = "upshift.bad_row";
const CONTEXT: &str = "recording rows that a statement cannot work on";

/// Records what was found in a unit, instead of what an earlier attempt found.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn record(
    tx: &mut PgConnection,
    key: UnitKey,
    state: BadRowState,
    rows: &[BadRow],
) -> Result<()> {
    forget(tx, key).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let texts = |of: fn(&BadRow) -> &str| rows.iter().map(of).collect::<Vec<_>>();
    let maybe = |of: fn(&BadRow) -> Option<&str>| rows.iter().map(of).collect::<Vec<_>>();
    let json = |of: fn(&BadRow) -> &Option<Value>| {
        let values = rows.iter().map(of);
        values
            .map(|value| value.as_ref().map(ToString::to_string))
            .collect::<Vec<_>>()
    };
    sqlx::query(RECORD)
        .bind(key.holder.run.to_string())
        .bind(signed(key.task.0))
        .bind(signed(key.unit.0))
        .bind(state.as_str())
        .bind(texts(|bad| &bad.table))
        .bind(json(|bad| &bad.key))
        .bind(json(|bad| &bad.row))
        .bind(maybe(|bad| bad.column.as_deref()))
        .bind(json(|bad| &bad.value))
        .bind(texts(|bad| &bad.sqlstate))
        .bind(texts(|bad| &bad.message))
        .bind(maybe(|bad| bad.detail.as_deref()))
        .bind(texts(|bad| &bad.source))
        .execute(tx)
        .await
        .map_err(Error::database(CONTEXT))?;
    Ok(())
}

const RECORD: &str = "-- record bad rows
INSERT INTO upshift.bad_row (run, task, unit, seq, state, table_name, key, row, column_name, value,
                             sqlstate, message, detail, source)
SELECT $1::uuid, $2, $3, b.place - 1, $4, b.table_name, b.key::jsonb, b.row::jsonb, b.column_name,
       b.value::jsonb, b.sqlstate, b.message, b.detail, b.source
  FROM unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
              $12::text[], $13::text[]) WITH ORDINALITY
       AS b (table_name, key, row, column_name, value, sqlstate, message, detail, source, place)";

/// Forgets the rows of a unit: its undo, or another attempt at it.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn forget(tx: &mut PgConnection, key: UnitKey) -> Result<()> {
    sqlx::query(
        "-- forget the bad rows of a unit
        DELETE FROM upshift.bad_row WHERE run = $1::uuid AND task = $2 AND unit = $3",
    )
    .bind(key.holder.run.to_string())
    .bind(signed(key.task.0))
    .bind(signed(key.unit.0))
    .execute(tx)
    .await
    .map_err(Error::database(CONTEXT))?;
    Ok(())
}

/// Forgets what stopped a run: it goes on, or back, and finds again what is still there.
///
/// # Errors
/// [`Error::Fenced`] when somebody else drives the run.
pub async fn forget_found(conn: &mut PgConnection, holder: Holder) -> Result<()> {
    fence::run(conn, "forget bad rows", holder, move |tx, _scope| {
        Box::pin(async move {
            sqlx::query(
                "-- forget the bad rows that stopped a run
                DELETE FROM upshift.bad_row WHERE run = $1::uuid AND state = 'found'",
            )
            .bind(holder.run.to_string())
            .execute(tx)
            .await
            .map_err(Error::database(CONTEXT))?;
            Ok(())
        })
    })
    .await
}

/// Says that a quarantined row of a task is done, by the unit `retry`.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn retried(tx: &mut PgConnection, retry: UnitKey, row: &StoredRow) -> Result<()> {
    sqlx::query(
        "-- a bad row is done after all
        UPDATE upshift.bad_row SET state = 'retried', retry_unit = $5
        WHERE run = $1::uuid AND task = $2 AND unit = $3 AND seq = $4",
    )
    .bind(retry.holder.run.to_string())
    .bind(signed(retry.task.0))
    .bind(signed(row.unit.0))
    .bind(signed(row.seq))
    .bind(signed(retry.unit.0))
    .execute(tx)
    .await
    .map_err(Error::database(CONTEXT))?;
    Ok(())
}

/// The undo of a retry: its rows are quarantined as before.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn quarantine_again(tx: &mut PgConnection, retry: UnitKey) -> Result<()> {
    sqlx::query(
        "-- bad rows are quarantined again
        UPDATE upshift.bad_row SET state = 'quarantined', retry_unit = NULL
        WHERE run = $1::uuid AND task = $2 AND retry_unit = $3",
    )
    .bind(retry.holder.run.to_string())
    .bind(signed(retry.task.0))
    .bind(signed(retry.unit.0))
    .execute(tx)
    .await
    .map_err(Error::database(CONTEXT))?;
    Ok(())
}

/// The retries of a run that are in effect, the last one first.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn retries(conn: &mut PgConnection, run: RunId) -> Result<Vec<(TaskId, UnitId)>> {
    let failed = || Error::database("reading retries of quarantined rows");
    let rows = sqlx::query(
        "-- retries of quarantined rows
        SELECT task, unit FROM upshift.unit
        WHERE run = $1::uuid AND unit >= $2 AND state = 'done'
        ORDER BY finished_at DESC, task DESC, unit DESC",
    )
    .bind(run.to_string())
    .bind(signed(FIRST_RETRY))
    .fetch_all(conn)
    .await
    .map_err(failed())?;
    rows.iter()
        .map(|row| {
            let task = TaskId(unsigned(row.try_get("task").map_err(failed())?));
            Ok((
                task,
                UnitId(unsigned(row.try_get("unit").map_err(failed())?)),
            ))
        })
        .collect()
}

/// Whether a retry is in effect that came after what the run leaves was recorded.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn retried_since_recorded(conn: &mut PgConnection, run: RunId) -> Result<bool> {
    sqlx::query(
        "-- is a retry newer than what is recorded
        SELECT EXISTS (
            SELECT FROM upshift.unit u LEFT JOIN upshift.left_state l USING (run)
            WHERE u.run = $1::uuid AND u.unit >= $2 AND u.state = 'done'
              AND (l.recorded_at IS NULL OR u.finished_at > l.recorded_at))",
    )
    .bind(run.to_string())
    .bind(signed(FIRST_RETRY))
    .fetch_one(conn)
    .await
    .and_then(|row| row.try_get(0))
    .map_err(Error::database("looking for retries of quarantined rows"))
}

/// The number of a task's next retry.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn next_retry(conn: &mut PgConnection, run: RunId, task: TaskId) -> Result<UnitId> {
    let failed = || Error::database("numbering a retry of quarantined rows");
    let row = sqlx::query(
        "-- the next retry's number
        SELECT greatest(max(unit) + 1, $3) AS unit FROM upshift.unit WHERE run = $1::uuid AND task = $2",
    )
    .bind(run.to_string())
    .bind(signed(task.0))
    .bind(signed(FIRST_RETRY))
    .fetch_one(conn)
    .await
    .map_err(failed())?;
    Ok(UnitId(unsigned(row.try_get("unit").map_err(failed())?)))
}

/// How many rows a run has left out, found or done after all; none in a ledger of an older program.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn counts(conn: &mut PgConnection, run: RunId) -> Result<Counts> {
    let failed = || Error::database("counting bad rows");
    if !super::has_table(conn, TABLE).await? {
        return Ok(Counts::default());
    }
    let row = sqlx::query(
        "-- count bad rows
        SELECT count(*) FILTER (WHERE state = 'found') AS found,
               count(*) FILTER (WHERE state = 'quarantined') AS quarantined,
               count(*) FILTER (WHERE state = 'retried') AS retried
        FROM upshift.bad_row WHERE run = $1::uuid",
    )
    .bind(run.to_string())
    .fetch_one(conn)
    .await
    .map_err(failed())?;
    let number = |name: &str| -> Result<u64> {
        let number: i64 = row.try_get(name).map_err(failed())?;
        Ok(u64::try_from(number).unwrap_or(0))
    };
    Ok(Counts {
        found: number("found")?,
        quarantined: number("quarantined")?,
        retried: number("retried")?,
    })
}

/// The rows of a run, in the order of its tasks; none in a ledger of an older program.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn load(conn: &mut PgConnection, run: RunId) -> Result<Vec<StoredRow>> {
    if !super::has_table(conn, TABLE).await? {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "-- load bad rows
        SELECT task, unit, seq, table_name, key::text AS key, row::text AS row, column_name,
               value::text AS value, sqlstate, message, detail, source, state
        FROM upshift.bad_row WHERE run = $1::uuid ORDER BY task, unit, seq",
    )
    .bind(run.to_string())
    .fetch_all(conn)
    .await
    .map_err(Error::database("reading bad rows"))?;
    rows.iter().map(stored).collect()
}

fn stored(row: &PgRow) -> Result<StoredRow> {
    let failed = || Error::database("reading bad rows");
    let json = |name: &str| -> Result<Option<Value>> {
        let text: Option<String> = row.try_get(name).map_err(failed())?;
        let value = text.map(|text| serde_json::from_str(&text)).transpose();
        value.map_err(|error| Error::Format(format!("a bad row cannot be read: {error}")))
    };
    Ok(StoredRow {
        task: TaskId(unsigned(row.try_get("task").map_err(failed())?)),
        unit: UnitId(unsigned(row.try_get("unit").map_err(failed())?)),
        seq: unsigned(row.try_get("seq").map_err(failed())?),
        bad: BadRow {
            table: row.try_get("table_name").map_err(failed())?,
            key: json("key")?,
            row: json("row")?,
            column: row.try_get("column_name").map_err(failed())?,
            value: json("value")?,
            sqlstate: row.try_get("sqlstate").map_err(failed())?,
            message: row.try_get("message").map_err(failed())?,
            detail: row.try_get("detail").map_err(failed())?,
            source: row.try_get("source").map_err(failed())?,
        },
        state: BadRowState::parse(row.try_get("state").map_err(failed())?)?,
    })
}
