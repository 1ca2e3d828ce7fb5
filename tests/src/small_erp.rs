//! The small ERP of `packs/`: a few thousand rows and a pack that upgrades them in about a second.

use std::path::PathBuf;

use anyhow::Result;

use crate::harness::{Database, Server, repository};

/// The pack's folder.
#[must_use]
pub fn pack() -> PathBuf {
    repository().join("tests/packs/small_erp")
}

/// A database of it, not yet upgraded.
///
/// # Errors
/// Where the server says no.
pub async fn database() -> Result<Database> {
    Database::of_template("small_erp", fill).await
}

/// The same on a server of the test's own.
///
/// # Errors
/// Where the server says no.
pub fn database_on(server: &'static Server) -> Result<Database> {
    let database = Database::create_on(server)?;
    fill(&database)?;
    Ok(database)
}

fn fill(database: &Database) -> Result<()> {
    let schema = repository().join("tests/packs/small_erp.sql");
    database.psql_file(&schema).map(drop)
}
