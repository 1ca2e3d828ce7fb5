//! How Upshift reaches PostgreSQL: connecting, quoting, transactions.

pub mod ident;

/// Vouches for SQL that was put together at run time: fixed text and names or values quoted by
/// [`ident`], or a statement of the pack as its author wrote it. The one place that asserts it.
pub fn sql(text: impl Into<String>) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(text.into())
}
