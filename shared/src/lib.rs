//! What every part of Upshift agrees on: ids, the pack, the catalog, the plan, the ledger, and how
//! to reach PostgreSQL.

pub mod catalog;
pub mod clock;
pub mod config;
pub mod digest;
pub mod error;
pub mod fleet;
pub mod ids;
pub mod ledger;
pub mod pack;
pub mod pg;
pub mod plan;
pub mod suggest;
pub mod telemetry;
pub mod throttle;
pub mod tls;
pub mod transform;

pub use error::{Error, Result, Retry};
