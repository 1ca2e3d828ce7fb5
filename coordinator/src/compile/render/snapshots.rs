//! What the plan says of its snapshots: when each is taken, what it takes, what it needs.

use upshift_shared::plan::{Plan, PlannedSnapshot, SnapshotKind};

use super::text::list;
use crate::figures;

/// So many tasks are named.
const NAMED: usize = 6;

/// One item for each snapshot.
pub(super) fn what_will_happen(plan: &Plan) -> Vec<String> {
    let segments = plan.segments();
    (0_u32..)
        .zip(&plan.snapshots)
        .map(|(place, snapshot)| {
            let before = segments.iter().filter(|segment| **segment <= place).count();
            said(snapshot, before as u64)
        })
        .collect()
}

fn said(snapshot: &PlannedSnapshot, after: u64) -> String {
    let tasks: Vec<String> = snapshot.before.iter().map(ToString::to_string).collect();
    let when = match after {
        0 => "at the start".to_owned(),
        _ => format!("after {}", figures::counted(after, "task")),
    };
    let size = figures::size(snapshot.bytes);
    let needs = match snapshot.kind {
        SnapshotKind::Template => format!(
            "a copy of the database, which reads and writes {size} and takes as much disk until commit; it \
             needs the database's owner with CREATEDB, and nobody else connected until it is made (the \
             same when it is restored)"
        ),
        SnapshotKind::Command => format!(
            "by the commands of [snapshot] in upshift.toml, of a database of {size}; restoring it needs \
             whatever they need"
        ),
        SnapshotKind::Dump => format!(
            "a dump by pg_dump of a database of {size}, into the directory of [snapshot] in upshift.toml; \
             others may stay connected, but what they write after it is lost when it is restored, which \
             needs the database's owner with CREATEDB, as much disk as the database, and nobody else \
             connected at its end"
        ),
    };
    format!(
        "{when}, with nothing else under way, a snapshot for {}: {needs}",
        list(&tasks, NAMED)
    )
}

/// What rollback does with them; nothing where there are none.
pub(super) fn way_back(plan: &Plan) -> Option<String> {
    let snapshots = plan.snapshots.len() as u64;
    let dump = plan.snapshots.first().map(|s| s.kind) == Some(SnapshotKind::Dump);
    (snapshots > 0).then(|| {
        format!(
            "past what is irreversible by {}, each the whole database as of then{}: what an application \
             writes after it is lost with the rollback; commit drops them",
            figures::counted(snapshots, "snapshot"),
            if dump {
                ", the start of the run, and to no checkpoint"
            } else {
                ""
            }
        )
    })
}
