//! Placeholder until the branch that owns this file lands; overwrite it whole.
use crate::compile::{error::BindError, model::Binding};
use upshift_shared::{catalog::Catalog, pack::Directives};
/// Placeholder.
pub fn bind(
    _: &pg_query::Node,
    _: &str,
    _: &Directives,
    _: &mut Catalog,
    _: &[String],
) -> Result<Binding, BindError> {
    Err(BindError::new("not landed yet"))
}
