//! A fresh column that is filled with one constant: metadata.

use upshift_shared::plan::{DdlAction, DdlEffect, Metadata, Operator, UndoKind};

use super::Chosen;
use crate::compile::{
    model::{AnalysedStep, Class},
    optimise::ConstantFill,
};

/// ADD COLUMN with the constant as a default, which goes again at once.
pub(super) fn constant_fill(add: &AnalysedStep, fill: &ConstantFill) -> Chosen {
    let undo = match &add.bound.class {
        Class::Ddl(ddl) => ddl.actions.iter().find_map(|action| match &action.effect {
            DdlEffect::Invert { undo } => Some(undo.clone()),
            _ => None,
        }),
        _ => None,
    };
    let ConstantFill {
        table,
        column,
        type_name,
        value,
        ..
    } = fill;
    let action = |sql: String, undo: Vec<String>| DdlAction {
        sql,
        effect: DdlEffect::Invert { undo },
    };
    let drop = vec![format!("ALTER TABLE {table} DROP COLUMN {column}")];
    let actions = vec![
        action(
            format!("ALTER TABLE {table} ADD COLUMN {column} {type_name} DEFAULT {value}"),
            undo.unwrap_or(drop),
        ),
        action(
            format!("ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT"),
            Vec::new(),
        ),
    ];
    Chosen {
        operator: Operator::Metadata(Metadata { actions }),
        undo: UndoKind::InverseDdl,
        why: "a new column with one value for all rows: PostgreSQL keeps it once, and no row is written"
            .to_owned(),
        pinned_now: false,
        warning: None,
    }
}
