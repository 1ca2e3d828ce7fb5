//! What the cluster's store has of a fleet: who is to be told what of it the ledgers of its members do not
//! say. It is small, whatever the number of members; the order and the pack are kept apart from it, in parts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use upshift_shared::{Error, Result, ids::RunId};

use crate::fleet::{FleetOrder, FleetPlace, Which};

/// A part of a submission is so large at most: etcd takes requests of 1.5 MiB.
pub const PART_BYTES: usize = 512 * 1024;
/// And an entry, as JSON.
pub const ENTRY_BYTES: usize = 1024 * 1024;

/// A fleet, as the cluster's store has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetEntry {
    /// Its name.
    pub fleet: String,
    /// Which submission says what is to be done.
    pub submission: RunId,
    /// Its size.
    pub bytes: u64,
    /// Who has submitted it.
    pub by: String,
    /// When, in seconds since 1970.
    pub at: u64,
    /// The names of its waves.
    pub waves: Vec<String>,
    /// Where it is.
    #[serde(default)]
    pub place: FleetPlace,
    /// What operators have ordered and nobody has taken up yet, in this order. Whoever leads next does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<GivenOrder>,
    /// What became of the last orders: who asks again is told the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taken: Vec<TakenOrder>,
    /// Whether whoever leads is to conduct it.
    pub under_way: bool,
    /// Whether nothing is done but what is ordered: it had ended.
    #[serde(default)]
    pub only_orders: bool,
    /// How it stood last, in words, once it has ended.
    #[serde(default)]
    pub standing: String,
    /// Members by state then.
    #[serde(default)]
    pub states: BTreeMap<String, u32>,
    /// Those that count as failed.
    #[serde(default)]
    pub failed: u32,
    /// Members that failed before their ledgers could say so, and why; so many of them as there is room for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<String, FleetFailure>,
    /// What it failed for as a whole; empty for nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The trace that its runs belong to (W3C Trace Context), which whoever leads next goes on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Orders of members that were taken up and are not done yet, for the audit of their ledgers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub carried: Vec<CarriedOrder>,
    /// Under which number, as submissions have them, it is kept what hooks have said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<RunId>,
    /// Whether nothing can be ordered any more.
    #[serde(default)]
    pub closed: bool,
}

/// Why a member failed before its ledger could say so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetFailure {
    /// What was done to it: `upgrade`, `hook_before`.
    pub what: String,
    /// The beginning of the reason.
    pub why: String,
}

/// An order that an operator has given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenOrder {
    /// What makes it one order, however often it arrives.
    pub id: RunId,
    /// What is ordered.
    pub order: FleetOrder,
    /// By whom.
    pub by: String,
}

/// An order of members that is being carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedOrder {
    /// Which.
    pub id: RunId,
    /// By whom.
    pub by: String,
    /// What: `retry`, `rollback`, `commit`.
    pub verb: String,
    /// Of which members; `None` where too many are named for them to be kept once more.
    pub which: Option<Which>,
}

/// An order that was taken up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenOrder {
    /// Which.
    pub id: RunId,
    /// Why it was refused, where it was.
    pub refused: Option<String>,
}

impl FleetEntry {
    /// Whether the store can take it.
    ///
    /// # Errors
    /// [`Error::Refused`] where it has become too large.
    pub fn fits(&self) -> Result<()> {
        let bytes = serde_json::to_vec(self).expect("it is plain data").len();
        if bytes <= ENTRY_BYTES {
            return Ok(());
        }
        Err(Error::Refused(format!(
            "fleet {} has more to remember than the {ENTRY_BYTES} bytes that the cluster's store has for \
             it: name fewer databases one by one, and waves or all of them instead",
            self.fleet
        )))
    }
}
