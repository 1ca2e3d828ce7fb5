//! Values on their way through a function: batches changed on all cores while the next one is read, what
//! changed kept in a file, and sent into a temporary table. Whoever reads the rows, and whatever becomes
//! of that table: a transform by itself, or one that joined a pass.

use std::{
    io::{self, Read, Seek, SeekFrom, Write},
    sync::Arc,
};

use sqlx::{PgConnection, Row};
use tempfile::SpooledTempFile;
use tokio::{sync::oneshot, task::spawn_blocking};
use upshift_shared::{Error, Result, pg::sql, plan::KeyColumn, transform::Call};

use crate::transform::{
    Function,
    batch::{self, Batch, Changed, Failure, Shape},
    binary::{self, Field},
    build,
    translated::Translated,
};

/// Changed rows wait in memory up to this, and in a file beyond.
const SPOOLED: usize = batch::BYTES;
/// Bytes read from the file and sent at once.
const PIECE: usize = 256 * 1024;

/// What is done to the rows, and where they go.
pub(in crate::unit) struct Way<'a> {
    /// The operation and its place, for messages.
    pub(in crate::unit) what: String,
    /// What to do about a row that is refused.
    pub(in crate::unit) advice: &'static str,
    /// The key of the rows.
    pub(in crate::unit) key: &'a [KeyColumn],
    /// How they are read.
    pub(in crate::unit) shape: Shape,
    /// The function.
    pub(in crate::unit) call: &'a Call,
    /// Whether it is for each text of a JSON object.
    pub(in crate::unit) translated: bool,
    /// The temporary table of changed rows: `k1`, `k2`, …, with the key's types, and `value` of type
    /// text.
    pub(in crate::unit) rows: String,
}

impl Way<'_> {
    /// Makes the temporary table of changed rows: the key with the types and collations that it has in the
    /// query of the rows, so that its binary form comes back as it went, and the new value as text.
    pub(in crate::unit) fn create_rows(&self, query: &str) -> String {
        let key: String = self
            .numbered()
            .map(|(name, _)| format!("r.{name}, "))
            .collect();
        format!(
            "/* upshift: rows in */ CREATE TEMPORARY TABLE {} ON COMMIT DROP AS \
             SELECT {key}NULL::text AS value FROM ({query}) AS r WITH NO DATA",
            self.rows
        )
    }

    /// Says so of an error in it.
    pub(in crate::unit) fn making_rows(&self) -> impl FnOnce(sqlx::Error) -> Error + use<> {
        Error::database(format!("{}: making a temporary table", self.what))
    }

    /// `k1`, `k2`, … with the key's columns.
    pub(in crate::unit) fn numbered(&self) -> impl Iterator<Item = (String, &KeyColumn)> {
        (1..)
            .zip(self.key)
            .map(|(n, column): (u32, _)| (format!("k{n}"), column))
    }

    /// Sends the changed rows.
    pub(in crate::unit) async fn copy_in(
        &self,
        tx: &mut PgConnection,
        mut spool: SpooledTempFile,
    ) -> Result<()> {
        let what = &self.what;
        let failed = || Error::database(format!("{what}: writing its values"));
        spool = blocking(what, move || spool.seek(SeekFrom::Start(0)).map(|_| spool)).await?;
        let copy = format!(
            "/* upshift: rows in */ COPY {} FROM STDIN (FORMAT binary)",
            self.rows
        );
        let mut sink = tx.copy_in_raw(&copy).await.map_err(failed())?;
        sink.send(binary::begin()).await.map_err(failed())?;
        loop {
            let read = blocking(what, move || {
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
    /// it. The temporary table is there, and empty.
    pub(in crate::unit) async fn refusal(
        &self,
        tx: &mut PgConnection,
        failure: Failure,
    ) -> Result<Error> {
        let what = &self.what;
        let mut bytes = Vec::new();
        let fields = failure.key.iter().map(Option::as_deref);
        let fields: Vec<Option<&[u8]>> = fields.chain(std::iter::once(None)).collect();
        binary::row(&mut bytes, fields.into_iter()).map_err(|e| Error::Format(e.to_string()))?;
        let spool = written(what, SpooledTempFile::new(SPOOLED), bytes).await?;
        self.copy_in(tx, spool).await?;
        let key: Vec<String> = self
            .numbered()
            .map(|(name, _)| format!("{name}::text"))
            .collect();
        let select = format!(
            "/* upshift: name a row */ SELECT {} FROM {}",
            key.join(", "),
            self.rows
        );
        let failed = || Error::database(format!("{what}: naming a row"));
        let row = sqlx::query(sql(select))
            .persistent(false)
            .fetch_one(tx)
            .await
            .map_err(failed())?;
        let mut named = Vec::with_capacity(self.key.len());
        for (place, column) in self.key.iter().enumerate() {
            let value: String = row.try_get(place).map_err(failed())?;
            named.push((column.name.clone(), value));
        }
        Ok(Error::BadValue {
            what: what.clone(),
            key: named,
            why: failure.why,
            advice: self.advice,
        })
    }
}

/// Rows on their way from the server into the file.
pub(in crate::unit) struct Passed {
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
    pub(in crate::unit) fn new(way: &Way<'_>) -> Result<Self> {
        let function = build(way.call).map_err(Error::Format)?;
        Ok(Self {
            function: match way.translated {
                true => Arc::new(Translated(function)),
                false => Arc::from(function),
            },
            shape: way.shape,
            what: way.what.clone(),
            batch: Batch::default(),
            changing: None,
            spool: SpooledTempFile::new(SPOOLED),
            rows: 0,
            failure: None,
        })
    }

    /// Takes a row in.
    pub(in crate::unit) async fn push(&mut self, row: Vec<Field>) -> Result<()> {
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
    pub(in crate::unit) async fn finish(
        mut self,
    ) -> Result<Result<(SpooledTempFile, u64), Failure>> {
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
