//! The small ERP of `packs/`: a few thousand rows and a pack that upgrades them in about a second.

use std::path::PathBuf;

use anyhow::Result;

use crate::harness::{Database, repository};

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
    let schema = repository().join("tests/packs/small_erp.sql");
    Database::of_template("small_erp", |database| {
        database.psql_file(&schema).map(drop)
    })
    .await
}
