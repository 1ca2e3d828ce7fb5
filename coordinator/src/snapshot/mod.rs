//! Snapshots of a whole database: taken before what cannot be undone, restored by rollback, dropped by
//! commit. Nobody of ours is connected to the database while one is taken or restored.
//!
//! # Taking one
//!
//! ```text
//! ledger:  (nothing) ──► started ─────────────────────────────► done
//! copy:                          ──► taking ──► ready
//! ```
//!
//! The epoch is raised before `started`, by a process that leases nothing under it, and again after
//! `done`: no session that is still about anywhere holds the epoch that the copy's ledger has, so none
//! could write to a restored database. The database's lock is a session in the database, so it is given
//! back while a template is made. Whoever takes it meanwhile raises the epoch, and is either seen as a
//! session in the way of the copy or makes the epoch another one: then `done` is not written, and the copy
//! counts for nothing. Killed before `done`, the half is dropped and made anew. Two processes that make or
//! restore meet at a lock in the maintenance database.
//!
//! # Restoring one (template)
//!
//! What is being done is said by the comment of the database (it is in no database's own catalog, so it
//! outlives a swap of names, and every role can read it), as a [`marker::Marker`]:
//!
//! ```text
//! database:  rolling_back in its ledger ──► comment "restoring"
//!                                               │ one transaction: database → …_replaced, copy → database
//!                                               ▼
//! database:  comment "restored" ──► epoch above the old one, rolling_back to the same checkpoint
//!                               ──► …_replaced and later copies are dropped ──► the comment that it had before
//! ```
//!
//! The ledger of the copy is that of the moment when it was made. Killed before the swap, the database is
//! `rolling_back` as before, and the same order restores again. Killed after it, whoever locks the database
//! next reads `restored` and goes on from there ([`template::Restored`]), whatever it was called for. While
//! a process restores it holds the lock in the maintenance database, so that one that takes the
//! database's lock in between, and reads `restoring`, knows to leave.
//!
//! # Restoring one (dump)
//!
//! Nothing of the run is in effect when the dump is taken ([`upshift_shared::plan::SnapshotKind::Dump`]).
//! It is restored into a database of the name that a copy would have had, `taking` until it is whole; only
//! then does the way back begin, as that of a template. Killed before, the half is dropped and made anew,
//! and the database does not know of it.
//!
//! With commands of the configuration what is restored is beyond our reach, so the decision is in the
//! ledger that is replaced only: killed in between, the order has to be given again, and no ledger knows of
//! a snapshot that was taken after the restored one.

mod carry;
mod command;
pub mod dump;
mod maintenance;
pub mod marker;
mod obstacle;
mod sweep;
pub mod template;

use upshift_shared::{
    Result,
    config::SnapshotSettings,
    ids::{RunId, TaskId},
    pg::Target,
    plan::{PlannedSnapshot, SnapshotKind},
};

pub use maintenance::Maintenance;
pub use obstacle::{not_configured, obstacle};
pub use sweep::discard;

/// The ledger says `started`, nothing is made.
pub const STARTED: &str = "snapshot_started";
/// The copy is there, and not marked.
pub const COPIED: &str = "snapshot_copied";
/// The copy is whole, and the ledger does not know.
pub const MADE: &str = "snapshot_made";
/// The ledger says `done`, the run does not go on yet.
pub const RECORDED: &str = "snapshot_recorded";
/// A dump is in the copy, which is not marked yet.
pub const RESTORE_COPIED: &str = "snapshot_restore_copied";
/// The ledger says `rolling_back`, nothing else was done.
pub const RESTORE_BEGUN: &str = "snapshot_restore_begun";
/// The database is marked, its name not swapped.
pub const RESTORE_DECIDED: &str = "snapshot_restore_decided";
/// The names are swapped, or the command has restored; the restored ledger does not know.
pub const RESTORE_SWAPPED: &str = "snapshot_restore_swapped";
/// The restored ledger says `rolling_back`.
pub const RESTORE_RECORDED: &str = "snapshot_restore_recorded";
/// What was replaced is dropped.
pub const RESTORE_DROPPED: &str = "snapshot_restore_dropped";
/// A snapshot is dropped, and the ledger still has it.
pub const DISCARDED: &str = "snapshot_discarded";

/// Every point at which a test can make the process die while a snapshot is taken.
pub const FAILPOINTS_OF_TAKING: [&str; 4] = [STARTED, COPIED, MADE, RECORDED];
/// The same while one is restored.
pub const FAILPOINTS_OF_RESTORING: [&str; 5] = [
    RESTORE_BEGUN,
    RESTORE_DECIDED,
    RESTORE_SWAPPED,
    RESTORE_RECORDED,
    RESTORE_DROPPED,
];

/// PostgreSQL cuts names of databases here (NAMEDATALEN - 1).
const NAME_BYTES: usize = 63;

/// A snapshot of a run, and what it takes to handle it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The database that it is of.
    pub target: Target,
    /// The run.
    pub run: RunId,
    /// Its place in the plan.
    pub seq: u32,
    /// The first task that it is taken for.
    pub task: TaskId,
    /// How it is taken.
    pub kind: SnapshotKind,
    /// The size of the database when the plan was made.
    pub bytes: u64,
    /// `[snapshot]`
    pub settings: SnapshotSettings,
    /// Whether sessions of others are ended where they are in the way.
    pub end_sessions: bool,
}

impl Snapshot {
    /// The one at this place of the plan.
    #[must_use]
    pub fn new(
        (target, run): (&Target, RunId),
        (seq, planned): (u32, &PlannedSnapshot),
        (settings, end_sessions): (&SnapshotSettings, bool),
    ) -> Self {
        Self {
            target: target.clone(),
            run,
            seq,
            task: planned.before.first().copied().unwrap_or(TaskId(0)),
            kind: planned.kind,
            bytes: planned.bytes,
            settings: settings.clone(),
            end_sessions,
        }
    }

    /// What it is called: the database that holds it, or that it is restored to.
    #[must_use]
    pub fn name(&self) -> String {
        let suffix = format!("_upshift_{}_t{}", self.run.short(), self.task.0);
        named(self.target.database(), &suffix)
    }

    /// What the ledger calls it: the database or directory that holds it.
    #[must_use]
    pub fn held_as(&self) -> String {
        let directory = self.settings.directory.as_deref();
        match (self.kind, directory) {
            (SnapshotKind::Dump, Some(directory)) => {
                dump::place(self, directory).display().to_string()
            }
            _ => self.name(),
        }
    }

    /// Takes it. One that was half made is dropped first; whether there may be one (`again`) is known to the
    /// ledger alone where it is made by a command.
    ///
    /// # Errors
    /// [`upshift_shared::Error::Refused`] when others stay connected or a command fails.
    pub async fn make(&self, again: bool) -> Result<()> {
        match self.kind {
            SnapshotKind::Template => template::make(self).await,
            SnapshotKind::Command => command::make(self, again).await,
            SnapshotKind::Dump => dump::make(self).await,
        }
    }
}

/// What a database is called while, and after, a copy takes its place.
#[must_use]
pub fn replaced_name(database: &str, run: RunId) -> String {
    named(database, &format!("_upshift_{}_replaced", run.short()))
}

/// A name that PostgreSQL does not cut: the beginning of the database's, and all of the suffix.
fn named(database: &str, suffix: &str) -> String {
    let most = NAME_BYTES.saturating_sub(suffix.len());
    let mut end = most.min(database.len());
    while !database.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &database[..end])
}

pub use command::restore as restore_by_command;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_differ() {
        let run = RunId::generate();
        assert_eq!(
            replaced_name("crm", run),
            format!("crm_upshift_{}_replaced", run.short())
        );
        let long = replaced_name(&"ü".repeat(31), run);
        assert!(long.len() <= NAME_BYTES && long.ends_with("_replaced"));
    }
}
