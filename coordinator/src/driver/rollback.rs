//! The way back: what has to be said to the ledger before the engine takes units back.
//!
//! Advances to `rolled_back` when every unit is taken back; to `stuck` when an undo fails, and then it
//! can be tried again. A rollback that was killed goes on with `resume` or `rollback`: the ledger says
//! which units are still in effect.

mod snapshot;
pub(crate) mod written;

use upshift_shared::{
    Error, Result,
    clock::Stopwatch,
    ids::{RunId, TaskId},
    ledger::{
        self, Holder,
        event::{Batch, Draft},
        run::{Change, RunRow, RunState},
    },
    pg::PgConnection,
    plan::Plan,
    suggest::did_you_mean,
};
use upshift_worker::failpoint;

use super::{Limits, Rebuilt, checkpoints, operation::record_undone, rebuild};

pub use snapshot::{of_no_use, refuse_midway, to_restore};

/// The place in the plan of the checkpoint that is meant, if one can go back to it: it and those
/// before it are prepared.
///
/// # Errors
/// [`Error::Refused`], with the checkpoints that there are.
pub async fn destination(
    conn: &mut PgConnection,
    row: &RunRow,
    plan: &Plan,
    to: Option<&str>,
) -> Result<Option<u32>> {
    let Some(name) = to else {
        return Ok(None);
    };
    let names = || plan.checkpoints.iter().map(|one| one.name.as_str());
    let place = (0_u32..)
        .zip(&plan.checkpoints)
        .find(|(_, one)| one.name == *name);
    let Some((place, checkpoint)) = place else {
        let near = did_you_mean(name, names());
        let list = names().collect::<Vec<_>>().join(", ");
        return Err(Error::Refused(format!(
            "the plan has no checkpoint \"{name}\"{near}; it has {list}"
        )));
    };
    if let Some(with) = &checkpoint.joined_with {
        return Err(Error::Refused(format!(
            "{name} has no checkpoint of its own: statements before it and before {with} are one \
             pass over a table, which is taken back as a whole; go back to checkpoint {with} or \
             to one before the pass (upshift checkpoints shows them)"
        )));
    }
    // On its way there already: its own checkpoint may be among those that no longer hold.
    let under_way = matches!(row.state, RunState::RollingBack | RunState::Stuck);
    if under_way && row.rollback_to.as_deref() == to {
        return Ok(Some(place));
    }
    let prepared = ledger::checkpoint::load(conn, row.run).await?;
    let is_prepared = |place| prepared.iter().any(|one| one.place == place);
    let broken = checkpoints::first_unprepared(plan, is_prepared);
    let end = broken.map_or(plan.checkpoints.len(), |(place, _)| place as usize);
    if (place as usize) < end {
        return Ok(Some(place));
    }
    let reachable: Vec<&str> = plan.checkpoints[..end]
        .iter()
        .filter(|one| one.joined_with.is_none())
        .map(|one| one.name.as_str())
        .collect();
    let list = match reachable.as_slice() {
        [] => "only to the start".to_owned(),
        some => format!("to {}, or to the start", some.join(", ")),
    };
    Err(Error::Refused(format!(
        "checkpoint {name} is not prepared, or one before it is not: one can go back {list}"
    )))
}

/// Refuses where an application has written a table that the way back would swap out, unless that is
/// forced. What is on its way back already was looked at when it set out.
///
/// # Errors
/// [`Error::Refused`] with what was found.
pub async fn refuse_lost_writes(
    conn: &mut PgConnection,
    row: &RunRow,
    plan: &Plan,
    place: Option<u32>,
    limits: &Limits,
) -> Result<()> {
    let under_way = matches!(row.state, RunState::RollingBack | RunState::Stuck);
    if limits.force || under_way {
        return Ok(());
    }
    let chosen = rebuild::chosen(plan, place);
    match lost_writes(conn, row.run, plan, &chosen).await? {
        None => Ok(()),
        Some(found) => Err(Error::Refused(format!(
            "an application has written since, and the way back would lose it: {found}; keep it with \
             upshift commit once the run is prepared, or stop the application and lose it with --force"
        ))),
    }
}

/// What an application has written to tables that a swap back would take away. A swap that is in effect
/// counts, whatever its task's state: that is recorded after the swap, and given up before the way back.
async fn lost_writes(
    conn: &mut PgConnection,
    run: RunId,
    plan: &Plan,
    chosen: &[bool],
) -> Result<Option<String>> {
    let in_effect = rebuild::in_effect(conn, run, plan).await?;
    let taken = |task: TaskId| chosen[task.0 as usize] && in_effect[task.0 as usize];
    written::find(conn, run, plan, &taken).await
}

/// Makes the run `rolling_back` and says what there is to take back. Refuses, with nothing changed,
/// where something in effect has no way back.
///
/// # Errors
/// [`Error::Refused`], or when the ledger cannot be written.
pub async fn begin(
    conn: &mut PgConnection,
    holder: Holder,
    plan: &Plan,
    (to, place): (Option<&str>, Option<u32>),
    limits: &Limits,
) -> Result<Rebuilt> {
    let rebuilt = rebuild::back(conn, holder.run, plan, place, limits).await?;
    let row = ledger::run::read(conn, holder.run).await?;
    let goes_on =
        |row: &RunRow| row.state == RunState::RollingBack && row.rollback_to.as_deref() == to;
    let mut begun = None;
    if !row.as_ref().is_some_and(goes_on) {
        let tasks = rebuilt.graph.tasks.len();
        let detail = serde_json::json!({"to": to, "force": limits.force, "tasks": tasks});
        let watch = Stopwatch::start();
        begun = Some(Batch {
            first: ledger::event::last(conn, holder.run).await? + 1,
            events: vec![(watch.elapsed(), Draft::new("rollback_begun", detail))],
            watch,
        });
    }
    let change = Change {
        error: None,
        rollback_to: to,
        events: begun.as_ref(),
    };
    ledger::run::change_state(conn, holder, RunState::RollingBack, change).await?;
    failpoint::reach(failpoint::AFTER_ROLLING_BACK);
    clear_the_way(conn, holder, plan, &rebuilt).await?;
    Ok(rebuilt)
}

/// Makes the run `running` and says what there is to take back of some tasks, which it will then do anew:
/// the edited pack has other ones in their place. Until all of them are taken back the run can go on as
/// it was planned.
///
/// # Errors
/// [`Error::Refused`], or when the ledger cannot be written.
pub async fn begin_take_back(
    conn: &mut PgConnection,
    holder: Holder,
    plan: &Plan,
    tasks: &[TaskId],
    limits: &Limits,
) -> Result<Rebuilt> {
    let chosen = chosen_of(plan, tasks);
    let rebuilt = rebuild::back_of(conn, holder.run, plan, chosen, limits).await?;
    ledger::run::change_state(conn, holder, RunState::Running, Change::default()).await?;
    ledger::task::reopen(conn, holder, tasks).await?;
    failpoint::reach(failpoint::AFTER_REOPEN);
    clear_the_way(conn, holder, plan, &rebuilt).await?;
    Ok(rebuilt)
}

/// Refuses where an application has written a table that taking these tasks back would swap out, and
/// where one of them has no way back.
///
/// # Errors
/// [`Error::Refused`] with what was found.
pub async fn refuse_take_back(
    conn: &mut PgConnection,
    row: &RunRow,
    plan: &Plan,
    tasks: &[TaskId],
    limits: &Limits,
) -> Result<()> {
    let chosen = chosen_of(plan, tasks);
    let found = lost_writes(conn, row.run, plan, &chosen.0).await?;
    rebuild::back_of(conn, row.run, plan, chosen, limits).await?;
    match found {
        None => Ok(()),
        Some(found) => Err(Error::Refused(format!(
            "an application has written since, and taking back what was edited would lose it: {found}; go \
             on with the pack as it was (upshift resume without --pack), or stop the application and take \
             the run back: upshift rollback --force"
        ))),
    }
}

/// These tasks, and the place of the first checkpoint that covers one of them.
fn chosen_of(plan: &Plan, tasks: &[TaskId]) -> (Vec<bool>, u32) {
    let mut chosen = vec![false; plan.tasks.len()];
    let mut from = u32::MAX;
    for task in tasks {
        chosen[task.0 as usize] = true;
        from = from.min(plan.tasks[task.0 as usize].checkpoint);
    }
    (chosen, from)
}

/// Checkpoints that will not hold are forgotten, and tasks without effect recorded as undone.
async fn clear_the_way(
    conn: &mut PgConnection,
    holder: Holder,
    plan: &Plan,
    rebuilt: &Rebuilt,
) -> Result<()> {
    ledger::checkpoint::forget(conn, holder, &rebuilt.left).await?;
    without_effect(conn, holder, plan, rebuilt).await
}

/// Records tasks that were begun and have nothing in effect as undone: there is nothing to take back. And
/// forgets what the run had left.
///
/// # Errors
/// When the ledger cannot be written, or somebody else drives the run.
pub async fn without_effect(
    conn: &mut PgConnection,
    holder: Holder,
    plan: &Plan,
    rebuilt: &Rebuilt,
) -> Result<()> {
    ledger::left::forget(conn, holder).await?;
    let swaps = plan.swaps();
    for task in &rebuilt.without_effect {
        record_undone(conn, holder, &plan.tasks[task.0 as usize], (true, swaps)).await?;
    }
    Ok(())
}
