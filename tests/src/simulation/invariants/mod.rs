//! What must hold: safety, looked at whenever something lands; then liveness, once nothing goes wrong any more.

pub(super) mod caps;
pub(super) mod causes;
mod checkpoints;
pub(super) mod credit;
mod dependencies;
pub(super) mod ends;
mod exactly_once;
mod fencing;
mod lead;
mod one_driver;
pub(super) mod starvation;

/// What was found: nothing, or what is wrong.
pub(super) type Verdict = Result<(), String>;

/// Those that remember something. (`causes` needs nothing; `caps`, `starvation` and a part of `credit` look
/// at one engine, and what they need is in `standing`.)
#[derive(Debug, Default)]
pub(super) struct Invariants {
    pub(super) checkpoints: checkpoints::Checkpoints,
    pub(super) credit: credit::Idle,
    pub(super) dependencies: dependencies::Dependencies,
    pub(super) ends: ends::Ends,
    pub(super) exactly_once: exactly_once::ExactlyOnce,
    pub(super) fencing: fencing::Fencing,
    pub(super) lead: lead::Lead,
    pub(super) one_driver: one_driver::OneDriver,
}
