//! The world of a test: a server, databases of its own in it, and the `upshift` command.

mod certificates;
mod command;
mod database;
mod etcd;
mod pack;
mod relay;
mod server;
pub mod snapshots;

pub use certificates::{Authority, Identity};
pub use command::{Outcome, Running, Upshift};
pub use database::Database;
pub use etcd::{ETCD_VARIABLE, EtcdCluster};
pub use pack::{one_module, pack};
pub use relay::Relay;
pub use server::{SERVER_VARIABLE, Server, repository};
