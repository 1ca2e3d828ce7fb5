//! The event log: what happened in a run, in order. It is written in batches by whoever holds the run,
//! read in pages, and nothing of it is ever deleted. Never holds values of the user's rows.

use serde::Serialize;
use serde_json::Value;
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{
    fence::{self, Holder},
    signed, unsigned,
};
use crate::{
    Error, Result,
    clock::Stopwatch,
    ids::{RunId, TaskId, UnitId},
};

/// Places of the log that are best read at once: [`read`] gives as many events at the most.
pub const PAGE: i64 = 2_000;
/// So many places from the end are looked through by [`tail`].
const TAIL: i64 = 10_000;

/// An event that is not written yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// What happened: one word, in the past tense or a noun.
    pub kind: String,
    /// The task that it is about.
    pub task: Option<TaskId>,
    /// The unit of that task.
    pub unit: Option<UnitId>,
    /// The rest: a JSON object.
    pub detail: Value,
}

impl Draft {
    /// An event of the run as a whole.
    #[must_use]
    pub fn new(kind: &str, detail: Value) -> Self {
        Self {
            kind: kind.to_owned(),
            task: None,
            unit: None,
            detail,
        }
    }
}

/// Events to be written, each with its place: writing them again changes nothing, so a batch whose
/// connection was lost is simply written again.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The `seq` of the first; the others follow without a hole.
    pub first: i64,
    /// Each with the instant at which it happened, as a reading of [`Self::watch`].
    pub events: Vec<(std::time::Duration, Draft)>,
    /// What the instants are readings of.
    pub watch: Stopwatch,
}

/// An event of the log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// Its place in the run, from 1.
    pub seq: i64,
    /// RFC 3339, UTC, microseconds.
    pub at: String,
    /// What happened.
    pub kind: String,
    /// The task that it is about.
    pub task: Option<TaskId>,
    /// The unit of that task.
    pub unit: Option<UnitId>,
    /// The rest: a JSON object.
    pub detail: Value,
}

/// Which events are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// None before this instant: a `timestamptz` as [`instant`] gives it.
    pub since: Option<String>,
    /// Of this task only.
    pub task: Option<TaskId>,
    /// Of these kinds only; of all where none is named.
    pub kinds: Vec<String>,
}

/// Whether the database's ledger has the log: older ones do not.
///
/// # Errors
/// When the database cannot be asked.
pub async fn exists(conn: &mut PgConnection) -> Result<bool> {
    super::has_table(conn, "upshift.event").await
}

/// The `seq` of the run's last event; 0 where it has none.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn last(conn: &mut PgConnection, run: RunId) -> Result<i64> {
    sqlx::query(
        "-- the run's last event
        SELECT coalesce(max(seq), 0) FROM upshift.event WHERE run = $1::uuid",
    )
    .bind(run.to_string())
    .fetch_one(conn)
    .await
    .and_then(|row| row.try_get(0))
    .map_err(Error::database("reading the event log"))
}

/// Writes one event behind those that are there. For what happens outside the driver, while no batch is
/// under way.
///
/// # Errors
/// [`Error::Fenced`] when somebody else drives the run.
pub async fn append(conn: &mut PgConnection, holder: Holder, event: &Draft) -> Result<()> {
    fence::run(conn, "write an event", holder, move |tx, _scope| {
        Box::pin(append_within(tx, holder.run, event))
    })
    .await
}

pub(super) async fn append_within(tx: &mut PgConnection, run: RunId, event: &Draft) -> Result<()> {
    let watch = Stopwatch::start();
    let batch = Batch {
        first: last(tx, run).await? + 1,
        events: vec![(watch.elapsed(), event.clone())],
        watch,
    };
    insert_within(tx, run, &batch).await
}

/// Writes a batch. Again is fine.
///
/// # Errors
/// [`Error::Fenced`] when somebody else drives the run.
pub async fn insert(conn: &mut PgConnection, holder: Holder, batch: &Batch) -> Result<()> {
    fence::run(conn, "write events", holder, move |tx, _scope| {
        Box::pin(insert_within(tx, holder.run, batch))
    })
    .await
}

/// The server's clock says when; what is older by so many seconds happened so long before. Where that
/// would be before the event before it (batches take their time on the way, and clocks are set), it is
/// that one's instant: the order is that of `seq`.
const INSERT: &str = "-- write events
INSERT INTO upshift.event (run, seq, at, kind, task, unit, detail)
SELECT $1::uuid, $2 + e.place - 1,
       greatest(statement_timestamp() - make_interval(secs => e.age),
                (SELECT b.at FROM upshift.event b WHERE b.run = $1::uuid AND b.seq = $2 - 1)),
       e.kind, e.task, e.unit, e.detail::jsonb
  FROM unnest($3::float8[], $4::text[], $5::integer[], $6::integer[], $7::text[])
       WITH ORDINALITY AS e (age, kind, task, unit, detail, place)
ON CONFLICT (run, seq) DO NOTHING";

pub(super) async fn insert_within(tx: &mut PgConnection, run: RunId, batch: &Batch) -> Result<()> {
    if batch.events.is_empty() {
        return Ok(());
    }
    let now = batch.watch.elapsed();
    let events = || batch.events.iter();
    let ages = events().map(|(at, _)| now.saturating_sub(*at).as_secs_f64());
    sqlx::query(INSERT)
        .bind(run.to_string())
        .bind(batch.first)
        .bind(ages.collect::<Vec<_>>())
        .bind(events().map(|(_, e)| e.kind.as_str()).collect::<Vec<_>>())
        .bind(
            events()
                .map(|(_, e)| e.task.map(|t| signed(t.0)))
                .collect::<Vec<_>>(),
        )
        .bind(
            events()
                .map(|(_, e)| e.unit.map(|u| signed(u.0)))
                .collect::<Vec<_>>(),
        )
        .bind(
            events()
                .map(|(_, e)| without_zero(&e.detail).to_string())
                .collect::<Vec<_>>(),
        )
        .execute(tx)
        .await
        .map_err(Error::database("writing events"))?;
    Ok(())
}

/// `jsonb` does not take the character 0 (PostgreSQL, "JSON Types").
fn without_zero(value: &Value) -> Value {
    let clean = |text: &str| text.replace('\0', "\u{fffd}");
    match value {
        Value::String(text) => Value::String(clean(text)),
        Value::Array(items) => items.iter().map(without_zero).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (clean(name), without_zero(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// A run's events behind the place `after`, up to and with the place `upto`, in order. (By places and not
/// by LIMIT: a table that nobody has analysed yet would be sorted for every page.)
///
/// # Errors
/// When the ledger cannot be read.
pub async fn read(
    conn: &mut PgConnection,
    run: RunId,
    (after, upto): (i64, i64),
    filter: &Filter,
) -> Result<Vec<Event>> {
    let rows = sqlx::query(
        "-- read a page of events
        SELECT seq, kind, task, unit, detail::text AS detail,
               to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS at
        FROM upshift.event
        WHERE run = $1::uuid AND seq > $2 AND seq <= $6
          AND ($3::timestamptz IS NULL OR upshift.event.at >= $3::timestamptz)
          AND ($4::integer IS NULL OR task = $4)
          AND (cardinality($5::text[]) = 0 OR kind = ANY ($5))
        ORDER BY seq",
    )
    .bind(run.to_string())
    .bind(after)
    .bind(filter.since.as_deref())
    .bind(filter.task.map(|task| signed(task.0)))
    .bind(&filter.kinds)
    .bind(upto)
    .fetch_all(conn)
    .await
    .map_err(Error::database("reading events"))?;
    rows.iter().map(decode).collect()
}

/// The last `limit` events that are of none of these kinds, in order, of those near the end.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn tail(
    conn: &mut PgConnection,
    run: RunId,
    but: &[&str],
    limit: u32,
) -> Result<Vec<Event>> {
    let last = last(conn, run).await?;
    let rows = sqlx::query(
        "-- read the last events
        SELECT seq, kind, task, unit, detail::text AS detail,
               to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS at
        FROM upshift.event
        WHERE run = $1::uuid AND kind <> ALL ($2) AND seq > $4
        ORDER BY seq DESC LIMIT $3",
    )
    .bind(run.to_string())
    .bind(but)
    .bind(i64::from(limit))
    .bind(last - TAIL)
    .fetch_all(conn)
    .await
    .map_err(Error::database("reading events"))?;
    rows.iter().rev().map(decode).collect()
}

/// Of each thing that opens and ends (a wait, a pause), what was said of it last since a run was begun or
/// gone on with: events of `kinds`, at most one for each task, unit and `about` in its detail.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn latest_each(
    conn: &mut PgConnection,
    run: RunId,
    kinds: &[&str],
) -> Result<Vec<Event>> {
    let rows = sqlx::query(
        "-- what was said last of each
        WITH begun AS MATERIALIZED (
            SELECT coalesce(max(seq), 0) AS seq FROM upshift.event
            WHERE run = $1::uuid AND kind = 'run_started'
        ), latest AS (
            SELECT DISTINCT ON (e.task, e.unit, e.detail ->> 'about') e.*
            FROM upshift.event e, begun
            WHERE e.run = $1::uuid AND e.seq > begun.seq AND e.kind = ANY ($2)
            ORDER BY e.task, e.unit, e.detail ->> 'about', e.seq DESC
        )
        SELECT seq, kind, task, unit, detail::text AS detail,
               to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS at
        FROM latest ORDER BY seq",
    )
    .bind(run.to_string())
    .bind(kinds)
    .fetch_all(conn)
    .await
    .map_err(Error::database("reading events"))?;
    rows.iter().map(decode).collect()
}

/// A point in time for [`Filter::since`]: so many seconds ago, by the server's clock.
///
/// # Errors
/// When the database cannot be asked.
pub async fn ago(conn: &mut PgConnection, seconds: f64) -> Result<String> {
    sqlx::query("-- so long ago\nSELECT (clock_timestamp() - make_interval(secs => $1))::text")
        .bind(seconds)
        .fetch_one(conn)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(Error::database("asking for the time"))
}

/// A point in time for [`Filter::since`], written in any way that PostgreSQL reads; `None` where it does
/// not read it.
///
/// # Errors
/// When the database cannot be asked.
pub async fn instant(conn: &mut PgConnection, text: &str) -> Result<Option<String>> {
    let read = sqlx::query("-- read a point in time\nSELECT $1::text::timestamptz::text")
        .bind(text)
        .fetch_one(conn)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(Error::database("reading a point in time"));
    match read {
        // invalid_datetime_format, datetime_field_overflow, invalid_parameter_value (a time zone)
        Err(error)
            if matches!(
                error.sqlstate().as_deref(),
                Some("22007" | "22008" | "22023")
            ) =>
        {
            Ok(None)
        }
        other => other.map(Some),
    }
}

fn decode(row: &PgRow) -> Result<Event> {
    let event = || {
        let detail: String = row.try_get("detail")?;
        let task: Option<i32> = row.try_get("task")?;
        let unit: Option<i32> = row.try_get("unit")?;
        Ok(Event {
            seq: row.try_get("seq")?,
            at: row.try_get("at")?,
            kind: row.try_get("kind")?,
            task: task.map(|task| TaskId(unsigned(task))),
            unit: unit.map(|unit| UnitId(unsigned(unit))),
            detail: serde_json::from_str(&detail).unwrap_or(Value::Null),
        })
    };
    event().map_err(Error::database("reading an event"))
}
