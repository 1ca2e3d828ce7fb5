//! The driver: turns what workers, operators and timers report into engine events, and the engine's
//! commands into ledger writes and unit leases. One `select!` loop a process (`attend.rs`), whose arms only
//! build an `Input`; all runs of the process are driven by it, each by a `Drive`, one input at a time.
//!
//! Shutdown, in this order: no new units (the engine stops offering), units in flight end, the run's
//! end is recorded, workers are drained, the database's lock is given back.

mod answer;
mod attend;
pub mod checkpoints;
pub mod commit;
mod conduct;
mod cut;
mod desk;
mod drive;
mod group;
pub mod hub;
pub(crate) mod journal;
mod lease;
mod monitor;
mod operation;
pub mod process;
pub mod quarantine;
mod rebuild;
mod report;
pub mod rollback;
mod segment;
pub mod sessions;
mod steering;
mod traces;
mod units;
mod waits;
mod workforce;

use std::time::Duration;

use upshift_shared::{Error, Retry, throttle::ThrottleLimits};
use upshift_worker::unit::described;

pub use attend::Driver;
pub use conduct::{Conducted, Order, Place};
pub use rebuild::{Rebuilt, back, forward};

use crate::{
    engine::{Failure, FailureClass, StopReason},
    progress::Ending,
};
use operation::{Answer, Operation};

/// What a run may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Workers in the process.
    pub workers: u32,
    /// Units at once.
    pub max_units: u32,
    /// Units of one task at once.
    pub max_units_per_task: u32,
    /// What of the server's health is borne.
    pub throttle: ThrottleLimits,
    /// Attempts at a unit.
    pub max_attempts: u32,
    /// Rows of the first units of a task.
    pub first_unit_rows: Option<u64>,
    /// For one lock.
    pub lock_timeout: Duration,
    /// For one statement; zero for ever.
    pub statement_timeout: Duration,
    /// The same for tasks that are cut: their units can be made smaller.
    pub cut_statement_timeout: Duration,
    /// Going back: go on where fewer rows come back than were kept.
    pub force: bool,
}

/// Which way the driver goes, and to where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aim {
    /// To `prepared`.
    Forward,
    /// To this checkpoint, or to the start.
    Back {
        /// Its name.
        to: Option<String>,
    },
    /// Some tasks are taken back that the run then does anew, as an edited pack has them: the run stays
    /// `running`.
    TakeBack,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// In the ledger's words.
    pub ending: Ending,
    /// What failed, or why it stopped; empty when all went well.
    pub message: String,
    /// Whether somebody else has the run now.
    pub fenced: bool,
}

fn driver_failure(class: FailureClass, message: String) -> StopReason {
    StopReason::Driver(Failure {
        class,
        message,
        sqlstate: None,
    })
}

/// An error of the driver's own work, as the engine sees it.
fn failure(error: &Error) -> Failure {
    Failure {
        class: match (error, error.retry()) {
            (Error::Fenced { .. }, _) => FailureClass::Fenced,
            (_, Retry::Now) => FailureClass::Now,
            (_, Retry::Later) => FailureClass::Later,
            (_, Retry::Operator) => FailureClass::Operator,
            (_, Retry::Never) => FailureClass::Never,
        },
        message: described(error),
        sqlstate: error.sqlstate(),
    }
}
