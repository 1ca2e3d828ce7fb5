//! Queries, bound: names resolved through the scopes that PostgreSQL has, and what is read, drawn,
//! called and compared noted down on the way. The binders of DML and of DDL with a query inside
//! (views, CREATE TABLE AS) share it.

mod clock;
mod expression;
mod from;
mod function;
mod hand;
mod instant;
mod json;
mod naming;
mod read_set;
mod scope;
mod select;
mod sequence;
mod source;
mod suggest;
mod unique;
mod uses;
mod walker;

pub(crate) use clock::{UNKNOWN, domains_of, names_clock, reads_clock};
pub use read_set::{QueryColumn, ReadSet, read_set};
pub(crate) use scope::Item;
pub(crate) use source::{LevelId, Output, OutputColumn, Place, Shape, Source, SourceId, Span};
pub(crate) use suggest::did_you_mean;
pub(crate) use uses::{Uses, descendants, named_sequences, qualified, type_of_column, under_view};
pub(crate) use walker::Walker;
