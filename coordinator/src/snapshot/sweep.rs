//! Dropping snapshots: one that is not needed any more, and what a process that was killed left.

use upshift_shared::{Result, ids::RunId, pg::Target, plan::SnapshotKind};

use super::{
    Snapshot, command, dump,
    maintenance::Maintenance,
    marker::{self, State},
    template,
};

/// Drops a snapshot. Not there is fine.
///
/// # Errors
/// When the server or the configured command says no.
pub async fn discard(snapshot: &Snapshot) -> Result<()> {
    match snapshot.kind {
        SnapshotKind::Command => command::discard(snapshot).await,
        SnapshotKind::Dump => dump::discard(snapshot).await,
        SnapshotKind::Template => {
            let mut maintenance = Maintenance::open(&snapshot.target).await?;
            let dropped = match maintenance.lock().await {
                Ok(()) => {
                    template::drop_own(&mut maintenance.conn, &snapshot.name(), snapshot.run).await
                }
                failed => failed,
            };
            maintenance.close().await;
            dropped
        }
    }
}

/// Drops what a copy replaced, and the copies of this run that are not among those to keep: they came after
/// the one that was restored.
pub(super) async fn leftovers(target: &Target, run: RunId, keep: &[String]) -> Result<()> {
    let mut maintenance = Maintenance::open(target).await?;
    let dropped = leftovers_within(&mut maintenance, (target.database(), run), keep).await;
    maintenance.close().await;
    dropped
}

async fn leftovers_within(
    maintenance: &mut Maintenance,
    (database, run): (&str, RunId),
    keep: &[String],
) -> Result<()> {
    maintenance.lock().await?;
    for (name, marker) in marker::all(&mut maintenance.conn).await? {
        let copy = matches!(marker.state, State::Taking | State::Ready | State::Replaced);
        if copy && marker.run == run && marker.database == database && !keep.contains(&name) {
            template::drop_own(&mut maintenance.conn, &name, run).await?;
        }
    }
    Ok(())
}
