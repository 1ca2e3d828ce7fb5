//! How a member stands, by its ledger: a few queries in a session that is open already.

use std::sync::Arc;

use upshift_shared::{
    fleet::FleetFile,
    ledger::{
        self,
        run::{RunRow, RunState},
    },
    pack::Pack,
    pg::PgConnection,
};

use super::super::super::{Failure, driving};
use crate::{
    driver::commit,
    fleet::{FleetPlace, Found},
};

/// Which runs are a fleet's own.
#[derive(Debug, Clone)]
pub(in crate::command) struct Own {
    /// Its name.
    pub(in crate::command) fleet: Arc<str>,
    /// How often it was begun anew: what was rolled back before counts as untouched.
    pub(in crate::command) round: u32,
    /// Its pack, as [`pack_in_words`] has it: a run by another one, of a fleet of the same name, is not its
    /// own. `None` where that is not known.
    pub(in crate::command) pack: Option<Arc<str>>,
}

impl Own {
    pub(in crate::command) fn of(order: &FleetFile, place: &FleetPlace) -> Self {
        Self {
            fleet: Arc::from(order.name.as_str()),
            round: place.round,
            pack: place.pack.as_deref().map(Arc::from),
        }
    }

    fn is_by_another_pack(&self, row: &RunRow) -> bool {
        let of_run = in_words(&row.pack, row.target_version.as_deref());
        self.pack.as_deref().is_some_and(|own| *own != of_run)
    }
}

/// A pack by its name and what it leads to.
pub(in crate::command) fn pack_in_words(pack: &Pack) -> String {
    let target = pack.target_version.as_ref().map(ToString::to_string);
    in_words(&pack.name, target.as_deref())
}

fn in_words(pack: &str, target: Option<&str>) -> String {
    match target {
        Some(target) => format!("{pack} to {target}"),
        None => pack.to_owned(),
    }
}

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

/// Reads the ledger: the newest run of the fleet's own, or what else is in the way.
///
/// # Errors
/// When the database cannot be asked.
pub(in crate::command) async fn look(
    conn: &mut PgConnection,
    own: &Own,
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
        let of_fleet = options.fleet.filter(|of| of.name == *own.fleet);
        if let Some(of) = of_fleet.filter(|_| !own.is_by_another_pack(&row)) {
            let is_back = row.state == RunState::RolledBack && row.rollback_to.is_none();
            if is_back && of.round < own.round {
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
