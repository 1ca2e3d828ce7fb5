//! The statement operator: one statement in one transaction, with the author's undo, a copy of what it
//! writes, or no way back where the author said so.

use upshift_shared::{
    pack::Complaint,
    plan::{CopiedTable, KeptTable, Operator, Statement, StatementUndo, UndoKind},
};

use super::{Chosen, complain, template};
use crate::compile::model::{AnalysedStep, Bound, Class};

/// `--strategy sequential`: as written, nothing kept.
pub(super) fn as_written(sql: &str, bound: &Bound) -> Chosen {
    let (transactional, recovery) = transactional(&bound.class);
    Chosen {
        operator: Operator::Statement(Statement {
            sql: sql.to_owned(),
            undo: StatementUndo::Irreversible,
            transactional,
            recovery,
        }),
        undo: UndoKind::Irreversible,
        why: "as written: --strategy sequential".to_owned(),
        pinned_now: false,
        warning: None,
    }
}

/// UPDATE, DELETE or INSERT whose author gave an `undo`: it wins over what the compiler would keep.
pub(super) fn directed(step: &AnalysedStep, sql: &str) -> Option<Chosen> {
    let undo = step.step.directives.undo.clone()?;
    let undo = StatementUndo::Sql {
        statements: vec![undo],
    };
    Some(build(
        step,
        sql,
        undo,
        UndoKind::Directive,
        "in one unit: the author's undo takes it back".to_owned(),
    ))
}

/// Copying, query and opaque statements.
pub(super) fn choose(
    step: &AnalysedStep,
    sql: &str,
    number: u32,
) -> Result<Chosen, Box<Complaint>> {
    if let Some(chosen) = directed(step, sql) {
        return Ok(chosen);
    }
    let irreversible = step.step.directives.irreversible;
    match &step.bound.class {
        Class::Copying { tables, why } => {
            let undo = StatementUndo::Copy {
                tables: number_copies(tables, number),
            };
            Ok(build(step, sql, undo, UndoKind::Copy, why.clone()))
        }
        Class::Query => {
            let why = "a query: nothing to take back beyond sequences".to_owned();
            Ok(build(
                step,
                sql,
                StatementUndo::Nothing,
                UndoKind::Nothing,
                why,
            ))
        }
        Class::Opaque {
            why,
            undo: Some(statements),
            ..
        } if statements.is_empty() => Ok(build(
            step,
            sql,
            StatementUndo::Nothing,
            UndoKind::Nothing,
            why.clone(),
        )),
        Class::Opaque {
            why,
            undo: Some(statements),
            ..
        } => {
            let undo = StatementUndo::Sql {
                statements: statements.clone(),
            };
            Ok(build(step, sql, undo, UndoKind::InverseDdl, why.clone()))
        }
        Class::Opaque { why, .. } if irreversible => {
            let why = format!("opaque: {why}");
            Ok(build(
                step,
                sql,
                StatementUndo::Irreversible,
                UndoKind::Irreversible,
                why,
            ))
        }
        Class::Opaque { why, .. } => {
            let message = format!(
                "this statement has no way back: {why}; give it -- upshift: undo = \"SQL\", or mark it \
                 -- upshift: irreversible"
            );
            Err(Box::new(complain(&step.step, None, message)))
        }
        _ => Err(Box::new(complain(
            &step.step,
            None,
            "no operator for this statement: please report this".to_owned(),
        ))),
    }
}

fn build(
    step: &AnalysedStep,
    sql: &str,
    undo: StatementUndo,
    kind: UndoKind,
    why: String,
) -> Chosen {
    let (transactional, recovery) = transactional(&step.bound.class);
    // One statement in one transaction has one now() already: nothing is pinned.
    Chosen {
        operator: Operator::Statement(Statement {
            sql: template::pinned(sql, &[]),
            undo,
            transactional,
            recovery,
        }),
        undo: kind,
        why,
        pinned_now: false,
        warning: None,
    }
}

fn transactional(class: &Class) -> (bool, Option<String>) {
    match class {
        Class::Opaque {
            transactional,
            recovery,
            ..
        } => (*transactional, recovery.clone()),
        _ => (true, None),
    }
}

fn number_copies(tables: &[CopiedTable], number: u32) -> Vec<CopiedTable> {
    tables
        .iter()
        .map(|table| CopiedTable {
            kept: KeptTable {
                name: table.kept.name.replace("{task}", &number.to_string()),
                ..table.kept.clone()
            },
            ..table.clone()
        })
        .collect()
}
