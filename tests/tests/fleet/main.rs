//! Fleets in one process: many databases by one order, whatever happens to them, to their servers, and to
//! the process itself.

mod connections;
mod hooks;
mod names;
mod orders;
mod policies;
mod sources;
mod trouble;
mod waves;
mod whole;
mod window;
