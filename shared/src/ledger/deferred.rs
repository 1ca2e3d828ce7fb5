//! Destruction that waits for `commit`.

use sqlx::{PgConnection, Row};

use super::signed;
use crate::{
    Error, Result,
    ids::{RunId, TaskId},
};

/// What commit destroys. Relations are found by oid, because they may be renamed meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deferred {
    /// A hidden column: `pg_class.oid` and `attnum`.
    Column {
        /// Its table.
        relation: u32,
        /// Its number.
        attribute: i16,
    },
    /// A hidden table (or sequence, view): `pg_class.oid`.
    Table {
        /// The relation.
        relation: u32,
    },
    /// Anything else.
    Statement(String),
}

/// Records what commit will destroy, in the transaction of the work.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn insert(
    tx: &mut PgConnection,
    run: RunId,
    task: TaskId,
    deferred: &[Deferred],
) -> Result<()> {
    for (seq, one) in (1_i32..).zip(deferred) {
        let (kind, relation, attribute, statement) = match one {
            Deferred::Column {
                relation,
                attribute,
            } => ("column", Some(*relation), Some(*attribute), None),
            Deferred::Table { relation } => ("table", Some(*relation), None, None),
            Deferred::Statement(statement) => ("statement", None, None, Some(statement)),
        };
        sqlx::query(
            "-- record what commit destroys
            INSERT INTO upshift.deferred (run, task, seq, kind, relation, attribute, statement)
            VALUES ($1::uuid, $2, $3, $4, $5::bigint::oid, $6, $7)",
        )
        .bind(run.to_string())
        .bind(signed(task.0))
        .bind(seq)
        .bind(kind)
        .bind(relation.map(i64::from))
        .bind(attribute)
        .bind(statement)
        .execute(&mut *tx)
        .await
        .map_err(Error::database(format!("recording what {task} defers")))?;
    }
    Ok(())
}

/// Takes a task's deferred destruction out of the ledger, in order.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn take(tx: &mut PgConnection, run: RunId, task: TaskId) -> Result<Vec<Deferred>> {
    let failed = || Error::database(format!("reading what {task} defers"));
    let rows = sqlx::query(
        "-- take out what commit destroys
        WITH taken AS (
            DELETE FROM upshift.deferred WHERE run = $1::uuid AND task = $2
            RETURNING seq, kind, relation::bigint AS relation, attribute, statement
        )
        SELECT kind, relation, attribute, statement FROM taken ORDER BY seq",
    )
    .bind(run.to_string())
    .bind(signed(task.0))
    .fetch_all(tx)
    .await
    .map_err(failed())?;
    rows.iter()
        .map(|row| {
            let relation = || -> Result<u32> {
                let oid: i64 = row.try_get("relation").map_err(failed())?;
                u32::try_from(oid)
                    .map_err(|_| Error::Format("the ledger has an oid out of range".to_owned()))
            };
            match row.try_get::<&str, _>("kind").map_err(failed())? {
                "column" => Ok(Deferred::Column {
                    relation: relation()?,
                    attribute: row.try_get("attribute").map_err(failed())?,
                }),
                "table" => Ok(Deferred::Table {
                    relation: relation()?,
                }),
                "statement" => Ok(Deferred::Statement(
                    row.try_get("statement").map_err(failed())?,
                )),
                other => Err(Error::Format(format!(
                    "the ledger defers a \"{other}\", which this program does not know"
                ))),
            }
        })
        .collect()
}

/// The tasks of a run that have something to destroy: those that commit has to visit, beside those
/// with kept tables.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn tasks(conn: &mut PgConnection, run: RunId) -> Result<Vec<TaskId>> {
    let rows = sqlx::query(
        "-- tasks with deferred destruction
        SELECT DISTINCT task FROM upshift.deferred WHERE run = $1::uuid ORDER BY task",
    )
    .bind(run.to_string())
    .fetch_all(conn)
    .await
    .map_err(Error::database("reading what is deferred"))?;
    rows.iter()
        .map(|row| {
            row.try_get("task")
                .map(|task| TaskId(super::unsigned(task)))
        })
        .collect::<sqlx::Result<_>>()
        .map_err(Error::database("reading what is deferred"))
}
