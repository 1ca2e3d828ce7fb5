//! The worker: takes units from a coordinator's session and runs each in one transaction on its
//! target database.

pub mod exposition;
pub mod failpoint;
pub mod link;
pub mod metrics;
pub mod pool;
pub mod prepare;
pub mod program;
pub mod service;
pub mod session;
mod transform;
pub mod unit;
