//! A deterministic simulation of a cluster: the real engine between models of everything around it.
//!
//! A seed makes a world (plans, coordinators, workers, databases, clients), and whatever goes wrong in it; a
//! queue of what happens next and a clock that jumps from one to the next do the rest. There is no I/O, no
//! thread and no other source of chance, so that a seed does the same every time.
//!
//! | room | what it models |
//! |---|---|
//! | [`world`](self) | the loop, processes that die, pause and wake late, links that are cut, timers |
//! | `store` | etcd: leases, the leader's key, compared revisions, database locks, the index of runs |
//! | `database`, `ledger` | one database: the fence and its lock, transactions of units, rows of the ledger |
//! | `coordinator`, `driver`, `rebuild` | campaign and take over; commands of the engine; the graph from the ledger |
//! | `worker`, `client` | sessions with credits, zombies; operators who submit, pause, stop and roll back |
//! | `adapter`, `standing` | all that is made for the engine; what it was told, kept apart from it |
//! | `invariants` | what must always hold, a file each, and what must hold in the end |

mod adapter;
mod client;
mod coordinator;
mod database;
mod defect;
mod driver;
mod faults;
mod invariants;
mod ledger;
mod message;
mod plan;
mod process;
mod queue;
mod rebuild;
mod scenario;
mod standing;
mod store;
mod takeover;
mod trace;
mod transaction;
mod worker;
mod world;

pub use defect::Defect;
pub use world::{Failure, Summary, simulate};
