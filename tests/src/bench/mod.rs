//! Benchmarks: one file each, run by the command `upshift-bench`.

pub mod engine;
pub mod fleet;
pub mod in_place;
pub mod overhead;
pub mod plan;
pub mod rewrite;
pub mod scale;
