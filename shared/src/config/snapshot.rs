//! `[snapshot]`: how snapshots of the whole database are taken, and for how long that may keep others
//! waiting.

use std::time::Duration;

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
    /// Throws it away.
    pub drop: Option<Vec<String>>,
    /// How long one of these commands may take.
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
            timeout: Duration::from_secs(4 * 3600),
            wait: Duration::from_secs(60),
        }
    }
}
