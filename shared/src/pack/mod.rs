//! The pack: modules and their migrations, as read from disk. Pure data here; `load` reads it.

mod complaint;
mod model;

pub use complaint::{Complaint, Location};
pub use model::{
    CheckStep, ChunkDirective, Condition, Directives, ExecStep, InstalledSource, Migration, Module,
    Pack, Phase, Script, Step, StepKind, StrategyDirective, Version, When,
};
