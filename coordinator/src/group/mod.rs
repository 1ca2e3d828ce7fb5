//! Groups of databases that one run moves together. Each has a plan, a ledger and a run row of its own;
//! what they have in common is the *cut*: a change of state (a checkpoint, `prepared`, `committed`,
//! `rolled_back`, …) that all of them say or none does.
//!
//! - `file`: the file that names the databases.
//! - `cut`: PREPARE TRANSACTION on each, one durable decision, COMMIT PREPARED on each.
//! - `leftover`: after a crash, the decision alone says how what it left ends.
//! - `seat`: where the members' drivers wait for each other, and stop each other.
//! - `share`: how the workers of the process are shared out.

mod cut;
mod file;
mod leftover;
mod seat;
mod share;

pub use cut::{Cuts, Member, Refusal};
pub use file::{Entry, GroupFile};
pub use leftover::{Recovered, resolve};
pub use seat::{Cutter, Seat, Waited, seats};
pub use share::share;
