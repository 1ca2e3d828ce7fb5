//! `upshift demo`: a throwaway cluster, a generated ERP-like database and a pack that upgrades it.

pub mod cluster;
pub mod database;
pub mod pack;
mod server_user;
