//! Where snapshots of the whole database are taken, if they were asked for: before what cannot be undone.
//!
//! Everything that does not come after an irreversible task goes before its snapshot, so that restoring it
//! loses no more than what a rollback past that task takes back anyway. One snapshot serves all
//! irreversible tasks between two checkpoints: one cannot come back to anywhere between them.

use std::collections::BTreeMap;

use upshift_shared::{
    ids::TaskId,
    pack::Phase,
    plan::{Plan, PlannedSnapshot, SnapshotKind, Strategy, UndoKind, WayBack},
};

use super::model::SnapshotRequest;
use crate::figures;

/// Puts the snapshots into the plan; the way back is whole then.
pub fn place(plan: &mut Plan, request: SnapshotRequest) {
    let mut groups: BTreeMap<(u32, bool), Vec<TaskId>> = BTreeMap::new();
    for task in &plan.tasks {
        if task.undo == UndoKind::Irreversible {
            // `--strategy sequential` keeps nothing, so there is one point to come back to: the start.
            let between = match plan.strategy {
                Strategy::Sequential => (0, false),
                // Restored, it knows nothing by its oid: the start is all that it can bring back.
                _ if request.kind == SnapshotKind::Dump => (0, false),
                // `end` scripts of a module come after those of later modules, and go back with them.
                _ => {
                    let next = plan.checkpoint_from(task.checkpoint);
                    let next = next.map_or(task.checkpoint, |(place, _)| place);
                    (next, task.phase == Phase::End)
                }
            };
            groups.entry(between).or_default().push(task.id);
        }
    }
    let mut groups: Vec<Vec<TaskId>> = groups.into_values().collect();
    if groups.is_empty() {
        return;
    }
    groups.sort();
    for before in groups {
        let note = note(request);
        for task in &before {
            plan.tasks[task.0 as usize].notes.push(note.clone());
        }
        plan.snapshots.push(PlannedSnapshot {
            kind: request.kind,
            before,
            bytes: request.bytes,
        });
    }
    plan.way_back = WayBack::Whole;
}

fn note(request: SnapshotRequest) -> String {
    let size = figures::size(request.bytes);
    match request.kind {
        SnapshotKind::Template => format!(
            "before it the whole database ({size}) is copied by CREATE DATABASE … TEMPLATE, with nothing \
             else under way; rollback restores that copy"
        ),
        SnapshotKind::Command => format!(
            "before it a snapshot of the whole database ({size}) is taken by the command of [snapshot] \
             create, with nothing else under way; rollback restores it by that of [snapshot] restore"
        ),
        SnapshotKind::Dump => format!(
            "before the first task the whole database ({size}) is dumped by pg_dump; rollback past this task \
             restores that dump, so it goes to the start of the run and to no checkpoint, and what others \
             have written since the dump is lost"
        ),
    }
}
