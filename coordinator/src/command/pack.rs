//! `upshift pack …`: work on packs, without a database.

use std::path::PathBuf;

use clap::Subcommand;

use super::{Failure, database::print_line};
use crate::lint;

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

pub(super) fn run(command: PackCommand) -> Result<(), Failure> {
    let PackCommand::Lint { pack, json } = command;
    let (text, usable) = lint::lint(&pack, json);
    print_line(text.trim_end());
    if usable {
        Ok(())
    } else {
        Err(Failure::silent_usage())
    }
}
