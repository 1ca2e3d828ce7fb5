//! `upshift demo`: a throwaway cluster, a generated ERP-like database and a pack that upgrades it.

pub mod cluster;
mod server_user;
