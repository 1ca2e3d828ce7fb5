//! How a member stands, by its ledger: a few queries in a session that is open already.

use upshift_shared::{
    ledger::{
        self,
        run::{RunRow, RunState},
    },
    pg::PgConnection,
};

use super::super::super::{Failure, driving};
use crate::{driver::commit, fleet::Found};

/// What a ledger says of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::command) struct Looked {
    /// `None` where no run says anything, so that only the plan can: it can be upgraded, is at the target
    /// already, or cannot be upgraded.
    pub(in crate::command) found: Option<Found>,
    /// The run of this fleet, where there is one.
    pub(in crate::command) run: Option<RunRow>,
    /// The wave that it was begun in.
    pub(in crate::command) wave: Option<u32>,
}

impl Looked {
    const NOTHING: Self = Self {
        found: None,
        run: None,
        wave: None,
    };
}

/// Reads the ledger: the newest run of the fleet of that name, or what else is in the way. `round`: what
/// was rolled back in an earlier one counts as untouched.
///
/// # Errors
/// When the database cannot be asked.
pub(in crate::command) async fn look(
    conn: &mut PgConnection,
    (fleet, round): (&str, u32),
    name: &str,
) -> Result<Looked, Failure> {
    if !ledger::exists(conn).await? {
        return Ok(Looked::NOTHING);
    }
    let hint = format!(
        " --database {}",
        super::super::super::database::shell_quoted(name)
    );
    for row in ledger::run::list(conn).await? {
        let options = ledger::options::load(conn, row.run).await?;
        if let Some(of) = options.fleet.filter(|of| of.name == fleet) {
            let is_back = row.state == RunState::RolledBack && row.rollback_to.is_none();
            if is_back && of.round < round {
                return Ok(Looked::NOTHING);
            }
            return Ok(Looked {
                found: Some(of_own(conn, &row).await?),
                run: Some(row),
                wave: of.wave,
            });
        }
        if let Some(message) = driving::in_the_way(conn, &row, &hint).await? {
            return Ok(Looked {
                found: Some(Found::Refused(message)),
                ..Looked::NOTHING
            });
        }
    }
    Ok(Looked::NOTHING)
}

/// How a run of this fleet stands.
async fn of_own(conn: &mut PgConnection, row: &RunRow) -> Result<Found, Failure> {
    let why = || {
        let error = row.error.as_ref();
        error.map_or_else(
            || "nobody has recorded why".to_owned(),
            |e| e.message.clone(),
        )
    };
    Ok(match row.state {
        // Taken back to a checkpoint it goes on from there.
        RunState::Planned | RunState::Running => Found::Running,
        RunState::RolledBack if row.rollback_to.is_some() => Found::Running,
        RunState::Failed => Found::Failed(why()),
        RunState::Prepared => Found::Prepared,
        // Killed while it was committed: it has to be again.
        RunState::Committed if commit::is_pending(conn, row.run).await? => Found::Prepared,
        RunState::Committed => Found::Committed,
        RunState::RollingBack => Found::RollingBack,
        RunState::RolledBack => Found::RolledBack(row.error.as_ref().map(|e| e.message.clone())),
        RunState::Stuck => Found::Stuck(why()),
    })
}
