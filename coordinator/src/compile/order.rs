//! Placeholder until the branch that owns this file lands; overwrite it whole.
use super::model::*;
use upshift_shared::plan::Strategy;
/// Placeholder.
pub fn order(_: &Analysis, _: &Resolved, _: Strategy) -> Ordered {
    Ordered { edges: vec![] }
}
