//! Which snapshot a way back needs, if any, and which snapshots are of no more use when it has ended.

use upshift_shared::{
    Error, Result,
    ids::{RunId, TaskId},
    ledger,
    pg::PgConnection,
    plan::{Plan, SnapshotKind},
};

use crate::driver::rebuild;

/// The place in the plan of the snapshot that has to be restored on the way back to this place; `None` where
/// nothing irreversible is in effect that would be taken back, or no snapshot of it is there (then
/// [`super::begin`] refuses).
///
/// The first snapshot that is needed takes back all that came after it.
///
/// # Errors
/// [`Error::Refused`] where it would also lose work that is to stay.
pub async fn to_restore(
    conn: &mut PgConnection,
    run: RunId,
    plan: &Plan,
    to: Option<u32>,
) -> Result<Option<u32>> {
    if plan.snapshots.is_empty() {
        return Ok(None);
    }
    let in_effect = rebuild::in_effect(conn, run, plan).await?;
    let chosen = rebuild::chosen(plan, to);
    let past = |task: &TaskId| chosen[task.0 as usize] && in_effect[task.0 as usize];
    let needed = (0_u32..)
        .zip(&plan.snapshots)
        .find(|(_, snapshot)| snapshot.before.iter().any(past));
    let Some((place, snapshot)) = needed else {
        return Ok(None);
    };
    let taken = ledger::snapshot::load(conn, run).await?;
    if !taken.get(&place).is_some_and(|row| row.done) {
        return Ok(None);
    }
    if snapshot.kind == SnapshotKind::Dump && to.is_some() {
        return Err(Error::Refused(format!(
            "there is no way back to that checkpoint: to get past {}, which is irreversible, the dump has to \
             be restored that was taken before the run's first task; go back to the start (upshift rollback \
             without --to), or to a checkpoint behind {}",
            snapshot.before.first().copied().unwrap_or(TaskId(0)),
            snapshot.before.last().copied().unwrap_or(TaskId(0)),
        )));
    }
    let lost = plan
        .segments()
        .into_iter()
        .zip(&plan.tasks)
        .find(|(segment, task)| {
            let id = task.id.0 as usize;
            *segment > place && in_effect[id] && !chosen[id]
        });
    match lost {
        None => Ok(Some(place)),
        Some((_, task)) => Err(Error::Refused(format!(
            "there is no way back to that checkpoint: it lies behind the snapshot taken for {}, which has \
             to be restored to get past what is irreversible, and would lose {} ({}); go back to a \
             checkpoint before it, or to the start",
            snapshot.before.first().copied().unwrap_or(TaskId(0)),
            task.id,
            task.label
        ))),
    }
}

/// Refuses to take a dump while anything of the run is in effect: what undo keeps could not be found in the
/// database that it is restored to.
///
/// # Errors
/// [`Error::Refused`]
pub async fn refuse_midway(
    conn: &mut PgConnection,
    run: RunId,
    (plan, kind): (&Plan, SnapshotKind),
) -> Result<()> {
    if kind == SnapshotKind::Dump && rebuild::in_effect(conn, run, plan).await?.contains(&true) {
        return Err(Error::Refused(format!(
            "run {run} has no dump of its start, and has work in effect: none that is taken now could be \
             restored; take the run back first"
        )));
    }
    Ok(())
}

/// The snapshots (by their places in the plan) of which nothing irreversible is in effect: what they would
/// take back is taken back.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn of_no_use(conn: &mut PgConnection, run: RunId, plan: &Plan) -> Result<Vec<u32>> {
    let taken = ledger::snapshot::load(conn, run).await?;
    if taken.is_empty() {
        return Ok(Vec::new());
    }
    let in_effect = rebuild::in_effect(conn, run, plan).await?;
    let of_use = |place: &u32| {
        let planned = plan.snapshots.get(*place as usize);
        planned.is_some_and(|s| match s.kind {
            // No other one could be taken as long as anything is in effect.
            SnapshotKind::Dump => in_effect.contains(&true),
            _ => s.before.iter().any(|task| in_effect[task.0 as usize]),
        })
    };
    Ok(taken.into_keys().filter(|place| !of_use(place)).collect())
}
