//! Placeholder until the branch that owns this file lands; overwrite it whole.
use crate::compile::{error::BindError, model::Bound};
use upshift_shared::{catalog::Catalog, pack::Directives};
/// Placeholder.
pub fn bind(
    _: &pg_query::Node,
    _: &str,
    _: &Directives,
    _: &Catalog,
    _: &[String],
) -> Result<Bound, BindError> {
    Err(BindError::new("not landed yet"))
}
