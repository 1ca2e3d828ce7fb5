//! The pack: modules and their migrations. The model is pure data; [`load()`] reads it from disk.

mod complaint;
mod declare;
mod directive;
mod document;
pub mod grammar;
mod load;
mod manifest;
mod marker;
mod model;
pub mod narrow;
mod refuse;
mod script;
mod series;
mod setting;
mod source;
mod split;
mod statement;
mod transform;
pub mod tree;
mod typed;
mod value_map;
mod words;

pub use complaint::{Complaint, Location};
pub use load::{load, load_with_remarks};
pub use model::{
    CheckStep, ChunkDirective, Condition, Directives, ExecStep, InstalledSource, Migration, Module,
    Pack, Phase, Script, Step, StepKind, StrategyDirective, TransformStep, Version, When,
};
