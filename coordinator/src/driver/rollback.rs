//! The way back: what has to be said to the ledger before the engine takes units back.
//!
//! Advances to `rolled_back` when every unit is taken back; to `stuck` when an undo fails, and then it
//! can be tried again. A rollback that was killed goes on with `resume` or `rollback`: the ledger says
//! which units are still in effect.

mod snapshot;
pub(crate) mod written;

use upshift_shared::{
    Error, Result,
    ids::TaskId,
    ledger::{
        self, Holder,
        event::Draft,
        run::{Change, RunRow, RunState},
        task::TaskState,
    },
    pg::PgConnection,
    plan::Plan,
    suggest::did_you_mean,
};
use upshift_worker::failpoint;

use super::{Limits, Rebuilt, operation::record_undone, rebuild};

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
    let reachable: Vec<&str> = (0_u32..)
        .zip(&plan.checkpoints)
        .filter(|(_, one)| one.joined_with.is_none())
        .take_while(|(place, _)| prepared.iter().any(|c| c.place == *place))
        .map(|(_, one)| one.name.as_str())
        .collect();
    if reachable.contains(&name) {
        return Ok(Some(place));
    }
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
    let done = ledger::task::load(conn, row.run).await?;
    let taken = |task: TaskId| {
        let is_done = done
            .get(&task)
            .is_some_and(|task| task.state == TaskState::Done);
        is_done && chosen[task.0 as usize]
    };
    written::refuse(conn, row.run, plan, &taken).await
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
    let change = Change {
        error: None,
        rollback_to: to,
        events: None,
    };
    let asked = Draft::new(
        "rollback_begun",
        serde_json::json!({"to": to, "force": limits.force, "tasks": rebuilt.graph.tasks.len()}),
    );
    ledger::event::append(conn, holder, &asked).await?;
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
    rebuild::back_of(conn, row.run, plan, chosen, limits).await?;
    let done = ledger::task::load(conn, row.run).await?;
    let taken = |task: TaskId| {
        let state = done.get(&task).map(|task| task.state);
        state == Some(TaskState::Done) && tasks.contains(&task)
    };
    written::refuse(conn, row.run, plan, &taken).await
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
    for task in &rebuilt.without_effect {
        record_undone(conn, holder, &plan.tasks[task.0 as usize], true).await?;
    }
    Ok(())
}
