//! A cut of a group: one change of state in several databases, of which all are made or none.
//!
//! ```text
//!  PREPARE TRANSACTION on each ──► decide("commit"), once, durably ──► COMMIT PREPARED on each
//!        │ one says no                  │ somebody has decided "abort"
//!        └──────────────────────────────┴──► decide("abort"), ROLLBACK PREPARED on each
//! ```
//!
//! Every attempt has a question of its own, which the names of its prepared transactions begin with, so
//! that whoever finds one knows what to ask. A prepared transaction holds the fence of its run: until
//! it has ended, nobody takes the run over.

use tokio::time::sleep;
use upshift_shared::{
    Error, Result, Retry,
    ids::{GroupId, RunId},
    ledger::{
        Holder,
        group::{self, Write},
    },
};
use upshift_worker::failpoint;

use super::leftover;
use crate::{
    coordination::{Coordination, Embedded},
    driver::sessions::{Backoff, Sessions, is_connection_lost},
};

/// The answer to a cut's question by which it is made.
pub(super) const COMMIT: &str = "commit";
/// And the one by which it is not.
pub(super) const ABORT: &str = "abort";

/// A database of a group whose run this process has taken over.
#[derive(Debug)]
pub struct Member {
    /// What the group calls it.
    pub name: String,
    /// Who writes for its run.
    pub holder: Holder,
    /// Sessions of the group's own, apart from those of the run's driver.
    pub sessions: Sessions,
}

/// Makes the cuts of a group, one after another.
pub struct Cuts {
    group: GroupId,
    members: Vec<Member>,
    coordination: Embedded,
}

/// Why a cut was not made.
#[derive(Debug)]
pub enum Refusal {
    /// Nothing has changed anywhere; another attempt may do.
    Undone(Error),
    /// It is decided, or may be: only recovery can say.
    InDoubt(Error),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Undone(error) | Refusal::InDoubt(error) => error,
        }
    }
}

impl Cuts {
    /// For these databases; decisions go where `coordination` keeps them.
    #[must_use]
    pub fn new(group: GroupId, members: Vec<Member>, coordination: Embedded) -> Self {
        Self {
            group,
            members,
            coordination,
        }
    }

    /// The databases.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Makes a cut: these changes, each in the database of this number. `what` is a word for its name.
    ///
    /// # Errors
    /// When one of the databases refuses its change: then none has made it. When the connection to one
    /// is lost for longer than a run's patience: then the message says whether it is decided.
    pub async fn make(&self, what: &str, writes: &[(usize, Write)]) -> Result<(), Refusal> {
        let mut backoff = Backoff::default();
        loop {
            let error = match self.attempt(what, writes).await {
                Ok(()) => return Ok(()),
                Err(doubt @ Refusal::InDoubt(_)) => return Err(doubt),
                Err(Refusal::Undone(error)) => error,
            };
            let passing = matches!(error.retry(), Retry::Now | Retry::Later);
            let Some(pause) = backoff.next().filter(|_| passing) else {
                return Err(Refusal::Undone(error));
            };
            tracing::warn!(%error, what, "a cut of the group is tried again");
            sleep(pause).await;
            // What a lost connection has left would be in the way.
            let members: Vec<(&str, &Sessions)> = self.names();
            if let Err(error) = leftover::resolve(self.group, &members, &self.coordination).await {
                tracing::warn!(%error, "what is left of a cut is not yet ended");
            }
        }
    }

    fn names(&self) -> Vec<(&str, &Sessions)> {
        let members = self.members.iter();
        members
            .map(|member| (member.name.as_str(), &member.sessions))
            .collect()
    }

    async fn attempt(&self, what: &str, writes: &[(usize, Write)]) -> Result<(), Refusal> {
        if let [(place, write)] = writes {
            let alone = self.alone(*place, write).await;
            return alone.map_err(Refusal::Undone);
        }
        let question = format!(
            "{}_{what}_{}",
            group::prefix(self.group),
            RunId::generate().short()
        );
        failpoint::reach(failpoint::GROUP_BEFORE_PREPARE);
        for (done, (place, write)) in writes.iter().enumerate() {
            if done == 1 {
                failpoint::reach(failpoint::GROUP_BETWEEN_PREPARES);
            }
            if let Err(error) = self.prepare(*place, &question, write).await {
                return Err(self.give_up(&question, writes, error).await);
            }
        }
        failpoint::reach(failpoint::GROUP_BEFORE_DECISION);
        let stands = self.decide(&question, COMMIT).await;
        let stands = stands.map_err(|error| {
            let why = format!(
                "{error}; all databases of the group are prepared for \"{what}\", and whether that is \
                 decided cannot be found out now: resume, commit or rollback of the group ends it"
            );
            Refusal::InDoubt(Error::Refused(why))
        })?;
        failpoint::reach(failpoint::GROUP_AFTER_DECISION);
        if stands != COMMIT {
            let error = Error::Refused(format!(
                "another process has decided against \"{what}\" of the group: it has taken the group over"
            ));
            return Err(self.give_up(&question, writes, error).await);
        }
        for (done, (place, _)) in writes.iter().enumerate() {
            if done == 1 {
                failpoint::reach(failpoint::GROUP_BETWEEN_COMMITS);
            }
            self.end(*place, &question, true).await.map_err(|error| {
                let why = format!(
                    "\"{what}\" of the group is decided, but database {} could not be told: {error}; \
                     resume, commit or rollback of the group does that",
                    self.members[*place].name
                );
                Refusal::InDoubt(Error::Refused(why))
            })?;
        }
        failpoint::reach(failpoint::GROUP_AFTER_COMMITS);
        Ok(())
    }

    async fn prepare(&self, place: usize, question: &str, write: &Write) -> Result<()> {
        let member = &self.members[place];
        let mut session = member.sessions.take().await?;
        let gid = gid(question, place);
        let prepared = group::prepare(&mut session, member.holder, &gid, write).await;
        prepared.map_err(|error| {
            // Whatever state it is in: the next one begins anew.
            session.discard();
            of(&member.name, error)
        })
    }

    /// What has part in one database only.
    async fn alone(&self, place: usize, write: &Write) -> Result<()> {
        let member = &self.members[place];
        let mut session = member.sessions.take().await?;
        let written = group::write(&mut session, member.holder, write).await;
        written.map_err(|error| {
            session.discard();
            of(&member.name, error)
        })
    }

    /// Nothing is to come of the attempt. That is decided first, so that nobody who finds what is left
    /// of it thinks otherwise; what cannot be ended now, recovery ends.
    async fn give_up(&self, question: &str, writes: &[(usize, Write)], error: Error) -> Refusal {
        match self.decide(question, ABORT).await {
            Ok(stands) if stands == ABORT => {}
            Ok(_) => return Refusal::InDoubt(error),
            Err(more) => {
                tracing::warn!(%more, "the end of a cut could not be decided");
                return Refusal::InDoubt(error);
            }
        }
        for (place, _) in writes {
            if let Err(more) = self.end(*place, question, false).await {
                tracing::warn!(%more, "what is left of a cut is not yet ended");
            }
        }
        Refusal::Undone(error)
    }

    /// Asked again, a question has the same answer: so a lost connection is no matter.
    async fn decide(&self, question: &str, answer: &str) -> Result<String> {
        let mut backoff = Backoff::default();
        loop {
            match self.coordination.decide(question, answer).await {
                Err(error) if is_connection_lost(&error) => match backoff.next() {
                    Some(pause) => sleep(pause).await,
                    None => return Err(error),
                },
                other => return other,
            }
        }
    }

    /// COMMIT PREPARED or ROLLBACK PREPARED, until the server has heard it.
    async fn end(&self, place: usize, question: &str, commit: bool) -> Result<()> {
        let sessions = &self.members[place].sessions;
        leftover::finish(sessions, &gid(question, place), commit).await
    }
}

/// An error of one database.
fn of(name: &str, error: Error) -> Error {
    match error {
        fenced @ Error::Fenced { .. } => fenced,
        Error::Database { context, source } => Error::Database {
            context: format!("database {name}: {context}"),
            source,
        },
        other => Error::Refused(format!("database {name}: {other}")),
    }
}

/// The name of a database's prepared transaction: names are the server's, not the database's.
fn gid(question: &str, place: usize) -> String {
    format!("{question}_m{place}")
}

/// The question that the name of a prepared transaction begins with.
pub(super) fn question_of(gid: &str) -> Option<&str> {
    let (question, place) = gid.rsplit_once("_m")?;
    place.parse::<usize>().ok().map(|_| question)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_back_to_its_question() {
        let question = format!(
            "{}_prepared_0123456789ab",
            group::prefix(GroupId::generate())
        );
        assert_eq!(question_of(&gid(&question, 12)), Some(question.as_str()));
        assert!(gid(&question, 999).len() < 200);
        assert_eq!(question_of("upshift_elsewhere"), None);
        assert_eq!(question_of("a_mx"), None);
    }
}
