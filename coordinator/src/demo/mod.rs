//! `upshift demo`: a throwaway cluster, a generated ERP-like database and a pack that upgrades it.

pub mod cluster;
pub mod database;
pub mod pack;
mod postmaster;
pub mod schema;
mod server_user;
mod show;

pub use show::{DemoOptions, show};
