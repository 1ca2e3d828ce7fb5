//! The compiler: `load → resolve → analyse → order → physical`, each stage a pure function from data
//! to data. Nothing here does I/O.

pub mod error;
pub mod model;
