//! The layout of keys, version 1. All lie below one prefix, so that several installations can share a
//! cluster of etcd and a role of it can be confined to one of them.
//!
//! | key | value | lives |
//! |---|---|---|
//! | `format` | the version of this layout | for ever |
//! | `leader` | [`Record`] of the member that leads | with its lease |
//! | `locks/DATABASE` | [`Record`] of the member that may touch the database | with its lease |
//! | `workers/NUMBER` | [`Record`] of a worker | with its lease |
//! | `spent/TOKEN` | nothing: no copy of the request with this token is carried out any more | with the lease of who asked |
//! | `decisions/QUESTION` | the answer | for ever |
//! | `runs/RUN` | [`crate::coordination::RunEntry`] | for ever |
//! | `fleets/FLEET` | [`crate::coordination::FleetEntry`] | for ever |
//! | `submissions/NUMBER/PART` | bytes: a part of what a fleet was submitted with, or of what was noted of it | as long as its fleet |
//!
//! Those of fleets came later: a program that does not know them leaves them alone, so the version is the
//! same. Values are JSON where nothing else is said; names of databases and questions are percent-encoded.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use upshift_shared::ids::RunId;

use crate::coordination::{Member, Topic};

/// The version that this program writes. A store of a newer one is refused.
pub(super) const FORMAT: u32 = 1;

/// A member, and which of its requests wrote the record: a request whose answer was lost is sent again,
/// and finds by its token that it had been granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) member: Member,
    pub(super) token: String,
}

/// The keys below a prefix.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    /// Ends in a slash.
    prefix: String,
}

impl Keys {
    pub(super) fn below(prefix: &str) -> Self {
        Self {
            prefix: format!("{}/", prefix.trim_end_matches('/')),
        }
    }

    pub(super) fn format(&self) -> String {
        format!("{}format", self.prefix)
    }

    pub(super) fn leader(&self) -> String {
        format!("{}leader", self.prefix)
    }

    pub(super) fn lock(&self, database: &str) -> String {
        format!("{}locks/{}", self.prefix, encoded(database))
    }

    pub(super) fn workers(&self) -> String {
        format!("{}workers/", self.prefix)
    }

    pub(super) fn worker(&self, number: &str) -> String {
        format!("{}{number}", self.workers())
    }

    pub(super) fn spent(&self, token: &str) -> String {
        format!("{}spent/{token}", self.prefix)
    }

    pub(super) fn decisions(&self) -> String {
        format!("{}decisions/", self.prefix)
    }

    pub(super) fn decision(&self, question: &str) -> String {
        format!("{}{}", self.decisions(), encoded(question))
    }

    pub(super) fn runs(&self) -> String {
        format!("{}runs/", self.prefix)
    }

    /// Ids of runs rise with time, and so do their keys.
    pub(super) fn run(&self, run: RunId) -> String {
        format!("{}{run}", self.runs())
    }

    pub(super) fn fleets(&self) -> String {
        format!("{}fleets/", self.prefix)
    }

    pub(super) fn fleet(&self, name: &str) -> String {
        format!("{}{}", self.fleets(), encoded(name))
    }

    pub(super) fn submissions(&self) -> String {
        format!("{}submissions/", self.prefix)
    }

    pub(super) fn parts(&self, submission: RunId) -> String {
        format!("{}{submission}/", self.submissions())
    }

    /// Parts are read in the order of their keys.
    pub(super) fn part(&self, submission: RunId, part: u32) -> String {
        format!("{}{part:06}", self.parts(submission))
    }

    /// The submission that a key is a part of.
    pub(super) fn submission_of(&self, key: &str) -> Option<RunId> {
        let rest = key.strip_prefix(&self.submissions())?;
        rest.split('/').next()?.parse().ok()
    }

    /// What all keys of a topic begin with.
    pub(super) fn of_topic(&self, topic: Topic) -> String {
        match topic {
            Topic::Leader => self.leader(),
            Topic::Workers => self.workers(),
            Topic::Decisions => self.decisions(),
            Topic::Runs => self.runs(),
        }
    }
}

fn encoded(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_reaches_out_of_its_place() {
        let keys = Keys::below("/upshift/v1/");
        assert_eq!(keys.lock("a/b"), "/upshift/v1/locks/a%2Fb");
        assert_eq!(
            keys.decision("../leader"),
            "/upshift/v1/decisions/%2E%2E%2Fleader"
        );
        assert_eq!(Keys::below("x").leader(), "x/leader");
        assert!(!keys.leader().starts_with(&keys.workers()));
        let submission = RunId::generate();
        let part = keys.part(submission, 7);
        assert!(part.ends_with("/000007"), "{part}");
        assert_eq!(keys.submission_of(&part), Some(submission));
        assert_eq!(keys.submission_of(&keys.fleet("x")), None);
    }
}
