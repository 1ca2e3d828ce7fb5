//! The fault harness: for every kind of operator, everything that may happen to it at every point that it
//! passes, and afterwards the database has to be where an undisturbed run leaves it, or as it was.
//!
//! The lists come from the code: kinds from [`Operator::KINDS`](upshift_shared::plan::Operator::KINDS), points
//! from [`failpoint::LISTS`](upshift_worker::failpoint::LISTS), and which of them an operator passes on the way
//! there, back and at commit from a trace of undisturbed runs. To add to them:
//!
//! - a new operator, undo of a statement or stage of a pass: a [`Case`] in `case.rs` in which it works;
//! - a new point: its constant in `worker/src/failpoint.rs`; a new list of points: in `LISTS` there;
//! - a new way of doing harm: a variant of [`Fault`] in `fault.rs`.
//!
//! `tests/tests/faults.rs` runs a part of the matrix. All of it, or what contains a text:
//!
//! ```text
//! UPSHIFT_FAULTS=all UPSHIFT_TRIALS=… target/debug/upshift-test-server \
//!     cargo test -p upshift-tests --test faults -- --exact the_matrix --nocapture
//! ```

mod case;
mod chain;
mod disk;
mod fault;
mod paused;
mod trace;
mod walk;
mod world;

pub use case::{CASES, Case};
pub use chain::killed_at_every_point;
pub use disk::SmallDisk;
pub use fault::{Fault, Trial, trials};
pub use paused::{Locks, Paused};
pub use trace::{Pass, Way};
pub use walk::{Went, walk};
pub use world::{Ready, go_on};
