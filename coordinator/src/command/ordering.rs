//! What a run is asked for beside its plan: it is stored with the run, and `resume` keeps to it.

use clap::{Args, ValueEnum};
use upshift_shared::{
    config::RunDefaults,
    ledger::options::{RunOptions, Verify},
};

use super::bad_data::BadDataArguments;

/// Options of `run` that the run keeps.
#[derive(Debug, Clone, Args)]
pub(super) struct OrderingArguments {
    /// How much is verified: rows are counted, or digests of what the pack does not mention are
    /// compared as well, before and after [default: counts]
    #[arg(long, value_enum, value_name = "LEVEL")]
    verify: Option<VerifyArgument>,
    #[command(flatten)]
    pub(super) bad_data: BadDataArguments,
}

/// `--verify`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum VerifyArgument {
    /// Nothing
    Off,
    /// Rows of every unit and, at the end, of every table written
    Counts,
    /// Digests too
    Full,
}

impl OrderingArguments {
    /// As the ledger stores them; what is not asked for is as the configuration has it.
    pub(super) fn options(&self, defaults: &RunDefaults) -> RunOptions {
        let verify = self.verify.map(|verify| match verify {
            VerifyArgument::Off => Verify::Off,
            VerifyArgument::Counts => Verify::Counts,
            VerifyArgument::Full => Verify::Full,
        });
        let mut options = RunOptions {
            verify: verify.or(defaults.verify).unwrap_or_default(),
            ..RunOptions::default()
        };
        self.bad_data.fill(&mut options, defaults);
        options
    }
}
