//! What Upshift's tests share: PostgreSQL to test against, the command to run, and the comparison of
//! two databases.

pub mod bench;
pub mod chaos;
pub mod cluster;
pub mod compare;
pub mod faults;
pub mod fleet;
pub mod generator;
pub mod group;
pub mod harness;
pub mod modular;
pub mod odoo;
pub mod oracle;
mod seeds;
pub mod simulation;
pub mod small_erp;
pub mod tenants;
mod waiting;

pub use seeds::seeds;
pub use waiting::{eventually, eventually_async};
