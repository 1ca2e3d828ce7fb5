//! The transform operator as data.

use serde::{Deserialize, Serialize};

use super::InPlace;
use crate::transform::Call;

/// The table of one unit's changed rows, there until its transaction ends: columns `k1`, `k2`, …
/// for the key, with the key's types, and `value` of type text.
pub const TRANSFORMED_ROWS: &str = "pg_temp.upshift_rows";

/// Rows out by COPY, changed by a function, back in by COPY and one UPDATE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transform {
    /// The query of the rows that may change: the key as `k1`, `k2`, …, the old value as text in
    /// `source`, and where the new one goes into another column, what stands there now as text in
    /// `target`. A unit's range is a condition on `k1`, `k2`, … around it: COPY takes no parameters,
    /// so that the bounds are quoted into it by the worker.
    pub rows: String,
    /// Whether `rows` has a column `target`.
    pub compares: bool,
    /// The column that is read, not quoted.
    pub source: String,
    /// The column that is written, not quoted.
    pub target: String,
    /// Characters that the target takes at most, so that a value that is too long is told with its
    /// key: PostgreSQL would refuse it without.
    pub longest: Option<u32>,
    /// Whether the values are JSON objects of texts, and the function is for each of these: Odoo keeps a
    /// text in several languages so.
    pub translated: bool,
    /// What changes a value.
    pub call: Call,
    /// The UPDATE from [`TRANSFORMED_ROWS`], with its before-images: undone as any other.
    pub write: InPlace,
}
