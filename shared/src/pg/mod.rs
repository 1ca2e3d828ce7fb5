//! How Upshift reaches PostgreSQL: connecting, quoting, transactions.

pub mod ident;
