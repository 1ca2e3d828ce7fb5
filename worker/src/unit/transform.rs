//! Transform: values of a key range out by binary COPY, changed by a Rust function on all cores, and in
//! again by COPY into a temporary table and one UPDATE, which keeps before-images as in-place does.
//!
//! Advances its unit to `done`. Tried again on a serialisation failure, split on the statement timeout,
//! aborted by a value that the function or the column refuses. Undone by its before-images, as in-place.
//!
//! Memory is bounded: values are read and changed a batch at a time, and what changed waits in a file
//! once there is much of it, because a connection cannot copy both ways at once.

use std::{
    io::{self, Read, Seek, SeekFrom, Write},
    sync::Arc,
};

use futures::TryStreamExt;
use sqlx::{PgConnection, Row};
use tempfile::SpooledTempFile;
use tokio::{sync::oneshot, task::spawn_blocking};
use upshift_shared::{
    Error, Result,
    pg::{
        execute_raw,
        ident::{ident, literal},
        sql,
    },
    plan::{KeyColumn, TRANSFORMED_ROWS, Transform},
};

use super::{UnitContext, in_place, run_template};
use crate::transform::{
    Function,
    batch::{self, Batch, Changed, Failure, Shape},
    binary::{self, Decoder, Field},
    build,
    translated::Translated,
};

/// Changed rows wait in memory up to this, and in a file beyond.
const SPOOLED: usize = batch::BYTES;
/// Bytes read from the file and sent at once.
const PIECE: usize = 256 * 1024;

/// Runs the unit; returns the rows that it changed.
pub(super) async fn run(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Transform,
) -> Result<u64> {
    let function: Arc<dyn Function> = function(op).map_err(Error::Format)?;
    let mut passed = Passed::new(function, op);
    copy_out(tx, unit, op, &mut passed).await?;
    if unit.cancel.is_cancelled() {
        // Between two statements, a cancel by a side connection meets nobody.
        let why = io::Error::new(io::ErrorKind::Interrupted, "the unit was cancelled");
        return Err(io_error(op)(why));
    }
    let (spool, rows) = match passed.finish().await? {
        Ok(written) => written,
        Err(failure) => return Err(refusal(tx, op, failure).await?),
    };
    if rows == 0 {
        return Ok(0);
    }
    create_rows(tx, op).await?;
    copy_in(tx, op, spool).await?;
    run_template(tx, unit, (&op.write.sql, &op.write.before_images)).await
}

fn function(op: &Transform) -> Result<Arc<dyn Function>, String> {
    let function = build(&op.call)?;
    Ok(match op.translated {
        true => Arc::new(Translated(function)),
        false => Arc::from(function),
    })
}

/// Puts the unit's before-images back.
pub(super) async fn undo(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Transform,
    touched: u64,
) -> Result<u64> {
    in_place::undo(tx, unit, &op.write, touched).await
}

/// Rows on their way from the server into the file.
struct Passed {
    function: Arc<dyn Function>,
    shape: Shape,
    what: String,
    batch: Batch,
    /// The batch that is being changed while the next one is read.
    changing: Option<oneshot::Receiver<Result<Changed, Failure>>>,
    spool: SpooledTempFile,
    rows: u64,
    /// The first row that failed; what comes after it is passed over.
    failure: Option<Failure>,
}

impl Passed {
    fn new(function: Arc<dyn Function>, op: &Transform) -> Self {
        Self {
            function,
            shape: Shape {
                key: op.write.key.len(),
                compares: op.compares,
                longest: op.longest,
            },
            what: what(op),
            batch: Batch::default(),
            changing: None,
            spool: SpooledTempFile::new(SPOOLED),
            rows: 0,
            failure: None,
        }
    }

    async fn push(&mut self, row: Vec<Field>) -> Result<()> {
        if self.failure.is_some() {
            return Ok(());
        }
        match self.batch.push(row) {
            Some(full) => self.start(full).await,
            None => Ok(()),
        }
    }

    /// Begins to change a batch, once the one before it is written.
    async fn start(&mut self, batch: Batch) -> Result<()> {
        self.write().await?;
        if self.failure.is_none() {
            let function = Arc::clone(&self.function);
            self.changing = Some(batch::start(function, batch, self.shape));
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<()> {
        let Some(changing) = self.changing.take() else {
            return Ok(());
        };
        let broke = |_| Error::Refused(format!("{}: the function broke", self.what));
        match changing.await.map_err(broke)? {
            Ok(changed) => {
                self.rows += changed.rows;
                let spool = self.take_spool();
                self.spool = written(&self.what, spool, changed.bytes).await?;
            }
            Err(failure) => self.failure = Some(failure),
        }
        Ok(())
    }

    fn take_spool(&mut self) -> SpooledTempFile {
        std::mem::replace(&mut self.spool, SpooledTempFile::new(0))
    }

    /// The changed rows and how many, or the first that failed.
    async fn finish(mut self) -> Result<Result<(SpooledTempFile, u64), Failure>> {
        let last = std::mem::take(&mut self.batch);
        if !last.is_empty() && self.failure.is_none() {
            self.start(last).await?;
        }
        self.write().await?;
        Ok(match self.failure {
            Some(failure) => Err(failure),
            None => Ok((self.spool, self.rows)),
        })
    }
}

async fn written(
    what: &str,
    mut spool: SpooledTempFile,
    bytes: Vec<u8>,
) -> Result<SpooledTempFile> {
    blocking(what, move || spool.write_all(&bytes).map(|()| spool)).await
}

/// Work on the file, which may wait for the disk.
async fn blocking<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let done = spawn_blocking(work).await.map_err(io::Error::other);
    done.and_then(|done| done).map_err(|source| Error::Io {
        context: format!("{what}: keeping changed rows in a file"),
        source,
    })
}

/// Reads the unit's rows.
async fn copy_out(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Transform,
    passed: &mut Passed,
) -> Result<()> {
    let query = format!(
        "SELECT * FROM ({}) AS upshift_source WHERE {}",
        op.rows,
        range(unit, op)
    );
    // What could be refused is refused here: it takes the locks and looks at names and privileges.
    // After a COPY that the server would not begin, the driver and the server would disagree about
    // what was answered.
    execute_raw(
        tx,
        format!("/* upshift: look at rows */ SELECT FROM ({query}) AS r LIMIT 0"),
    )
    .await
    .map_err(Error::database(format!("{}: reading its values", what(op))))?;
    let copy = format!("/* upshift: rows out */ COPY ({query}) TO STDOUT (FORMAT binary)");
    let begun = tx.copy_out_raw(&copy).await;
    let mut stream = begun.map_err(|source| Error::Io {
        // An error of this kind makes the worker leave the connection.
        context: format!("{}: beginning to copy", what(op)),
        source: io::Error::other(source.to_string()),
    })?;
    let mut decoder = Decoder::new(passed.shape.columns());
    let malformed = |e: binary::Malformed| Error::Format(format!("{}: {e}", what(op)));
    // Read to its end in any case, or the rest would be taken for the next statement's answer.
    let mut outcome = Ok(());
    while let Some(bytes) = stream
        .try_next()
        .await
        .map_err(Error::database(format!("{}: reading its values", what(op))))?
    {
        if outcome.is_err() {
            continue;
        }
        decoder.push(&bytes);
        outcome = loop {
            match decoder.next_row().map_err(malformed) {
                Ok(Some(row)) => {
                    if let Err(error) = passed.push(row).await {
                        break Err(error);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
    }
    outcome?;
    decoder.finish().map_err(malformed)
}

/// The unit's range. COPY takes no parameters, so that the bounds are quoted.
fn range(unit: &UnitContext<'_>, op: &Transform) -> String {
    let Some(cut) = &op.write.cut else {
        return "true".to_owned();
    };
    let names: Vec<String> = (1..=cut.key.len()).map(|n| format!("k{n}")).collect();
    let side = |comparison: &str, bound: &Option<Vec<String>>| {
        let values: Vec<String> = bound
            .as_ref()?
            .iter()
            .zip(&cut.key)
            .map(|(value, column)| format!("CAST({} AS {})", literal(value), column.type_name))
            .collect();
        Some(match names.len() {
            1 => format!("k1 {comparison} {}", values.join(", ")),
            _ => format!(
                "ROW({}) {comparison} ROW({})",
                names.join(", "),
                values.join(", ")
            ),
        })
    };
    let sides = [
        side(">", &unit.bounds.lower),
        side("<=", &unit.bounds.upper),
    ];
    let sides: Vec<String> = sides.into_iter().flatten().collect();
    match sides.is_empty() {
        true => "true".to_owned(),
        false => sides.join(" AND "),
    }
}

/// The temporary table: the key with its types, so that its binary form comes back as it went, and
/// the new value as text.
async fn create_rows(tx: &mut PgConnection, op: &Transform) -> Result<()> {
    let key: String = numbered(&op.write.key)
        .map(|(name, column)| format!("t.{} AS {name}, ", ident(&column.name)))
        .collect();
    let create = format!(
        "/* upshift: rows in */ CREATE TEMPORARY TABLE {TRANSFORMED_ROWS} ON COMMIT DROP AS \
         SELECT {key}NULL::text AS value FROM {} AS t WITH NO DATA",
        op.write.table
    );
    execute_raw(tx, create)
        .await
        .map_err(Error::database(format!(
            "{}: making a temporary table",
            what(op)
        )))?;
    Ok(())
}

/// `k1`, `k2`, … with the key's columns.
fn numbered(key: &[KeyColumn]) -> impl Iterator<Item = (String, &KeyColumn)> {
    (1..)
        .zip(key)
        .map(|(n, column): (u32, _)| (format!("k{n}"), column))
}

/// Sends the changed rows.
async fn copy_in(tx: &mut PgConnection, op: &Transform, mut spool: SpooledTempFile) -> Result<()> {
    let what = what(op);
    let failed = || Error::database(format!("{what}: writing its values"));
    spool = blocking(&what, move || spool.seek(SeekFrom::Start(0)).map(|_| spool)).await?;
    let copy = format!("/* upshift: rows in */ COPY {TRANSFORMED_ROWS} FROM STDIN (FORMAT binary)");
    let mut sink = tx.copy_in_raw(&copy).await.map_err(failed())?;
    sink.send(binary::begin()).await.map_err(failed())?;
    loop {
        let read = blocking(&what, move || {
            let mut piece = vec![0; PIECE];
            let length = spool.read(&mut piece)?;
            piece.truncate(length);
            Ok((spool, piece))
        });
        let piece = match read.await {
            Ok((next, piece)) => {
                spool = next;
                piece
            }
            Err(error) => {
                // The first error is the one to tell.
                let _ignored = sink.abort("the changed rows cannot be read").await;
                return Err(error);
            }
        };
        if piece.is_empty() {
            break;
        }
        sink.send(piece).await.map_err(failed())?;
    }
    sink.send(&binary::end()[..]).await.map_err(failed())?;
    sink.finish().await.map_err(failed())?;
    Ok(())
}

/// What is told of a row that cannot be changed: its key, which comes in binary, as the server writes
/// it.
async fn refusal(tx: &mut PgConnection, op: &Transform, failure: Failure) -> Result<Error> {
    let mut bytes = Vec::new();
    let fields = failure.key.iter().map(Option::as_deref);
    let fields: Vec<Option<&[u8]>> = fields.chain(std::iter::once(None)).collect();
    binary::row(&mut bytes, fields.into_iter()).map_err(|e| Error::Format(e.to_string()))?;
    create_rows(tx, op).await?;
    let spool = written(&what(op), SpooledTempFile::new(SPOOLED), bytes).await?;
    copy_in(tx, op, spool).await?;
    let key: Vec<String> = numbered(&op.write.key)
        .map(|(name, _)| format!("{name}::text"))
        .collect();
    let select = format!(
        "/* upshift: name a row */ SELECT {} FROM {TRANSFORMED_ROWS}",
        key.join(", ")
    );
    let failed = || Error::database(format!("{}: naming a row", what(op)));
    let row = sqlx::query(sql(select))
        .persistent(false)
        .fetch_one(tx)
        .await
        .map_err(failed())?;
    let mut named = Vec::with_capacity(op.write.key.len());
    for (place, column) in op.write.key.iter().enumerate() {
        let value: String = row.try_get(place).map_err(failed())?;
        named.push(format!("{} = {value}", column.name));
    }
    Ok(Error::Refused(format!(
        "{}: the row with {}: {}; mend it, or leave it out with the step's where, then resume",
        what(op),
        named.join(", "),
        failure.why
    )))
}

/// The operation and its place, for messages.
fn what(op: &Transform) -> String {
    format!(
        "{} of {}.{}",
        op.call.function,
        op.write.table,
        ident(&op.source)
    )
}

fn io_error(op: &Transform) -> impl FnOnce(io::Error) -> Error {
    let context = what(op);
    move |source| Error::Io { context, source }
}
