//! Hostile input to both services of a coordinator: what is no HTTP/2, no gRPC, no message, no pack, no
//! certificate. After each case the coordinator still answers an honest operator, it still leads, and its
//! memory is bounded; in the end it stops in order, has shown no secret, and nobody has written its log.
//!
//! Cases with random input come from seeds: `UPSHIFT_CASES=n` more of them, from `UPSHIFT_FIRST=n` on, or
//! `UPSHIFT_SEED=n` alone.

mod door;
mod fleets;
mod messages;
mod operator;
mod raw;
mod rig;
mod session;
mod tls;
