//! What a crash has left of a cut: prepared transactions. The decision alone says how they end: where
//! there is none, "abort" is decided first, durably, so that whoever was about to decide otherwise is
//! told.

use std::collections::BTreeMap;

use tokio::time::sleep;
use upshift_shared::{
    Error, Result,
    ids::GroupId,
    ledger::group::{self, Prepared},
};
use upshift_worker::failpoint;

use super::cut::{ABORT, COMMIT, question_of};
use crate::{
    coordination::Coordination,
    driver::sessions::{Backoff, Sessions, is_connection_lost},
};

/// What was found of one cut, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The cut, as the names of its transactions have it.
    pub question: String,
    /// Whether it was made.
    pub committed: bool,
    /// The databases in which something was left of it.
    pub members: Vec<String>,
}

/// Ends whatever cuts of this group have left in these databases. Prepared transactions of anybody else
/// are not touched. To be called by whoever holds the locks of all of them.
///
/// # Errors
/// When a database cannot be reached, or a transaction belongs to another role; again is fine.
pub async fn resolve(
    group: GroupId,
    members: &[(&str, &Sessions)],
    coordination: &impl Coordination,
) -> Result<Vec<Recovered>> {
    let mut found: BTreeMap<String, Vec<(usize, String)>> = BTreeMap::new();
    for (place, (name, sessions)) in members.iter().enumerate() {
        for Prepared { gid, .. } in look(sessions, group).await? {
            let question = question_of(&gid).ok_or_else(|| {
                Error::Refused(format!(
                    "database {name} has a prepared transaction {gid}, which no version of upshift \
                     that this program knows has made: see pg_prepared_xacts"
                ))
            })?;
            found
                .entry(question.to_owned())
                .or_default()
                .push((place, gid));
        }
    }
    let mut recovered = Vec::new();
    for (question, left) in found {
        let committed = coordination.decide(&question, ABORT).await? == COMMIT;
        for (done, (place, gid)) in left.iter().enumerate() {
            if done == 1 {
                failpoint::reach(failpoint::GROUP_DURING_RECOVERY);
            }
            finish(members[*place].1, gid, committed).await?;
        }
        recovered.push(Recovered {
            question,
            committed,
            members: left
                .iter()
                .map(|(place, _)| members[*place].0.to_owned())
                .collect(),
        });
    }
    Ok(recovered)
}

async fn look(sessions: &Sessions, group: GroupId) -> Result<Vec<Prepared>> {
    let mut session = sessions.take().await?;
    let found = group::prepared(&mut session, group).await;
    if found.is_err() {
        session.discard();
    }
    found
}

/// COMMIT PREPARED or ROLLBACK PREPARED; again on a new connection where one was lost, as long as
/// patience lasts.
pub(super) async fn finish(sessions: &Sessions, gid: &str, commit: bool) -> Result<()> {
    let mut backoff = Backoff::default();
    loop {
        let error = match sessions.take().await {
            Ok(mut session) => match group::finish(&mut session, gid, commit).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    session.discard();
                    error
                }
            },
            Err(error) => error,
        };
        if !is_connection_lost(&error) {
            return Err(error);
        }
        match backoff.next() {
            Some(pause) => sleep(pause).await,
            None => return Err(error),
        }
    }
}
