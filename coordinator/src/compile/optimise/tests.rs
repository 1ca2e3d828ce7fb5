//! Passes: statements in, one SELECT out.
