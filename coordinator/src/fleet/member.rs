//! A member: a database of a fleet, how its ledger says that it stands, and what of that the state
//! machine keeps.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use upshift_shared::fleet::{Labels, MemberName};

/// A database of a fleet, as it was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// How it is called.
    pub name: MemberName,
    /// The server that it is on, for the caps: the entry by which it is reached, or whatever else
    /// is the same for all databases of one server.
    pub server: String,
    /// Its labels: of its source and of the rules of the file.
    pub labels: Labels,
    /// Its size.
    pub bytes: u64,
    /// How long its upgrade is expected to take; zero where nobody knows.
    pub seconds: f64,
    /// How it stands.
    pub found: Found,
    /// The wave that its ledger has beside its run of this fleet: it stays in that.
    pub wave: Option<u32>,
}

/// How a member stands, by its ledger. What somebody else's runs have left there is said as what it
/// means here: [`Found::Untouched`], [`Found::Current`] or [`Found::Refused`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// This fleet has no run there, and it can be upgraded.
    Untouched,
    /// The same, and it was not begun: it is expected to take so long that it would not be through by the
    /// end of the window.
    TooLong(Duration),
    /// It could not be looked at: it is tried when its turn comes.
    Unknown(String),
    /// The same, and that it has failed is known, and why.
    Lost(String),
    /// It is at the target already, and not by this fleet: it is left alone.
    Current,
    /// It cannot be upgraded, and why: it is left alone.
    Refused(String),
    /// A run of this fleet has begun and not ended: it goes on when its turn comes.
    Running,
    /// It has failed before its ledger says anything, and why: nothing was done to it.
    NotBegun(String),
    /// The run has failed, and why. It can be gone on with.
    Failed(String),
    /// The run is prepared.
    Prepared,
    /// The run is committed.
    Committed,
    /// The way back has begun and not ended: it goes on.
    RollingBack,
    /// The run is rolled back; with the failure that led to it, where one did.
    RolledBack(Option<String>),
    /// A way back has failed, and why: an operator's case.
    Stuck(String),
}

/// A member by number: its place in the order of the fleet, waves first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u32);

/// What a member is at. Volatile: the ledgers and [`super::FleetPlace`] say the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// It waits for its turn: to begin, or to go on.
    Waiting,
    /// Its hook `before` runs.
    HookBefore,
    /// It is being upgraded.
    Running,
    /// Its run is being committed.
    Committing,
    /// Its run is being rolled back.
    RollingBack,
    /// Its hook `after` runs.
    HookAfter,
    /// It waits to be committed.
    WaitsForCommit,
    /// It waits to be rolled back.
    WaitsForRollback,
    /// It waits for its hook `after`, which nobody has seen the end of.
    WaitsForHook,
    /// Upgraded; it can be rolled back.
    Prepared,
    /// Upgraded for good.
    Committed,
    /// As it was before.
    RolledBack,
    /// It was at the target, and was left alone.
    Current,
    /// It cannot be upgraded, and was left alone.
    Refused,
    /// Its upgrade, its commit or one of its hooks has failed; it can be gone on with.
    Failed,
    /// Its way back has failed.
    Stuck,
}

impl MemberState {
    /// All, in the order in which a summary shows them.
    pub const ALL: [Self; 16] = [
        Self::Waiting,
        Self::HookBefore,
        Self::Running,
        Self::Committing,
        Self::RollingBack,
        Self::HookAfter,
        Self::WaitsForCommit,
        Self::WaitsForRollback,
        Self::WaitsForHook,
        Self::Prepared,
        Self::Committed,
        Self::RolledBack,
        Self::Current,
        Self::Refused,
        Self::Failed,
        Self::Stuck,
    ];

    /// Its name, for tables and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::HookBefore => "hook_before",
            Self::Running => "running",
            Self::Committing => "committing",
            Self::RollingBack => "rolling_back",
            Self::HookAfter => "hook_after",
            Self::WaitsForCommit => "waits_for_commit",
            Self::WaitsForRollback => "waits_for_rollback",
            Self::WaitsForHook => "waits_for_hook",
            Self::Prepared => "prepared",
            Self::Committed => "committed",
            Self::RolledBack => "rolled_back",
            Self::Current => "current",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Stuck => "stuck",
        }
    }

    /// Whether something is being done to it: it counts for the caps.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(
            self,
            Self::HookBefore
                | Self::Running
                | Self::Committing
                | Self::RollingBack
                | Self::HookAfter
        )
    }

    /// Whether it waits for something to be done to it.
    #[must_use]
    pub fn waits(self) -> bool {
        matches!(
            self,
            Self::Waiting | Self::WaitsForCommit | Self::WaitsForRollback | Self::WaitsForHook
        )
    }

    /// Whether nothing more is done to it without an order.
    #[must_use]
    pub fn has_ended(self) -> bool {
        !self.is_active() && !self.waits()
    }
}
