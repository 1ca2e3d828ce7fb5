//! `upshift pack …`: work on packs, without a database.

use std::path::PathBuf;

use clap::Subcommand;

use super::Failure;

/// `upshift pack`
#[derive(Debug, Subcommand)]
pub(super) enum PackCommand {
    /// Read a pack and say everything that is wrong with it, or may surprise
    Lint {
        /// The pack's folder: the one that holds pack.toml
        #[arg(value_name = "PACK")]
        pack: PathBuf,
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
}

impl PackCommand {
    pub(super) fn json(&self) -> bool {
        let Self::Lint { json, .. } = self;
        *json
    }
}

pub(super) fn run(command: PackCommand) -> Result<(), Failure> {
    let PackCommand::Lint { pack, json: _ } = command;
    let _pack = super::compiling::load(&pack)?;
    Ok(())
}
