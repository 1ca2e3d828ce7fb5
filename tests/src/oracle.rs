//! The oracle: what running the same files in order with `psql` leaves behind.
//!
//! The order is the one that `resolve` gives; which order that has to be is tested by itself. Files of
//! typed steps are no SQL and are left out, and `when` is not heeded: a pack for the oracle guards with
//! it only what would change nothing anyway.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sqlx::Connection;
use upshift_coordinator::compile;
use upshift_shared::{
    catalog,
    pack::{self, StepKind},
};

use crate::harness::Database;

/// The files of a pack that would run on this database, in order, relative to the pack's folder.
///
/// # Errors
/// Where the pack does not load, or does not fit the database.
pub async fn files(database: &Database, pack: &Path) -> Result<Vec<PathBuf>> {
    let pack = pack::load(pack)?;
    let mut connection = database.connect().await?;
    let catalog = catalog::snapshot::read(&mut connection).await?;
    let installed =
        catalog::installed::installed(&mut connection, &catalog, pack.installed.as_ref()).await?;
    connection.close().await?;
    let resolved = compile::resolve::resolve(&pack, &installed)?;
    let mut files: Vec<PathBuf> = Vec::new();
    for step in &resolved.steps {
        let file = &step.location.file;
        if matches!(step.kind, StepKind::Sql(_)) && files.last() != Some(file) {
            files.push(file.clone());
        }
    }
    Ok(files)
}

/// Upgrades a database as a person with `psql` would: file after file, each in a session of its own.
///
/// # Errors
/// With what `psql` says.
pub async fn upgrade(database: &Database, pack: &Path) -> Result<()> {
    for file in files(database, pack).await? {
        database
            .psql_file(&pack.join(&file))
            .with_context(|| format!("the oracle, in {}", file.display()))?;
    }
    Ok(())
}
