//! The compiler: `load → resolve → analyse → order → optimise → physical`, each stage a pure function from data
//! to data. Nothing here does I/O.

pub mod analyse;
pub mod edit;
pub mod error;
pub mod model;
pub mod optimise;
pub mod order;
pub mod physical;
pub mod render;
pub mod resolve;
mod snapshots;
pub(crate) mod sql;

use std::collections::BTreeMap;

use upshift_shared::{
    catalog::Catalog,
    pack::{Pack, Version},
    plan::Plan,
};

pub use error::CompileError;
pub use model::{Options, Passes, SnapshotRequest};
pub use snapshots::place as place_snapshots;

/// All stages, one after another.
///
/// # Errors
/// What the first stage that complains says.
pub fn compile(
    pack: &Pack,
    installed: &BTreeMap<String, Version>,
    catalog: Catalog,
    options: &Options,
) -> Result<Plan, CompileError> {
    let heading = heading(pack, &catalog);
    let resolved = resolve::resolve(pack, installed)?;
    let analysis = analyse::analyse(&resolved, catalog, options)?;
    let ordered = order::order(&analysis, &resolved, options.strategy);
    let optimised = optimise::optimise(&analysis, &ordered, options);
    let mut plan = physical::plan(heading, &resolved, analysis, &optimised, options.strategy)?;
    if let Some(request) = options.snapshot {
        snapshots::place(&mut plan, request);
    }
    Ok(plan)
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
