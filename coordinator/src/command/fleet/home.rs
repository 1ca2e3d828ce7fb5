//! Where a fleet has its place and its operators leave their orders: a folder, for a process alone, or the
//! store of a cluster.

use async_trait::async_trait;
use upshift_shared::{fleet::MemberName, ledger::audit::Entry};

use super::{
    super::Failure,
    folder::{Done, Folder},
    shown::Shown,
};
use crate::fleet::{FleetOrder, FleetPlace};

/// An order that somebody has left for whoever conducts the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::command) struct Left {
    pub(in crate::command) order: FleetOrder,
    /// By what it is known where it was left.
    pub(in crate::command) id: String,
}

/// For the audit of a member's ledger: who wanted what is done to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::command) struct Audit {
    /// The order that its run is begun by.
    pub(in crate::command) submitted: Option<Entry>,
    /// What an operator has ordered of it since.
    pub(in crate::command) ordered: Option<Entry>,
}

/// Where a fleet is at home.
#[async_trait]
pub(in crate::command) trait Home: Send + Sync {
    /// Keeps the place: durable when this returns.
    async fn record(&self, place: &FleetPlace) -> Result<(), Failure>;

    /// Orders that were left and not taken up, the oldest first.
    fn left(&self) -> Vec<Left>;

    /// Whoever left it is told what became of an order, and it is taken up no more. Where the fleet's place
    /// has changed by it, that is durable first, or with it.
    async fn taken(
        &self,
        left: &Left,
        refused: Option<String>,
        place: Option<&FleetPlace>,
    ) -> Result<(), Failure>;

    /// Who wanted what is being done to a member, where operators are known. `verb`: what was ordered of it.
    fn audit(&self, _verb: Option<&str>, _member: &MemberName, _wave: Option<u32>) -> Audit {
        Audit::default()
    }

    /// Says of a member what was done to it.
    async fn note(&self, done: &Done);

    /// What was noted, in order, as far as it is kept.
    async fn noted(&self, take: &mut (dyn FnMut(Done) + Send)) -> Result<(), Failure>;

    /// Tells how the fleet stands, as far as whoever conducts it knows.
    fn tell(&self, shown: Shown);
}

#[async_trait]
impl Home for Folder {
    async fn record(&self, place: &FleetPlace) -> Result<(), Failure> {
        self.keep(place)
    }

    fn left(&self) -> Vec<Left> {
        self.take_orders()
    }

    async fn taken(
        &self,
        left: &Left,
        refused: Option<String>,
        place: Option<&FleetPlace>,
    ) -> Result<(), Failure> {
        if let Some(place) = place {
            self.keep(place)?;
        }
        left.answer(refused);
        Ok(())
    }

    async fn note(&self, done: &Done) {
        self.write_down(done);
    }

    async fn noted(&self, take: &mut (dyn FnMut(Done) + Send)) -> Result<(), Failure> {
        self.written_down(take);
        Ok(())
    }

    fn tell(&self, shown: Shown) {
        self.show(&shown);
    }
}
