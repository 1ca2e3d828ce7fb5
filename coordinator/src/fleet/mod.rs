//! The pure state machine of a fleet: an event and the time in, an exact list of commands out. No I/O,
//! no clock.
//!
//! What is durable is [`FleetPlace`] and the ledgers of the members; everything else here is made anew
//! from them.

mod dispatch;
mod estimate;
mod event;
#[cfg(test)]
mod invariants;
mod lines;
mod machine;
mod member;
mod order;
mod orders;
mod place;
#[cfg(test)]
mod property_tests;
mod reason;
mod room;
mod roster;
#[cfg(test)]
mod script;
mod step;
#[cfg(test)]
mod table_tests;
mod tally;
#[cfg(test)]
mod trouble_tests;
mod view;
mod waves;

pub use estimate::{Estimate, makespan};
pub use event::{FleetCommand, FleetEnd, FleetEvent, FleetOrder, HookKind, Which};
pub use machine::{Fleet, Refusal};
pub use member::{Found, Member, MemberId, MemberState};
pub use place::FleetPlace;
pub use reason::{Reason, Standing};
pub use room::room;
pub use tally::Tally;
pub use waves::assign;
