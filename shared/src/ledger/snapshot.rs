//! Snapshots of the whole database: `started` before one is taken, `done` when it can be restored.

use std::collections::BTreeMap;

use sqlx::{PgConnection, Row};

use super::{
    fence::{self, Holder},
    signed, unsigned,
};
use crate::{Error, Result, ids::RunId, plan::SnapshotKind};

/// What the ledger knows of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRow {
    /// How it was, or was to be, taken.
    pub kind: SnapshotKind,
    /// The database or directory that holds it, or what the configured commands call it by.
    pub name: String,
    /// Whether it is whole: it can be restored.
    pub done: bool,
}

/// The snapshots of a run, by their place in the plan; none where an older program made the ledger.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn load(conn: &mut PgConnection, run: RunId) -> Result<BTreeMap<u32, SnapshotRow>> {
    let context = "reading the run's snapshots";
    if !super::has_table(conn, "upshift.snapshot").await? {
        return Ok(BTreeMap::new());
    }
    let rows = sqlx::query(
        "-- load the run's snapshots
        SELECT seq, kind, name, state = 'done' AS done
        FROM upshift.snapshot WHERE run = $1::uuid",
    )
    .bind(run.to_string())
    .fetch_all(conn)
    .await
    .map_err(Error::database(context))?;
    let mut snapshots = BTreeMap::new();
    for row in rows {
        let text = |name: &str| row.try_get::<String, _>(name);
        let kind = text("kind").map_err(Error::database(context))?;
        let known = SnapshotKind::ALL.into_iter().find(|k| k.as_str() == kind);
        let kind = known.ok_or_else(|| {
            Error::Format(format!(
                "the ledger has a snapshot of kind \"{kind}\", which this program does not know: use a \
                 newer one"
            ))
        })?;
        let decoded = || -> sqlx::Result<(u32, SnapshotRow)> {
            let name = text("name")?;
            let done = row.try_get("done")?;
            let seq = unsigned(row.try_get("seq")?);
            Ok((seq, SnapshotRow { kind, name, done }))
        };
        let (seq, row) = decoded().map_err(Error::database(context))?;
        snapshots.insert(seq, row);
    }
    Ok(snapshots)
}

/// Records that a snapshot is about to be taken.
///
/// # Errors
/// [`Error::Fenced`] when somebody else drives the run.
pub async fn start(
    conn: &mut PgConnection,
    holder: Holder,
    seq: u32,
    (kind, name): (SnapshotKind, &str),
) -> Result<()> {
    let name = name.to_owned();
    fence::run(conn, "begin a snapshot", holder, |tx, _scope| {
        let name = name.clone();
        Box::pin(async move {
            sqlx::query(
                "-- a snapshot is about to be taken
                INSERT INTO upshift.snapshot (run, seq, kind, name, state, relation)
                VALUES ($1::uuid, $2, $3, $4, 'started', 'upshift.snapshot'::regclass)
                ON CONFLICT (run, seq) DO UPDATE
                SET kind = excluded.kind, name = excluded.name, state = 'started',
                    relation = excluded.relation, started_at = clock_timestamp(),
                    finished_at = NULL",
            )
            .bind(holder.run.to_string())
            .bind(signed(seq))
            .bind(kind.as_str())
            .bind(name)
            .execute(tx)
            .await
            .map_err(Error::database("recording that a snapshot begins"))?;
            Ok(())
        })
    })
    .await
}

/// Whether the objects of a restored database still have the oids that they had when the snapshot was
/// taken: what is hidden and kept is found by them.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn has_its_oids(conn: &mut PgConnection, run: RunId, seq: u32) -> Result<bool> {
    sqlx::query(
        "-- was the database restored from a logical dump
        SELECT EXISTS (SELECT FROM upshift.snapshot
                       WHERE run = $1::uuid AND seq = $2
                         AND relation = 'upshift.snapshot'::regclass) AS same",
    )
    .bind(run.to_string())
    .bind(signed(seq))
    .fetch_one(conn)
    .await
    .and_then(|row| row.try_get("same"))
    .map_err(Error::database("looking at the restored ledger"))
}

/// Records that a snapshot is whole.
///
/// # Errors
/// [`Error::Fenced`] when somebody else drives the run.
pub async fn finish(conn: &mut PgConnection, holder: Holder, seq: u32) -> Result<()> {
    change(
        conn,
        (holder, seq),
        "record a snapshot",
        "-- a snapshot is taken
        UPDATE upshift.snapshot SET state = 'done', finished_at = clock_timestamp()
        WHERE run = $1::uuid AND seq = $2",
    )
    .await
}

/// Forgets a snapshot: it is dropped.
///
/// # Errors
/// [`Error::Fenced`] when somebody else drives the run.
pub async fn forget(conn: &mut PgConnection, holder: Holder, seq: u32) -> Result<()> {
    change(
        conn,
        (holder, seq),
        "forget a snapshot",
        "-- a snapshot is dropped
        DELETE FROM upshift.snapshot WHERE run = $1::uuid AND seq = $2",
    )
    .await
}

async fn change(
    conn: &mut PgConnection,
    (holder, seq): (Holder, u32),
    name: &'static str,
    statement: &'static str,
) -> Result<()> {
    fence::run(conn, name, holder, move |tx, _scope| {
        Box::pin(async move {
            sqlx::query(statement)
                .bind(holder.run.to_string())
                .bind(signed(seq))
                .execute(tx)
                .await
                .map_err(Error::database(format!("recording snapshot {seq}")))?;
            Ok(())
        })
    })
    .await
}
