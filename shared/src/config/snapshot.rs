//! `[snapshot]`: how snapshots of the whole database are taken, and for how long that may keep others
//! waiting.

use std::{path::PathBuf, time::Duration};

use crate::plan::SnapshotKind;

/// `[snapshot]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSettings {
    /// What `--snapshot` defaults to.
    pub kind: Option<SnapshotKind>,
    /// Takes one: program and arguments. `{database}`, `{host}`, `{port}`, `{run}` and `{task}` in them
    /// stand for what they say.
    pub create: Option<Vec<String>>,
    /// Brings the database back to it.
    pub restore: Option<Vec<String>>,
    /// Throws it away; is to succeed where there is none: whoever was killed before the ledger knew does it again.
    pub drop: Option<Vec<String>>,
    /// Where dumps go: an absolute path on the machine of the coordinator.
    pub directory: Option<PathBuf>,
    /// How many tables `pg_dump` and `pg_restore` work on at once.
    pub jobs: u32,
    /// How long one of these commands, `pg_dump` or `pg_restore` may take.
    pub timeout: Duration,
    /// How long other sessions may take to leave the database where it has to be left by all.
    pub wait: Duration,
}

impl Default for SnapshotSettings {
    fn default() -> Self {
        Self {
            kind: None,
            create: None,
            restore: None,
            drop: None,
            directory: None,
            jobs: 2,
            timeout: Duration::from_secs(4 * 3600),
            wait: Duration::from_secs(60),
        }
    }
}
