//! Snapshots of the whole database that a plan takes before what cannot be undone.
//!
//! A snapshot is a barrier, not a task: nothing may be under way while it is taken, and a template needs
//! even every session gone. So the tasks fall into segments: those of segment 0 are done, then snapshot 0
//! is taken, then come those of segment 1, and so on.

use serde::{Deserialize, Serialize};

use super::Plan;
use crate::ids::TaskId;

/// How a snapshot is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotKind {
    /// `CREATE DATABASE … TEMPLATE`.
    Template,
    /// The commands of `[snapshot]` in `upshift.toml`.
    Command,
    /// `pg_dump`. It brings back no oid, so what undo keeps cannot be found after it: one is taken before
    /// the first task, and goes back to the start only.
    Dump,
}

impl SnapshotKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Template, Self::Command, Self::Dump];

    /// As the ledger writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Template => "template",
            Self::Command => "command",
            Self::Dump => "dump",
        }
    }
}

/// A snapshot that is taken once everything that does not depend on the tasks behind it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedSnapshot {
    /// How it is taken.
    pub kind: SnapshotKind,
    /// The irreversible tasks that it is taken for: those of one module, between whose tasks there is no
    /// checkpoint to come back to; of a dump, all.
    pub before: Vec<TaskId>,
    /// The size of the database when it was planned, in bytes.
    pub bytes: u64,
}

impl Plan {
    /// The segment of each task: the number of snapshots that have to be taken before it. A task has at
    /// least the segment of every task that it comes after. A dump comes before all tasks.
    #[must_use]
    pub fn segments(&self) -> Vec<u32> {
        let mut segments = vec![0_u32; self.tasks.len()];
        for (number, snapshot) in (1_u32..).zip(&self.snapshots) {
            if snapshot.kind == SnapshotKind::Dump {
                segments.fill(number);
            }
            for task in &snapshot.before {
                if let Some(segment) = segments.get_mut(task.0 as usize) {
                    *segment = number;
                }
            }
        }
        let mut edges: Vec<(u32, u32)> = self.edges.iter().map(|e| (e.from.0, e.to.0)).collect();
        // Tasks are numbered so that edges go up: one pass in that order reaches everything.
        edges.sort_unstable();
        for (from, to) in edges {
            segments[to as usize] = segments[to as usize].max(segments[from as usize]);
        }
        segments
    }
}
