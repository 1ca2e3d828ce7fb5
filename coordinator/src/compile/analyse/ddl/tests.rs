//! Tables of statements.
