//! The search: the unit's work on halves of its range, each behind a savepoint, down to single rows. What
//! works stays within the transaction, so that rows which collide with each other are found too: the
//! later one is the bad one.
//!
//! With n rows of which one is bad, the work is done about twice over; every further bad row costs a
//! descent of log₂ n failures more.

use std::{sync::Arc, time::Duration};

use sqlx::{PgConnection, Row};
use upshift_shared::{
    Error, Result,
    clock::Stopwatch,
    ledger::Bounds,
    pg::{execute_raw, ident::ident, sql},
    plan::{KeyColumn, key_range},
};

use super::{
    super::{UnitContext, verified::Part},
    is_of_data,
    subject::{Subject, bound_values},
};

/// Keys that are held at once; of a range with more rows, every so-manieth comes first.
const KEYS: i64 = 100_000;

/// Keys are read back as they were written: the session's formats are not heeded meanwhile.
const FORMATS: &str = "SET LOCAL datestyle TO 'ISO'; \
     SET LOCAL intervalstyle TO 'postgres'; SET LOCAL extra_float_digits TO 1";

/// A row and what was said of it.
pub(super) struct Found {
    /// The range that holds this row alone.
    pub(super) bounds: Bounds,
    /// What happened.
    pub(super) error: Error,
}

/// Why the search came to an end before the range did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// There are more bad rows than are looked for.
    Many,
    /// It took too long.
    Time,
}

/// How far a search may go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    /// Bad rows.
    pub(super) rows: usize,
    /// Time in all.
    pub(super) time: Duration,
    /// Since the search began.
    pub(super) watch: Stopwatch,
}

impl Limit {
    /// How much time there is still.
    pub(super) fn left(&self) -> Duration {
        self.time.saturating_sub(self.watch.elapsed())
    }

    /// Whether a statement was cancelled because the time is over.
    fn ended(&self, error: &Error) -> bool {
        is_cancelled(error) && self.left().is_zero()
    }
}

/// Whether a statement was cancelled, by hand or by its timeout.
pub(super) fn is_cancelled(error: &Error) -> bool {
    error.sqlstate().as_deref() == Some("57014")
}

/// What a search found out.
pub(super) struct Outcome {
    /// Bad rows, in the order of the key.
    pub(super) found: Vec<Found>,
    /// What was done to the other rows.
    pub(super) part: Part,
    /// Why it ended early, if it did.
    pub(super) stopped: Option<Stopped>,
}

/// Keys in order, and whether there is exactly one row up to each.
type Keys = Arc<[Vec<String>]>;

/// What is still to be looked at: the keys `from..to`, behind the one before them.
struct Piece {
    /// Before the first key.
    lower: Option<Vec<String>>,
    keys: Keys,
    single: bool,
    from: usize,
    to: usize,
    /// It is known to fail.
    fails: bool,
}

impl Piece {
    fn bounds(&self) -> Bounds {
        Bounds {
            lower: match self.from {
                0 => self.lower.clone(),
                from => Some(self.keys[from - 1].clone()),
            },
            upper: Some(self.keys[self.to - 1].clone()),
        }
    }

    fn part(&self, from: usize, to: usize) -> Self {
        Self {
            lower: self.lower.clone(),
            keys: Arc::clone(&self.keys),
            single: self.single,
            from,
            to,
            fails: false,
        }
    }
}

/// Searches the unit's range.
pub(super) async fn search(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    subject: &Subject<'_>,
    limit: Limit,
) -> Result<Outcome> {
    let mut outcome = Outcome {
        found: Vec::new(),
        part: Part::NOTHING,
        stopped: None,
    };
    let mut whole = Some(unit.bounds.clone());
    // A stack with the lowest keys on top: what collides is found in the order of the key.
    let mut pieces: Vec<Piece> = Vec::new();
    loop {
        unit.refuse_cancelled()?;
        let left = limit.left();
        if left.is_zero() {
            outcome.stopped = Some(Stopped::Time);
            break;
        }
        // A range whose keys are not known yet.
        if let Some(bounds) = whole.take() {
            match piece(tx, unit, (subject, bounds), limit).await? {
                Ok(read) => pieces.extend(read),
                Err(stopped) => {
                    outcome.stopped = Some(stopped);
                    break;
                }
            }
        }
        let Some(piece) = pieces.pop() else {
            break;
        };
        if !piece.fails {
            let bounds = piece.bounds();
            let error = match attempt(tx, unit, subject, &bounds, left).await {
                Ok(part) => {
                    outcome.part.add(part);
                    continue;
                }
                Err(error) => error,
            };
            unit.refuse_cancelled()?;
            if limit.ended(&error) {
                outcome.stopped = Some(Stopped::Time);
                break;
            }
            if !is_of_data(&error) {
                return Err(error);
            }
            if piece.to - piece.from == 1 && piece.single {
                if outcome.found.len() == limit.rows {
                    outcome.stopped = Some(Stopped::Many);
                    break;
                }
                outcome.found.push(Found { bounds, error });
                continue;
            }
        }
        if piece.to - piece.from == 1 {
            if piece.single {
                // The unit has this row alone.
                pieces.push(piece.part(piece.from, piece.to));
            } else {
                whole = Some(piece.bounds());
            }
            continue;
        }
        let middle = piece.from.midpoint(piece.to);
        pieces.push(piece.part(middle, piece.to));
        pieces.push(piece.part(piece.from, middle));
    }
    let own = unit.timeouts.statement.as_millis();
    step(tx, &format!("SET LOCAL statement_timeout TO {own}")).await?;
    Ok(outcome)
}

/// The range that holds the row with this key alone.
pub(in crate::unit) async fn only(
    tx: &mut PgConnection,
    subject: &Subject<'_>,
    key: &[String],
) -> Result<Bounds> {
    let columns = |prefix: &str, suffix: &str| -> String {
        let names = subject.key.iter().map(|column| ident(&column.name));
        let names: Vec<String> = names
            .map(|name| format!("{prefix}{name}{suffix}"))
            .collect();
        names.join(", ")
    };
    let casts: Vec<String> = (1..)
        .zip(&subject.key)
        .map(|(n, column): (u32, _)| format!("CAST(${n}::text AS {})", column.type_name))
        .collect();
    let query = format!(
        "/* upshift: the key before a row */ SELECT ARRAY[{}]::text[] AS key FROM {} AS s \
         WHERE ({}) < ({}) ORDER BY {} LIMIT 1",
        columns("s.", "::text"),
        subject.table,
        columns("s.", ""),
        casts.join(", "),
        columns("s.", " DESC"),
    );
    step(tx, &format!("SAVEPOINT upshift_piece; {FORMATS}")).await?;
    let mut query = sqlx::query(sql(query)).persistent(false);
    for value in key {
        query = query.bind(value);
    }
    let lower = query
        .fetch_optional(&mut *tx)
        .await
        .and_then(|row| row.map(|row| row.try_get("key")).transpose())
        .map_err(Error::database(format!(
            "reading keys of {}",
            subject.table
        )))?;
    go_back(tx).await?;
    Ok(Bounds {
        lower,
        upper: Some(key.to_vec()),
    })
}

/// A range as one piece that is known to fail; none where it has no rows.
async fn piece(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    (subject, bounds): (&Subject<'_>, Bounds),
    limit: Limit,
) -> Result<Result<Option<Piece>, Stopped>> {
    savepoint(tx, unit, limit.left()).await?;
    let read = keys(tx, subject, &bounds).await;
    if !matches!(read, Err(Error::Io { .. })) {
        go_back(tx).await?;
    }
    let (keys, single) = match read {
        Ok(read) => read,
        Err(error) => {
            unit.refuse_cancelled()?;
            // The unit's own timeout splits it, where that is possible.
            let is_whole = is_cancelled(&error) && unit.task.operator.cut().is_none();
            return match limit.ended(&error) || is_whole {
                true => Ok(Err(Stopped::Time)),
                false => Err(error),
            };
        }
    };
    if keys.is_empty() {
        return Ok(Ok(None));
    }
    Ok(Ok(Some(Piece {
        lower: bounds.lower,
        from: 0,
        to: keys.len(),
        keys: keys.into(),
        single,
        fails: true,
    })))
}

/// The unit's work on a range, behind a savepoint to which it goes back where it fails.
pub(in crate::unit) async fn attempt(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    subject: &Subject<'_>,
    bounds: &Bounds,
    left: Duration,
) -> Result<Part> {
    savepoint(tx, unit, left).await?;
    match subject.work(tx, unit, bounds).await {
        Ok(part) if subject.keeps() => {
            let clear = subject.clear();
            step(tx, &format!("RELEASE SAVEPOINT upshift_piece{clear}")).await?;
            Ok(part)
        }
        // Nobody knows what the server is about to answer.
        Err(error @ Error::Io { .. }) => Err(error),
        outcome => {
            go_back(tx).await?;
            outcome
        }
    }
}

/// Sets a savepoint; until it is gone back to, a statement may take so long.
pub(super) async fn savepoint(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    left: Duration,
) -> Result<()> {
    let own = unit.timeouts.statement;
    let left = if own.is_zero() { left } else { own.min(left) };
    // Rounded up, so that the time is over when the server says so.
    let millis = left.as_millis() + 1;
    step(
        tx,
        &format!("SAVEPOINT upshift_piece; SET LOCAL statement_timeout TO {millis}"),
    )
    .await
}

/// Back to the savepoint.
pub(super) async fn go_back(tx: &mut PgConnection) -> Result<()> {
    step(
        tx,
        "ROLLBACK TO SAVEPOINT upshift_piece; RELEASE SAVEPOINT upshift_piece",
    )
    .await
}

async fn step(tx: &mut PgConnection, statement: &str) -> Result<()> {
    execute_raw(tx, format!("/* upshift: search */ {statement}"))
        .await
        .map_err(Error::database("searching for bad rows"))?;
    Ok(())
}

/// The keys of a range in order, and whether these are all.
async fn keys(
    tx: &mut PgConnection,
    subject: &Subject<'_>,
    bounds: &Bounds,
) -> Result<(Vec<Vec<String>>, bool)> {
    let columns = |prefix: &str| -> String {
        let named = subject
            .key
            .iter()
            .map(|column: &KeyColumn| ident(&column.name));
        let named: Vec<String> = named.map(|name| format!("{prefix}{name}")).collect();
        named.join(", ")
    };
    let texts: Vec<String> = (1..)
        .zip(&subject.key)
        .map(|(n, column): (u32, _)| format!("s.{}::text AS k{n}", ident(&column.name)))
        .collect();
    let numbered: Vec<String> = (1..=subject.key.len()).map(|n| format!("k{n}")).collect();
    let order = columns("s.");
    let query = format!(
        "/* upshift: keys of a range */ SELECT {}, c < {KEYS} AS single FROM (SELECT {}, \
         row_number() OVER (ORDER BY {order}) AS n, count(*) OVER () AS c FROM {} AS s WHERE {}) AS x \
         WHERE n % (c / {KEYS} + 1) = 0 OR n = c ORDER BY n",
        numbered.join(", "),
        texts.join(", "),
        subject.table,
        key_range("s", &subject.key, 1),
    );
    step(tx, FORMATS).await?;
    let failed = || Error::database(format!("reading keys of {}", subject.table));
    let mut query = sqlx::query(sql(query)).persistent(false);
    for value in bound_values(&subject.key, bounds) {
        query = query.bind(value);
    }
    let rows = query.fetch_all(tx).await.map_err(failed())?;
    let mut keys = Vec::with_capacity(rows.len());
    let mut single = true;
    for row in rows {
        single = row.try_get("single").map_err(failed())?;
        let mut key = Vec::with_capacity(subject.key.len());
        for name in &numbered {
            key.push(row.try_get(name.as_str()).map_err(failed())?);
        }
        keys.push(key);
    }
    Ok((keys, single))
}
