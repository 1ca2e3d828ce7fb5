//! The world of a test: a server, databases of its own in it, and the `upshift` command.

mod certificates;
mod command;
mod database;
mod etcd;
mod network;
mod pack;
mod relay;
mod scraping;
mod server;
pub mod snapshots;
mod usage;

pub use certificates::{Authority, Identity};
pub use command::{Outcome, Running, Upshift, binary};
pub use database::Database;
pub use etcd::{ETCD_VARIABLE, EtcdCluster};
pub use network::{Host, HostPostgres, HostTasks, Network, Process, REQUIRED_VARIABLE, Slowness};
pub use pack::{one_module, pack};
pub use relay::Relay;
pub use scraping::scrape;
pub use server::{SERVER_VARIABLE, Server, repository};
pub use usage::Usage;
