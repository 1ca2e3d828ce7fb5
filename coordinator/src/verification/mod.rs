//! Verification of a whole run: what it leaves when it is prepared (`record.rs`), read in parallel and of
//! one instant (`measure.rs`), the checks that hold after it (`checks.rs`), and what all of it costs
//! (`cost.rs`). `upshift verify` compares with what is there now. What units verify in their own
//! transactions is in `worker/src/unit/verified.rs`.

pub(crate) mod checks;
pub(crate) mod cost;
pub(crate) mod measure;
pub(crate) mod record;
pub(crate) mod tables;
