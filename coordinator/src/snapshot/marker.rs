//! What the comment of a database says while it is, or was, part of a snapshot. Comments of databases are
//! in a catalog that all databases share, so they are found when the database itself is not.

use serde::{Deserialize, Serialize};
use sqlx::Row;
use upshift_shared::{
    Error, Result,
    ids::RunId,
    pg::{
        PgConnection, execute_raw,
        ident::{ident, literal},
    },
};

/// How a comment of ours begins.
const PREFIX: &str = "upshift: ";

/// What a database is just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A copy that lacks something yet. Set by who makes it.
    Taking,
    /// A copy that can be restored. Set by who made it.
    Ready,
    /// The database itself, about to be replaced by a copy. Set by who holds its lock.
    Restoring,
    /// A copy that has taken the database's name; its ledger has to be told. Set with the swap.
    Restored,
    /// What it replaced: to be dropped. Set with the swap.
    Replaced,
}

/// The comment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// What the database is.
    pub state: State,
    /// The run.
    pub run: RunId,
    /// The database that it is about, by its own name.
    pub database: String,
    /// While restoring: the epoch that the restored ledger has to exceed.
    pub epoch: i64,
    /// While restoring: the checkpoint that the rollback goes to; `None` for the start.
    pub to: Option<String>,
    /// The comment that belongs there.
    pub comment: Option<String>,
}

impl Marker {
    /// From a comment, if it is one of ours.
    #[must_use]
    pub fn parse(comment: &str) -> Option<Self> {
        serde_json::from_str(comment.strip_prefix(PREFIX)?).ok()
    }

    /// As a comment.
    pub(crate) fn text(&self) -> String {
        let json = serde_json::to_string(self).expect("a marker is plain data");
        format!("{PREFIX}{json}")
    }

    /// The statement that says it of this database.
    #[must_use]
    pub fn statement(&self, database: &str) -> String {
        comment_statement(database, Some(&self.text()))
    }

    /// Says it of this database.
    ///
    /// # Errors
    /// When the role does not own the database.
    pub async fn write(&self, conn: &mut PgConnection, database: &str) -> Result<()> {
        write_comment(conn, database, Some(&self.text())).await
    }
}

fn comment_statement(database: &str, comment: Option<&str>) -> String {
    let comment = comment.map_or_else(|| "NULL".to_owned(), literal);
    format!(
        "-- upshift: say what a database is\nCOMMENT ON DATABASE {} IS {comment}",
        ident(database)
    )
}

/// Gives a database this comment.
///
/// # Errors
/// When the role does not own the database.
pub async fn write_comment(
    conn: &mut PgConnection,
    database: &str,
    comment: Option<&str>,
) -> Result<()> {
    execute_raw(conn, comment_statement(database, comment))
        .await
        .map_err(Error::database(format!(
            "commenting on database {database}"
        )))?;
    Ok(())
}

/// The comment of a database.
///
/// # Errors
/// When it cannot be asked for.
pub async fn comment(conn: &mut PgConnection, database: &str) -> Result<Option<String>> {
    sqlx::query(
        "-- upshift: the comment of a database
         SELECT (SELECT shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database
                  WHERE datname = $1) AS comment",
    )
    .bind(database)
    .fetch_one(conn)
    .await
    .and_then(|row| row.try_get("comment"))
    .map_err(Error::database("reading the comment of a database"))
}

/// The comment that is the database's own: the one that a mark keeps, where it has one.
///
/// # Errors
/// When it cannot be asked for.
pub async fn own_comment(conn: &mut PgConnection, database: &str) -> Result<Option<String>> {
    let found = comment(conn, database).await?;
    Ok(found.and_then(|text| match Marker::parse(&text) {
        Some(marker) => marker.comment,
        None => Some(text),
    }))
}

/// What the comment of a database says, if it is one of ours.
///
/// # Errors
/// When it cannot be asked for.
pub async fn read(conn: &mut PgConnection, database: &str) -> Result<Option<Marker>> {
    let comment = comment(conn, database).await?;
    Ok(comment.as_deref().and_then(Marker::parse))
}

/// All databases that are marked, with what their comments say.
///
/// # Errors
/// When they cannot be asked for.
pub async fn all(conn: &mut PgConnection) -> Result<Vec<(String, Marker)>> {
    let context = "looking for databases that belong to snapshots";
    let rows = sqlx::query(
        "-- upshift: databases that belong to snapshots
         SELECT datname::text AS name, comment
           FROM pg_catalog.pg_database
          CROSS JOIN LATERAL shobj_description(oid, 'pg_database') AS comment
          WHERE starts_with(comment, $1)",
    )
    .bind(PREFIX)
    .fetch_all(conn)
    .await
    .map_err(Error::database(context))?;
    let mut found = Vec::new();
    for row in rows {
        let text = |name: &str| {
            row.try_get::<String, _>(name)
                .map_err(Error::database(context))
        };
        if let Some(marker) = Marker::parse(&text("comment")?) {
            found.push((text("name")?, marker));
        }
    }
    Ok(found)
}
