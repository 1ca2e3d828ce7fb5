//! The compiler: `load → resolve → analyse → order → physical`, each stage a pure function from data
//! to data. Nothing here does I/O.

pub mod analyse;
pub mod error;
pub mod model;
pub mod order;
pub mod physical;
pub mod render;
pub mod resolve;

use std::collections::BTreeMap;

use upshift_shared::{
    catalog::Catalog,
    pack::{Pack, Version},
    plan::{Plan, Strategy},
};

pub use error::CompileError;

/// All stages, one after another.
///
/// # Errors
/// What the first stage that complains says.
pub fn compile(
    pack: &Pack,
    installed: &BTreeMap<String, Version>,
    catalog: Catalog,
    strategy: Strategy,
) -> Result<Plan, CompileError> {
    let heading = heading(pack, &catalog);
    let resolved = resolve::resolve(pack, installed)?;
    let analysis = analyse::analyse(&resolved, catalog, strategy)?;
    let ordered = order::order(&analysis, &resolved, strategy);
    physical::plan(heading, &resolved, analysis, ordered, strategy)
}

/// What the plan repeats about pack and database.
#[must_use]
pub fn heading(pack: &Pack, catalog: &Catalog) -> physical::Heading {
    physical::Heading {
        pack: pack.name.clone(),
        target_version: pack.target_version.clone(),
        database: catalog.database.clone(),
        server_version: catalog.server_version,
    }
}
