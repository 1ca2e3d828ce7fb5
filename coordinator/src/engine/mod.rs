//! The pure state machine of run, task and unit: an event and the time in, an exact list of commands
//! out. No I/O, no clock, no randomness.

mod event;

pub use event::{
    Command, Direction, Event, Failure, FailureClass, GraphTask, Outcome, RunGraph, StopReason,
};
