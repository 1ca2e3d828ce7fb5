//! The coordinator: compiles packs into plans, drives runs, and is the `upshift` command.

pub mod activity;
pub mod command;
pub mod compile;
pub mod coordination;
pub mod demo;
pub mod doctor;
pub mod driver;
pub mod engine;
pub mod figures;
pub mod fleet;
pub mod group;
pub mod health;
pub mod lint;
pub mod metrics;
mod placeholders;
pub mod progress;
pub mod server;
mod signals;
pub mod snapshot;
mod verification;
