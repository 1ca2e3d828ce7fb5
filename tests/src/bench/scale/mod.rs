//! Many of everything: the engine alone in virtual time, and real sessions of workers whose units do
//! nothing.

pub mod conducted;
pub mod engine;
pub mod fleet;
mod idler;
mod rules;
pub mod sessions;
mod side;
pub mod simulation;
pub mod world;

use anyhow::Result;
use clap::Subcommand;

/// What is large.
#[derive(Debug, Subcommand)]
pub enum Scale {
    /// Many databases, workers and units through the real engine, in virtual time.
    Engine(engine::Options),
    /// A fleet of many databases through the real state machine and the real engine, in virtual time.
    Fleet(fleet::Options),
    /// Many real sessions of workers on loopback, with units that do nothing.
    Sessions(sessions::Options),
}

/// Runs it.
///
/// # Errors
/// Where something does not work, or a rule is broken.
pub async fn run(scale: &Scale) -> Result<()> {
    match scale {
        Scale::Engine(options) => engine::run(options),
        Scale::Fleet(options) => fleet::run(options),
        Scale::Sessions(options) => sessions::run(options).await,
    }
}
