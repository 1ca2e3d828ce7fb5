//! The health of a database's server, as a run sees it: signals that say whether it may go on, should
//! go slower, or should pause. **Pure**: each signal is a question in SQL and a decision from the
//! answers to it; the driver asks all questions in one query (`driver/monitor.rs`).

mod checkpoint;
mod governor;
mod lock_wait;
mod replication;
mod session;
#[cfg(test)]
mod testing;
mod wal;

use std::time::Duration;

use serde_json::Value;
use upshift_shared::throttle::ThrottleLimits;

pub use governor::{Governor, Hold, Outlook};

/// Sessions of runs in this database, whatever they do at present: they are called `upshift …`.
/// (Application names, unlike most of the view, are shown to every role.)
const OURS: &str = "SELECT pid FROM pg_catalog.pg_stat_activity
     WHERE datname = current_database() AND application_name LIKE 'upshift %'";

/// What a signal makes of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// As fast as can be.
    Go,
    /// On this part of the slots, but on one at least.
    Slow {
        /// Above 0 and below 1.
        fraction: f64,
        /// What was seen, against what is borne.
        reason: String,
    },
    /// No new unit begins.
    Pause {
        /// What was seen, against what is borne.
        reason: String,
    },
    /// It cannot be seen, and so holds nothing back.
    Unknown {
        /// Why, and what would help.
        reason: String,
    },
}

impl Verdict {
    /// The part of the slots that may be used.
    fn fraction(&self) -> f64 {
        match self {
            Self::Go | Self::Unknown { .. } => 1.0,
            Self::Slow { fraction, .. } => *fraction,
            Self::Pause { .. } => 0.0,
        }
    }

    fn half(reason: String) -> Self {
        let fraction = 0.5;
        Self::Slow { fraction, reason }
    }

    fn quarter(reason: String) -> Self {
        let fraction = 0.25;
        Self::Slow { fraction, reason }
    }
}

/// When an answer came.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Since the run was begun by this process.
    pub at: Duration,
    /// Whether the signal holds the run back at present: then it lets go only well below its threshold.
    pub held: bool,
}

impl Moment {
    /// The threshold at this moment.
    fn threshold(self, limit: f64) -> f64 {
        /// What has to be gained before a signal lets go, so that it does not flap.
        const MARGIN: f64 = 0.8;
        if self.held { limit * MARGIN } else { limit }
    }
}

/// A signal: one file each.
pub trait Signal: Send + Sync {
    /// What operators call it.
    fn name(&self) -> &'static str;

    /// What to ask: an SQL expression of type jsonb, without parameters, that every role may ask.
    /// `version` is the server's, as in `server_version_num`.
    fn question(&self, version: u32) -> String;

    /// Decides from the answer.
    fn judge(&mut self, answer: &Value, moment: Moment) -> Verdict;
}

/// The signals that these thresholds ask for, in the order in which they are named to people.
#[must_use]
pub fn signals(limits: &ThrottleLimits) -> Vec<Box<dyn Signal>> {
    let mut signals: Vec<Box<dyn Signal>> = Vec::new();
    if let Some(limit) = limits.max_replication_lag.and_then(|limit| limit.up_to()) {
        signals.push(Box::new(replication::Replication::new(limit)));
    }
    if let Some(budget) = limits.wal_budget.and_then(|limit| limit.up_to()) {
        signals.push(Box::new(wal::Wal::new(budget)));
    }
    let requested = limits.max_requested_checkpoints;
    if let Some(most) = requested.and_then(|limit| limit.up_to()) {
        signals.push(Box::new(checkpoint::Checkpoints::new(most)));
    }
    if let Some(most) = lock_wait::most(limits) {
        let wait = lock_wait::wait(limits);
        signals.push(Box::new(lock_wait::LockWaits::new(most, wait)));
    }
    if let Some(most) = limits.max_active_sessions.and_then(|limit| limit.up_to()) {
        signals.push(Box::new(session::Sessions::new(most)));
    }
    signals
}
