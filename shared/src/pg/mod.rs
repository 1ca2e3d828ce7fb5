//! How Upshift reaches PostgreSQL: connecting, quoting, transactions.

pub mod ident;
mod target;
pub mod transaction;

pub use sqlx::PgConnection;
pub use target::{Target, connect, rename};

/// Vouches for SQL that was put together at run time: fixed text and names or values quoted by
/// [`ident`], or a statement of the pack as its author wrote it. The one place that asserts it.
pub fn sql(text: impl Into<String>) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(text.into())
}

/// Runs one or more statements by the simple query protocol and returns the rows that they
/// affected, as the command tags say.
///
/// # Errors
/// As the server or the connection reports.
pub async fn execute_raw(conn: &mut PgConnection, text: impl Into<String>) -> sqlx::Result<u64> {
    let done = sqlx::raw_sql(sql(text)).execute(conn).await?;
    Ok(done.rows_affected())
}
