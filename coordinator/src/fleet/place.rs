//! What is durable of a fleet outside of the ledgers: its place in the waves and what an operator
//! ordered. It is small, whatever the number of members. If it is lost the ledgers say the rest, and
//! approvals are asked for again.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use upshift_shared::fleet::{FleetFile, MemberName};

use super::{
    event::{FleetOrder, HookKind},
    machine::Refusal,
    orders::ABORTED,
};

/// The version that is written.
pub(super) const VERSION: u32 = 1;

/// Where a fleet is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetPlace {
    /// The version of this format.
    pub version: u32,
    /// Waves whose members may begin: the first so many.
    pub opened: u32,
    /// Their names: whoever changes the waves of the file means others by the same numbers.
    #[serde(default)]
    pub waves: Vec<String>,
    /// What members were taken from: what could be asked when waves were opened.
    #[serde(default)]
    pub sources: BTreeSet<String>,
    /// Waves that were approved.
    pub approved: BTreeSet<u32>,
    /// All were, those to come too.
    pub approved_all: bool,
    /// Nothing begins.
    pub paused: bool,
    /// It was resumed while nobody conducted it: failures that there are when somebody does are forgiven.
    #[serde(default)]
    pub resumed: bool,
    /// Nothing is upgraded any more.
    pub aborted: bool,
    /// Failed members of waves in spite of which an operator lets them go on.
    pub forgiven: BTreeMap<u32, BTreeSet<MemberName>>,
    /// What was ordered of members and is not done yet, in this order: retries, ways back, commits.
    pub wanted: Vec<FleetOrder>,
    /// Members around which hooks are: the last one that was begun, and that has not been done with.
    pub attended: BTreeMap<MemberName, HookKind>,
    /// Members that an operator took back by name before anything was done to them: they are not
    /// begun.
    pub left_out: BTreeSet<MemberName>,
    /// How often the order was begun anew: what was rolled back in an earlier round is upgraded again.
    #[serde(default)]
    pub round: u32,
    /// The pack, by its name and what it leads to: another one is another order.
    #[serde(default)]
    pub pack: Option<String>,
    /// Options of `upshift run` that it was begun with: whoever goes on keeps to them.
    #[serde(default)]
    pub options: Vec<String>,
}

impl Default for FleetPlace {
    fn default() -> Self {
        Self {
            version: VERSION,
            opened: 0,
            waves: Vec::new(),
            sources: BTreeSet::new(),
            approved: BTreeSet::new(),
            approved_all: false,
            paused: false,
            resumed: false,
            aborted: false,
            forgiven: BTreeMap::new(),
            wanted: Vec::new(),
            attended: BTreeMap::new(),
            left_out: BTreeSet::new(),
            round: 0,
            pack: None,
            options: Vec::new(),
        }
    }
}

impl FleetPlace {
    /// The order is given once more: waves come from the first one, nothing is approved, aborted or left
    /// out, and what was rolled back is upgraded again. Hooks that are owed stay so.
    pub fn begin_anew(&mut self) {
        *self = Self {
            round: self.round.saturating_add(1),
            attended: std::mem::take(&mut self.attended),
            ..Self::default()
        };
    }

    /// Whether the waves that were opened are the first ones of an order.
    ///
    /// # Errors
    /// Where they are not: what was opened and approved would be taken for others.
    pub fn fits(&self, order: &FleetFile) -> Result<(), Refusal> {
        let first = order.waves.iter().map(|wave| &wave.name);
        match self.waves.iter().eq(first.take(self.waves.len())) {
            true => Ok(()),
            false => Err(Refusal(format!(
                "the waves of the file are no longer those that were opened ({}): put these first again, or begin \
                 from the first wave with --anew",
                self.waves.join(", ")
            ))),
        }
    }

    /// Takes down an order that is about no member, for whoever conducts the fleet next; whether it is such a one.
    ///
    /// # Errors
    /// Where it was aborted, and is to be resumed.
    pub fn take_down(&mut self, order: &FleetOrder) -> Result<bool, Refusal> {
        match order {
            FleetOrder::Pause => self.paused = true,
            FleetOrder::Resume if self.aborted => return Err(Refusal(ABORTED.to_owned())),
            FleetOrder::Resume => (self.paused, self.resumed) = (false, true),
            FleetOrder::Approve { wave: None } => self.approved_all = true,
            FleetOrder::Approve { wave: Some(wave) } => {
                self.approved.insert(*wave);
            }
            FleetOrder::Abort
            | FleetOrder::Retry(_)
            | FleetOrder::RollBack(_)
            | FleetOrder::RollBackByForce(_)
            | FleetOrder::Commit(_) => return Ok(false),
        }
        Ok(true)
    }

    /// Whether what comes after a wave was approved.
    #[must_use]
    pub fn is_approved(&self, wave: u32) -> bool {
        self.approved_all || self.approved.contains(&wave)
    }
}
