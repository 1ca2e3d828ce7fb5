//! The way back: what has to be said to the ledger before the engine takes units back.
//!
//! Advances to `rolled_back` when every unit is taken back; to `stuck` when an undo fails, and then it
//! can be tried again. A rollback that was killed goes on with `resume` or `rollback`: the ledger says
//! which units are still in effect.

use upshift_shared::{
    Error, Result,
    ledger::{
        self, Holder,
        run::{Change, RunState},
    },
    pg::PgConnection,
    plan::Plan,
    suggest::did_you_mean,
};

use super::{Limits, Rebuilt, operation::record_undone, rebuild};

/// The place in the plan of the module whose checkpoint is meant.
///
/// # Errors
/// [`Error::Refused`] when the plan has no such module.
pub fn checkpoint(plan: &Plan, name: &str) -> Result<u32> {
    let place = plan.modules.iter().position(|module| module.name == name);
    match place.map(u32::try_from) {
        Some(Ok(place)) => Ok(place),
        _ => {
            let names = || plan.modules.iter().map(|module| module.name.as_str());
            let near = did_you_mean(name, names());
            let list = names().collect::<Vec<_>>().join(", ");
            Err(Error::Refused(format!(
                "the plan has no checkpoint \"{name}\"{near}; it has {list}"
            )))
        }
    }
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
    to: Option<&str>,
    limits: &Limits,
) -> Result<Rebuilt> {
    let place = to.map(|name| checkpoint(plan, name)).transpose()?;
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
