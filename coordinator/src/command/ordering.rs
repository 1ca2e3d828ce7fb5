//! What a run is asked for beside its plan: it is stored with the run, and `resume` keeps to it.

use clap::{Args, ValueEnum};
use upshift_shared::{
    config::RunDefaults,
    ledger::options::{RunOptions, Verify},
};

/// Options of `run` that the run keeps.
#[derive(Debug, Clone, Args)]
pub(super) struct OrderingArguments {
    /// How much is verified: rows are counted, or digests of what the pack does not mention are
    /// compared as well, before and after [default: counts]
    #[arg(long, value_enum, value_name = "LEVEL")]
    verify: Option<VerifyArgument>,
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
        RunOptions {
            verify: verify.or(defaults.verify).unwrap_or_default(),
        }
    }
}
