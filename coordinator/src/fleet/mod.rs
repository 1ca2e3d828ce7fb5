//! The pure state machine of a fleet: an event and the time in, an exact list of commands out. No I/O,
//! no clock.
//!
//! What is durable is [`FleetPlace`] and the ledgers of the members; everything else here is made anew
//! from them.

mod event;
mod member;
mod order;
mod place;
mod waves;

pub use event::{FleetCommand, FleetEnd, FleetEvent, FleetOrder, HookKind, Which};
pub use member::{Found, Member, MemberId, MemberState};
pub use place::FleetPlace;
pub use waves::assign;
