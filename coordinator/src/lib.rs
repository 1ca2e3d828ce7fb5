//! The coordinator: compiles packs into plans, drives runs, and is the `upshift` command.

pub mod compile;
pub mod demo;
pub mod engine;
pub mod figures;
pub mod lint;
pub mod progress;
