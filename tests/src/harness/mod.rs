//! The world of a test: a server, databases of its own in it, and the `upshift` command.

mod command;
mod database;
mod etcd;
mod pack;
mod server;
pub mod snapshots;

pub use command::{Outcome, Running, Upshift, binary};
pub use database::Database;
pub use etcd::EtcdCluster;
pub use pack::{one_module, pack};
pub use server::{SERVER_VARIABLE, Server, repository};
