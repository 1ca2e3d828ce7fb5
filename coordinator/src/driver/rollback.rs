//! The way back: what has to be said to the ledger before the engine takes units back.
//!
//! Advances to `rolled_back` when every unit is taken back; to `stuck` when an undo fails, and then it
//! can be tried again. A rollback that was killed goes on with `resume` or `rollback`: the ledger says
//! which units are still in effect.

mod snapshot;
mod written;

use upshift_shared::{
    Error, Result,
    ids::TaskId,
    ledger::{
        self, Holder,
        run::{Change, RunRow, RunState},
        task::TaskState,
    },
    pg::PgConnection,
    plan::Plan,
    suggest::did_you_mean,
};

use super::{Limits, Rebuilt, operation::record_undone, rebuild};

pub use snapshot::{of_no_use, to_restore};

/// The place in the plan of the module whose checkpoint is meant, if one can go back to it: it and
/// those before it are prepared.
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
    let names = || plan.modules.iter().map(|module| module.name.as_str());
    let place = (0_u32..)
        .zip(&plan.modules)
        .find(|(_, module)| module.name == *name);
    let Some((place, module)) = place else {
        let near = did_you_mean(name, names());
        let list = names().collect::<Vec<_>>().join(", ");
        return Err(Error::Refused(format!(
            "the plan has no checkpoint \"{name}\"{near}; it has {list}"
        )));
    };
    if let Some(with) = &module.joined_with {
        return Err(Error::Refused(format!(
            "{name} has no checkpoint of its own: statements of modules up to it and of {with} are one \
             pass over a table, which is taken back as a whole; go back to the checkpoint of {with} or \
             to one before the pass (upshift plan shows them)"
        )));
    }
    // On its way there already: its own checkpoint may be among those that no longer hold.
    let under_way = matches!(row.state, RunState::RollingBack | RunState::Stuck);
    if under_way && row.rollback_to.as_deref() == to {
        return Ok(Some(place));
    }
    let prepared = ledger::checkpoint::load(conn, row.run).await?;
    let reachable: Vec<&str> = (0_u32..)
        .zip(&plan.modules)
        .filter(|(_, module)| module.joined_with.is_none())
        .take_while(|(place, _)| prepared.iter().any(|c| c.module == *place))
        .map(|(_, module)| module.name.as_str())
        .collect();
    if reachable.contains(&name) {
        return Ok(Some(place));
    }
    let list = match reachable.as_slice() {
        [] => "only to the start".to_owned(),
        some => format!("to {}, or to the start", some.join(", ")),
    };
    Err(Error::Refused(format!(
        "the checkpoint of {name} is not prepared, or one before it is not: one can go back {list}"
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
    };
    ledger::run::change_state(conn, holder, RunState::RollingBack, change).await?;
    ledger::checkpoint::forget(conn, holder, &rebuilt.modules_left).await?;
    for task in &rebuilt.without_effect {
        record_undone(conn, holder, &plan.tasks[task.0 as usize], true).await?;
    }
    Ok(rebuilt)
}
