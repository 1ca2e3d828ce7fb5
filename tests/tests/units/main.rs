//! Units against a real PostgreSQL: whatever the operator, doing it twice does it once, undoing it
//! leaves the database identical, undoing it twice does nothing, doing it again works, and after commit
//! the database is as `psql` would have left it.

mod metadata;
mod outside;
mod rig;
mod rows;
mod transform;
