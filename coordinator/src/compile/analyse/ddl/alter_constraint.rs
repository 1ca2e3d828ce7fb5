//! The subcommands of ALTER TABLE that are about constraints, each with its inverse.

use pg_query::{
    NodeEnum,
    protobuf::{self, AlterTableCmd, ConstrType},
};
use upshift_shared::{
    catalog::{Constraint, ConstraintKind, Relation},
    ids::{ColId, RelId},
    pg::ident::{QualifiedName, ident},
    plan::Capture,
};

use super::{
    alter_table::{Effect, cascades},
    constraint,
    draft::Draft,
    object, table_element,
};
use crate::compile::error::BindError;

/// The constraint of ADD CONSTRAINT.
pub(super) fn of_command(command: &AlterTableCmd) -> Option<&protobuf::Constraint> {
    command.def.as_deref().and_then(constraint::of_node)
}

/// ADD CONSTRAINT
pub(super) fn add(
    draft: &mut Draft<'_>,
    table: RelId,
    command: &AlterTableCmd,
) -> Result<Effect, BindError> {
    let Some(constraint) = of_command(command) else {
        return Err(BindError::new("ADD CONSTRAINT needs a constraint"));
    };
    let before = draft.relation(table).clone();
    let quoted = draft.quoted(table);
    let name = constraint::add(draft, table, constraint)?;
    let mut undo = Vec::new();
    if !name.is_empty() {
        undo.push(format!(
            "ALTER TABLE {quoted} DROP CONSTRAINT {}",
            ident(&name)
        ));
    }
    if !constraint.indexname.is_empty() {
        let index = before
            .indexes
            .iter()
            .find(|index| index.name == constraint.indexname);
        undo.extend(index.map(|index| index.definition.clone()));
    }
    undo.extend(nullable_again(draft, table, &before));
    let columns = draft
        .relation(table)
        .constraints
        .iter()
        .find(|c| c.name == name)
        .map(|c| c.columns.clone())
        .unwrap_or_default();
    draft.scans(table, &columns);
    match constraint::kind(constraint) {
        _ if constraint.skip_validation => {}
        ConstrType::ConstrPrimary | ConstrType::ConstrUnique | ConstrType::ConstrExclusion => {
            if constraint.indexname.is_empty() {
                draft.costs("scans the table to build the constraint's index");
            }
        }
        _ => draft.costs("scans the table to check every row"),
    }
    Effect::invert(undo)
}

/// A primary key makes its columns NOT NULL, and they stay so when it is dropped.
fn nullable_again(draft: &Draft<'_>, table: RelId, before: &Relation) -> Vec<String> {
    let quoted = draft.quoted(table);
    let now = draft.relation(table);
    let was_nullable = |name: &str| before.column(name).is_some_and(|c| !c.not_null);
    let columns = now.columns.iter();
    columns
        .filter(|column| column.not_null && was_nullable(&column.name))
        .map(|column| {
            format!(
                "ALTER TABLE {quoted} ALTER COLUMN {} DROP NOT NULL",
                ident(&column.name)
            )
        })
        .collect()
}

/// A constraint of a table by name.
pub(super) fn find(draft: &Draft<'_>, table: RelId, name: &str) -> Result<Constraint, BindError> {
    let relation = draft.relation(table);
    let found = relation.constraints.iter().find(|c| c.name == name);
    found.cloned().ok_or_else(|| {
        let known = relation.constraints.iter().map(|c| c.name.as_str());
        let hint = object::did_you_mean(name, known);
        let table = draft.name(table).plain();
        BindError::new(format!(
            "constraint \"{name}\" of relation \"{table}\" does not exist{hint}"
        ))
    })
}

/// ALTER CONSTRAINT
pub(super) fn alter(
    draft: &mut Draft<'_>,
    table: RelId,
    command: &AlterTableCmd,
) -> Result<Effect, BindError> {
    let node = command.def.as_ref().and_then(|def| def.node.as_ref());
    let (name, deferrable, deferred) = match node {
        Some(NodeEnum::Constraint(c)) => (c.conname.clone(), c.deferrable, c.initdeferred),
        Some(NodeEnum::AtalterConstraint(c)) => (c.conname.clone(), c.deferrable, c.initdeferred),
        _ => return Effect::lost("ALTER CONSTRAINT"),
    };
    let old = find(draft, table, &name)?;
    if !matches!(old.kind, ConstraintKind::ForeignKey { .. }) {
        return Effect::lost("ALTER CONSTRAINT of what is not a foreign key");
    }
    let word = match (old.deferrable, old.deferred) {
        (false, _) => "NOT DEFERRABLE",
        (true, false) => "DEFERRABLE INITIALLY IMMEDIATE",
        (true, true) => "DEFERRABLE INITIALLY DEFERRED",
    };
    let undo = format!(
        "ALTER TABLE {} ALTER CONSTRAINT {} {word}",
        draft.quoted(table),
        ident(&name)
    );
    change(draft, table, &name, |constraint| {
        constraint.deferrable = deferrable || deferred;
        constraint.deferred = deferred;
    });
    Effect::invert(vec![undo])
}

fn change(draft: &mut Draft<'_>, table: RelId, name: &str, change: impl FnOnce(&mut Constraint)) {
    draft.catalog.change(table, |relation| {
        if let Some(constraint) = relation.constraints.iter_mut().find(|c| c.name == name) {
            change(constraint);
        }
    });
}

/// VALIDATE CONSTRAINT
pub(super) fn validate(
    draft: &mut Draft<'_>,
    table: RelId,
    command: &AlterTableCmd,
) -> Result<Effect, BindError> {
    let old = find(draft, table, &command.name)?;
    if old.validated {
        return Ok(Effect::Skip(format!(
            "constraint \"{}\" is valid already",
            command.name
        )));
    }
    draft.scans(table, &old.columns);
    if let ConstraintKind::ForeignKey { table, columns, .. } = &old.kind {
        draft.scans(*table, columns);
    }
    draft.costs("scans the table to check every row");
    change(draft, table, &command.name, |c| c.validated = true);
    Effect::capture(vec![Capture::Constraint {
        table: draft.quoted(table),
        constraint: command.name.clone(),
    }])
}

/// DROP CONSTRAINT
pub(super) fn drop(
    draft: &mut Draft<'_>,
    table: RelId,
    command: &AlterTableCmd,
) -> Result<Effect, BindError> {
    let old = match find(draft, table, &command.name) {
        Ok(old) => old,
        Err(error) if command.missing_ok => return Ok(Effect::Skip(error.message)),
        Err(error) => return Err(error),
    };
    let mut objects = vec![capture(draft, table, &old.name)];
    if let ConstraintKind::ForeignKey { table, .. } = &old.kind {
        draft.alters(*table);
    }
    let dependents = dependent_foreign_keys(draft, table, &old);
    if let (Some((other, foreign_key)), false) = (dependents.first(), cascades(command.behavior)) {
        let other = draft.name(*other).plain();
        return Err(BindError::new(format!(
            "constraint \"{}\" cannot be dropped because constraint \"{foreign_key}\" on table \
             \"{other}\" depends on it: drop that first, or say CASCADE",
            old.name
        )));
    }
    for (other, foreign_key) in dependents {
        draft.alters(other);
        objects.push(capture(draft, other, &foreign_key));
        forget(draft, other, &foreign_key);
    }
    if matches!(
        old.kind,
        ConstraintKind::PrimaryKey | ConstraintKind::Unique | ConstraintKind::Exclusion
    ) {
        let schema = draft.name(table).schema;
        draft.takes_name(&QualifiedName::new(schema, &old.name));
    }
    if let (ConstraintKind::NotNull, [column]) = (&old.kind, old.columns.as_slice()) {
        table_element::with_column(draft, table, *column, |column| column.not_null = false);
    }
    for member in constraint::family(draft, table) {
        forget(draft, member, &old.name);
    }
    Effect::capture(objects)
}

fn capture(draft: &Draft<'_>, table: RelId, name: &str) -> Capture {
    Capture::Constraint {
        table: draft.quoted(table),
        constraint: name.to_owned(),
    }
}

/// Takes a constraint out, and the index that backs it.
pub(super) fn forget(draft: &mut Draft<'_>, table: RelId, name: &str) {
    let schema = draft.name(table).schema;
    draft.takes_constraint_name(&schema, name);
    draft.catalog.change(table, |relation| {
        let backed = relation.constraints.iter().any(|c| {
            c.name == name
                && matches!(
                    c.kind,
                    ConstraintKind::PrimaryKey | ConstraintKind::Unique | ConstraintKind::Exclusion
                )
        });
        relation.constraints.retain(|c| c.name != name);
        if backed {
            relation.indexes.retain(|index| index.name != name);
        }
    });
}

/// Foreign keys that rest on a primary key or unique constraint.
fn dependent_foreign_keys(
    draft: &Draft<'_>,
    table: RelId,
    constraint: &Constraint,
) -> Vec<(RelId, String)> {
    if !matches!(
        constraint.kind,
        ConstraintKind::PrimaryKey | ConstraintKind::Unique
    ) {
        return Vec::new();
    }
    let covers = |columns: &[ColId]| {
        columns.len() == constraint.columns.len()
            && columns.iter().all(|c| constraint.columns.contains(c))
    };
    // Another unique index over the same columns may be the one that the foreign key rests on; which
    // of them it is, only PostgreSQL knows, and it will say so.
    let rest = draft.relation(table).indexes.iter().filter(|index| {
        let columns: Option<Vec<ColId>> = index.columns.iter().copied().collect();
        index.unique && index.name != constraint.name && columns.is_some_and(|c| covers(&c))
    });
    if rest.count() > 0 {
        return Vec::new();
    }
    draft
        .catalog
        .incoming(table)
        .filter(|(_, incoming)| match &incoming.kind {
            ConstraintKind::ForeignKey { columns, .. } => covers(columns),
            _ => false,
        })
        .map(|(other, incoming)| (other.id, incoming.name.clone()))
        .collect()
}
