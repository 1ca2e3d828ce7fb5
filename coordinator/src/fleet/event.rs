//! What goes into the state machine of a fleet and what comes out of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use upshift_shared::fleet::MemberName;

use super::member::{Found, MemberId};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FleetEvent {
    /// A hook has ended: well, or with a reason.
    HookEnded {
        /// Whose.
        member: MemberId,
        /// How.
        result: Result<(), String>,
    },
    /// What [`FleetCommand::Begin`], [`FleetCommand::Commit`] or [`FleetCommand::RollBack`] asked for has
    /// ended, and the ledger says this now. [`Found::Running`] and [`Found::RollingBack`]: it has
    /// stopped on request, or because its driver ended.
    Ended {
        /// Whose.
        member: MemberId,
        /// How its ledger says that it stands.
        found: Found,
    },
    /// A ledger was read again: heeded where nothing is being done to the member.
    Found {
        /// Whose.
        member: MemberId,
        /// How it stands.
        found: Found,
    },
    /// An operator's order.
    Ordered(FleetOrder),
    /// No more databases at once than this, whatever the file says: workers are few, or a server is
    /// short of connections. `None`: as the file says.
    Limited {
        /// How many.
        max_databases: Option<u32>,
    },
    /// No more databases of a server at once than this, whatever the file says: by the connections that it
    /// has for us now.
    ServerLimited {
        /// As members name it.
        server: String,
        /// How many.
        max_databases: u32,
    },
    /// Time has passed.
    Tick,
}

/// What an operator may order of a fleet that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FleetOrder {
    /// Nothing begins any more; what is being done ends.
    Pause,
    /// It goes on after a pause, and in spite of the failures that stopped it.
    Resume,
    /// What comes after this wave may come; `None` for all waves (`--yes`).
    Approve {
        /// Its number, from 0.
        wave: Option<u32>,
    },
    /// Nothing is upgraded any more, and what is being upgraded stops; what becomes of it the policy
    /// of its wave says.
    Abort,
    /// Failed members are gone on with; by name, those that were rolled back too.
    Retry(Which),
    /// Members are brought back, and not begun again.
    RollBack(Which),
    /// The same (`--force`), though rows that were changed are gone meanwhile, and though what an
    /// application has written to tables that a pass built anew is lost with that.
    RollBackByForce(Which),
    /// Members that are prepared are committed.
    Commit(Which),
}

impl FleetOrder {
    /// The members that it is about, where it is about members.
    #[must_use]
    pub fn which(&self) -> Option<&Which> {
        match self {
            Self::Retry(which)
            | Self::RollBack(which)
            | Self::RollBackByForce(which)
            | Self::Commit(which) => Some(which),
            Self::Pause | Self::Resume | Self::Approve { .. } | Self::Abort => None,
        }
    }

    /// Whether it brings members back.
    #[must_use]
    pub fn goes_back(&self) -> bool {
        matches!(self, Self::RollBack(_) | Self::RollBackByForce(_))
    }
}

/// Which members are meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// All.
    All,
    /// Those of a wave, by number from 0.
    Wave(u32),
    /// These.
    These(Vec<MemberName>),
}

impl Which {
    /// Whether a member of that name, in that wave, is meant.
    #[must_use]
    pub fn means(&self, member: &MemberName, wave: Option<u32>) -> bool {
        match self {
            Self::All => true,
            Self::Wave(meant) => wave == Some(*meant),
            Self::These(names) => names.contains(member),
        }
    }
}

/// A hook, of which of the two kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookKind {
    /// Before the first thing is done to a database.
    Before,
    /// After the last.
    After,
}

/// Something that whoever conducts the fleet must do.
#[derive(Debug, Clone, PartialEq)]
pub enum FleetCommand {
    /// [`super::Fleet::place`] has changed: make it durable before what follows is done.
    Record,
    /// Run a hook → [`FleetEvent::HookEnded`].
    Hook {
        /// Whose.
        member: MemberId,
        /// Which.
        hook: HookKind,
        /// `{outcome}`: what was done to it, for the hook after; what will be, for the one before
        /// (`upgrade`, `roll_back`).
        outcome: &'static str,
    },
    /// Upgrade a member: begin its run, or go on with the one that its ledger has →
    /// [`FleetEvent::Ended`].
    Begin {
        /// Whose.
        member: MemberId,
        /// Its ledger could not be asked before, and nobody has named it: if it has failed or is rolled back it
        /// stays so.
        unasked: bool,
    },
    /// Stop its run when the units in flight have ended; [`FleetEvent::Ended`] comes anyhow.
    Stop {
        /// Whose.
        member: MemberId,
    },
    /// Commit its run → [`FleetEvent::Ended`].
    Commit {
        /// Whose.
        member: MemberId,
    },
    /// Bring it back → [`FleetEvent::Ended`].
    RollBack {
        /// Whose.
        member: MemberId,
        /// By [`FleetOrder::RollBackByForce`].
        force: bool,
    },
    /// Tell that all members of a wave have ended.
    WaveEnded {
        /// Which.
        wave: u32,
    },
    /// Tell that the fleet waits for [`FleetOrder::Approve`].
    AwaitApproval {
        /// Of which wave.
        wave: u32,
    },
    /// There is nothing more to do without an order. May come again after one.
    Ended(FleetEnd),
    /// Send [`FleetEvent::Tick`] at this time. A later command replaces an earlier one.
    Wake {
        /// The time since 1970.
        at: Duration,
    },
}

/// Why there is nothing more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FleetEnd {
    /// Every member has ended, of every wave.
    Done,
    /// So many of a wave have failed that nothing more begins.
    Stopped {
        /// Which wave.
        wave: u32,
    },
    /// Members that were there may be missing ([`super::Fleet::miss_members`]).
    Incomplete,
    /// By order.
    Aborted,
    /// What was ordered of a fleet that nobody drives is done ([`super::Fleet::only_orders`]).
    Ordered,
}
