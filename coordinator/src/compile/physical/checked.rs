//! Constraints that are checked on their own. `ADD CONSTRAINT` and `SET NOT NULL` scan the whole table
//! under a lock that lets nobody write it, or read it. On a large table a constraint is added NOT VALID
//! instead, which scans nothing, and validated by a task of its own, which locks out neither readers nor
//! writers and runs beside others (PostgreSQL, ALTER TABLE, "Notes"). `SET NOT NULL` scans nothing where a
//! valid CHECK says the same, so it gets one, for the time being.

use std::collections::BTreeSet;

use pg_query::{
    NodeEnum,
    protobuf::{AlterTableCmd, AlterTableType, ConstrType, RangeVar},
};
use upshift_shared::{
    catalog::{Constraint, ConstraintKind, Relation, RelationKind},
    ids::TaskId,
    pg::ident::{QualifiedName, ident},
    plan::{DdlAction, DdlEffect, Edge, EdgeReason, Metadata, Operator, Rates, Task, UndoKind},
};

use crate::compile::{
    model::{AnalysedStep, Around, BoundDdl, Class},
    sql::{deparse, parse},
};

/// Tables with fewer rows are scanned in no time.
const MANY: f64 = 50_000.0;

/// A step in several tasks.
pub(super) struct Parts {
    /// The first one's actions.
    add: Vec<DdlAction>,
    /// Constraints to validate: their names, not quoted, and what people call that.
    validate: Vec<(String, String)>,
    /// The last one's actions; may be empty.
    end: Vec<DdlAction>,
    table: QualifiedName,
    rows: f64,
}

/// How a step is taken apart; `None` where it is not worth while, or not safe.
pub(super) fn parts(step: &AnalysedStep, number: u32) -> Option<Parts> {
    let (Class::Ddl(ddl), Some(around)) = (&step.bound.class, step.around.as_deref()) else {
        return None;
    };
    let directives = &step.step.directives;
    let plain = directives.undo.is_none() && directives.when.is_none() && !directives.irreversible;
    if !plain || around.before.rows < MANY || !is_alone(&around.before) {
        return None;
    }
    let mut parts = Parts {
        add: Vec::new(),
        validate: Vec::new(),
        end: Vec::new(),
        table: QualifiedName::new(&around.before.schema, &around.before.name),
        rows: around.before.rows,
    };
    parts.take(ddl, around, number)?;
    (!parts.validate.is_empty()).then_some(parts)
}

/// Whether nothing is above or below it, for which the same would have to be done.
fn is_alone(table: &Relation) -> bool {
    table.kind == RelationKind::Table
        && table.inheritance.parents.is_empty()
        && table.inheritance.children.is_empty()
}

impl Parts {
    fn take(&mut self, ddl: &BoundDdl, around: &Around, number: u32) -> Option<()> {
        let (mut any, mut strange) = (false, false);
        for action in &ddl.actions {
            let Some(NodeEnum::AlterTableStmt(mut statement)) = parse(&action.sql).ok()? else {
                return None;
            };
            let is_this = |range: &RangeVar| range.relname == around.before.name;
            if !statement.relation.as_ref().is_some_and(is_this) {
                return None;
            }
            let mut changed = false;
            let (mut not_null, mut others) = (Vec::new(), 0);
            for command in &mut statement.cmds {
                let Some(NodeEnum::AlterTableCmd(command)) = &mut command.node else {
                    return None;
                };
                match AlterTableType::try_from(command.subtype).ok()? {
                    AlterTableType::AtSetNotNull => not_null.push(command.name.clone()),
                    AlterTableType::AtAddConstraint => {
                        others += 1;
                        let checked = not_valid(command);
                        changed |= checked;
                        strange |= !checked;
                    }
                    _ => {
                        others += 1;
                        strange = true;
                    }
                }
            }
            any |= changed;
            match (not_null.as_slice(), others) {
                ([], _) if changed => self.add.push(DdlAction {
                    sql: deparse(NodeEnum::AlterTableStmt(statement)).ok()?,
                    effect: action.effect.clone(),
                }),
                ([_, ..], 0) => self.not_null(action, &not_null, around, number),
                _ => self.add.push(action.clone()),
            }
        }
        if strange && !self.end.is_empty() {
            // A primary key makes its columns NOT NULL itself, and then the way back would not know that
            // they were not.
            return None;
        }
        let old: BTreeSet<&str> = names(&around.before);
        let added = around.after.constraints.iter().filter(|c| is_checked(c));
        let added = added.filter(|c| any && !old.contains(c.name.as_str()));
        let table = self.table.plain();
        let named = added.map(|c| (c.name.clone(), format!("validate {} of {table}", c.name)));
        self.validate.extend(named);
        Some(())
    }

    /// A CHECK that says the same goes before it, and away with it.
    fn not_null(&mut self, action: &DdlAction, columns: &[String], around: &Around, number: u32) {
        let table = QualifiedName::new(&around.before.schema, &around.before.name);
        let nullable = |name: &&String| {
            let column = around.before.column(name);
            column.is_some_and(|column| !column.not_null)
        };
        let columns: Vec<&String> = columns.iter().filter(nullable).collect();
        self.end.push(action.clone());
        for column in columns {
            let name = format!("upshift_not_null_{number}_{}", self.validate.len());
            let drop = |exists: &str| {
                format!(
                    "ALTER TABLE {table} DROP CONSTRAINT {exists}{}",
                    ident(&name)
                )
            };
            self.add.push(DdlAction {
                sql: format!(
                    "ALTER TABLE {table} ADD CONSTRAINT {} CHECK ({} IS NOT NULL) NOT VALID",
                    ident(&name),
                    ident(column)
                ),
                effect: DdlEffect::Invert {
                    undo: vec![drop("IF EXISTS ")],
                },
            });
            self.end.push(DdlAction {
                sql: drop(""),
                effect: DdlEffect::Invert { undo: Vec::new() },
            });
            let label = format!("check that {column} of {} is not NULL", table.plain());
            self.validate.push((name, label));
        }
    }

    /// How many tasks it comes to.
    pub(super) fn count(&self) -> usize {
        1 + self.validate.len() + usize::from(!self.end.is_empty())
    }

    /// Its tasks, made from the one that the step would be, and the edges between them.
    pub(super) fn tasks(self, task: &Task, rates: &Rates) -> (Vec<Task>, Vec<Edge>) {
        let metadata = |place: usize, actions: Vec<DdlAction>| {
            let place = u32::try_from(place).expect("a statement has fewer than 2^32 actions");
            Task {
                id: TaskId(task.id.0 + place),
                operator: Operator::Metadata(Metadata { actions }),
                rows: 0,
                seconds: 0.02,
                ..task.clone()
            }
        };
        let mut tasks = vec![Task {
            why: "what it adds is not valid yet, so nothing is scanned under a lock".to_owned(),
            ..metadata(0, self.add)
        }];
        for (name, label) in self.validate {
            let sql = format!(
                "ALTER TABLE {} VALIDATE CONSTRAINT {}",
                self.table,
                ident(&name)
            );
            let effect = DdlEffect::Invert { undo: Vec::new() };
            let place = tasks.len();
            tasks.push(Task {
                label,
                why: "reads the table while others read and write it".to_owned(),
                seconds: self.rows * rates.validated,
                undo: UndoKind::Nothing,
                ..metadata(place, vec![DdlAction { sql, effect }])
            });
        }
        if !self.end.is_empty() {
            let place = tasks.len();
            tasks.push(Task {
                label: format!("set NOT NULL in {}", self.table.plain()),
                why: "a valid CHECK says the same already, so nothing is scanned".to_owned(),
                ..metadata(place, self.end)
            });
        }
        let edge = |(before, after): (&Task, &Task)| Edge {
            from: before.id,
            to: after.id,
            reason: EdgeReason::Stage,
        };
        // One after another: they lock the same table.
        let edges = tasks.iter().zip(&tasks[1..]).map(edge).collect();
        (tasks, edges)
    }
}

/// Makes it NOT VALID, if it is one that can be.
fn not_valid(command: &mut AlterTableCmd) -> bool {
    let constraint = command.def.as_mut().and_then(|node| node.node.as_mut());
    let Some(NodeEnum::Constraint(constraint)) = constraint else {
        return false;
    };
    let checked = matches!(
        ConstrType::try_from(constraint.contype),
        Ok(ConstrType::ConstrForeign | ConstrType::ConstrCheck)
    );
    if !checked || constraint.skip_validation {
        return false;
    }
    constraint.skip_validation = true;
    constraint.initially_valid = false;
    true
}

fn is_checked(constraint: &Constraint) -> bool {
    let kind = matches!(
        constraint.kind,
        ConstraintKind::ForeignKey { .. } | ConstraintKind::Check
    );
    kind && constraint.validated
}

fn names(relation: &Relation) -> BTreeSet<&str> {
    relation
        .constraints
        .iter()
        .map(|c| c.name.as_str())
        .collect()
}
