//! What the stages of a shadow pass tell each other: the statements that build its indexes.

use sqlx::{PgConnection, Row};

use super::signed;
use crate::{
    Error, Result,
    ids::{RunId, TaskId},
};

/// What a statement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// CREATE INDEX.
    Index,
    /// ADD CONSTRAINT … USING INDEX.
    Attach,
    /// Whatever is set on an index: clustering, replica identity, comment.
    Mark,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Attach => "attach",
            Self::Mark => "mark",
        }
    }
}

/// A statement for an index of the new table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexStatement {
    /// What it is for.
    pub kind: Kind,
    /// The index's name, not quoted.
    pub name: String,
    /// The statement.
    pub statement: String,
}

/// Records the statements of a pass, in the transaction that builds the new table.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn record(
    tx: &mut PgConnection,
    run: RunId,
    pass: TaskId,
    statements: &[IndexStatement],
) -> Result<()> {
    let kinds: Vec<&str> = statements.iter().map(|one| one.kind.name()).collect();
    let names: Vec<&str> = statements.iter().map(|one| one.name.as_str()).collect();
    let texts: Vec<&str> = statements
        .iter()
        .map(|one| one.statement.as_str())
        .collect();
    sqlx::query(
        "-- record the indexes of a pass
        INSERT INTO upshift.shadow (run, task, seq, kind, name, statement)
        SELECT $1::uuid, $2, s.seq::integer, s.kind, s.name, s.statement
        FROM unnest($3::text[], $4::text[], $5::text[]) WITH ORDINALITY
             AS s (kind, name, statement, seq)",
    )
    .bind(run.to_string())
    .bind(signed(pass.0))
    .bind(kinds)
    .bind(names)
    .bind(texts)
    .execute(tx)
    .await
    .map_err(Error::database("recording the indexes of a pass"))?;
    Ok(())
}

/// The statements of a pass of one kind, in order; for one index, where it is named.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn load(
    tx: &mut PgConnection,
    run: RunId,
    pass: TaskId,
    kind: Kind,
    index: Option<&str>,
) -> Result<Vec<IndexStatement>> {
    let failed = || Error::database("reading the indexes of a pass");
    let rows = sqlx::query(
        "-- the indexes of a pass
        SELECT name, statement FROM upshift.shadow
        WHERE run = $1::uuid AND task = $2 AND kind = $3 AND ($4::text IS NULL OR name = $4)
        ORDER BY seq",
    )
    .bind(run.to_string())
    .bind(signed(pass.0))
    .bind(kind.name())
    .bind(index)
    .fetch_all(tx)
    .await
    .map_err(failed())?;
    rows.iter()
        .map(|row| {
            Ok(IndexStatement {
                kind,
                name: row.try_get("name")?,
                statement: row.try_get("statement")?,
            })
        })
        .collect::<sqlx::Result<_>>()
        .map_err(failed())
}

/// Forgets the statements of a pass.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn forget(tx: &mut PgConnection, run: RunId, pass: TaskId) -> Result<()> {
    sqlx::query(
        "-- forget the indexes of a pass
        DELETE FROM upshift.shadow WHERE run = $1::uuid AND task = $2",
    )
    .bind(run.to_string())
    .bind(signed(pass.0))
    .execute(tx)
    .await
    .map_err(Error::database("forgetting the indexes of a pass"))?;
    Ok(())
}
