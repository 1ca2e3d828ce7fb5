//! A catalog as lines that two catalogs can be compared by: numbers replaced by names, and expressions
//! left out, which the compiler has as they were written and PostgreSQL as it prints them.

use std::collections::BTreeSet;

use upshift_shared::{
    catalog::{Catalog, Constraint, ConstraintKind, Relation},
    ids::{ColId, RelId},
};

/// One line for every fact.
pub(crate) fn all(catalog: &Catalog) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for relation in catalog.relations() {
        describe_relation(catalog, relation, &mut lines);
    }
    for schema in &catalog.schemas {
        lines.insert(format!("schema {schema}"));
    }
    for own in &catalog.types {
        lines.insert(format!("type {}.{} {}", own.schema, own.name, own.kind));
    }
    for (name, functions) in &catalog.functions {
        for function in functions.iter().filter(|function| !function.builtin) {
            lines.insert(format!(
                "function {}.{name}({}) {:?} set={}",
                function.schema, function.arguments, function.volatility, function.returns_set
            ));
        }
    }
    lines
}

/// What only one of them has.
pub(crate) fn differences(evolved: &BTreeSet<String>, real: &BTreeSet<String>) -> Vec<String> {
    let wrong = evolved
        .difference(real)
        .map(|line| format!("  evolved: {line}"));
    let missing = real
        .difference(evolved)
        .map(|line| format!("  real:    {line}"));
    wrong.chain(missing).collect()
}

fn name(catalog: &Catalog, id: RelId) -> String {
    match catalog.relation(id) {
        Some(relation) => format!("{}.{}", relation.schema, relation.name),
        None => "gone".to_owned(),
    }
}

fn columns(relation: &Relation, ids: &[ColId]) -> Vec<String> {
    let mut names: Vec<String> = ids
        .iter()
        .map(|id| match relation.column_by_id(*id) {
            Some(column) => column.name.clone(),
            None => format!("{id}?"),
        })
        .collect();
    names.sort();
    names
}

fn describe_relation(catalog: &Catalog, relation: &Relation, lines: &mut BTreeSet<String>) {
    let own = name(catalog, relation.id);
    let mut parents: Vec<String> = relation
        .inheritance
        .parents
        .iter()
        .map(|id| name(catalog, *id))
        .collect();
    parents.sort();
    let mut reads: Vec<String> = relation.reads.iter().map(|id| name(catalog, *id)).collect();
    reads.sort();
    let owner = relation.owned_by.and_then(|(table, column)| {
        let table = catalog.relation(table)?;
        Some(format!(
            "{}.{}",
            table.name,
            table.column_by_id(column)?.name
        ))
    });
    lines.insert(format!(
        "{own}: {:?} {:?} rules={} rls={} parents={parents:?} reads={reads:?} owner={owner:?}",
        relation.kind,
        relation.persistence,
        !relation.rules.is_empty(),
        relation.row_security
    ));
    // What a sequence shows as columns is nobody's business here.
    let is_sequence = relation.kind == upshift_shared::catalog::RelationKind::Sequence;
    for column in relation.columns.iter().filter(|_| !is_sequence) {
        lines.insert(format!(
            "{own}.{}: {} not_null={} default={} identity={:?} generated={} sequence={:?}",
            column.name,
            column.type_name,
            column.not_null,
            column.default.is_some(),
            column.identity,
            column.generated.is_some(),
            column.sequence.map(|id| name(catalog, id)),
        ));
    }
    let order: Vec<&str> = relation.columns.iter().map(|c| c.name.as_str()).collect();
    if !is_sequence {
        lines.insert(format!("{own}: columns {order:?}"));
    }
    for constraint in &relation.constraints {
        lines.insert(describe_constraint(catalog, relation, constraint));
    }
    describe_indexes(relation, &own, lines);
    for trigger in &relation.triggers {
        lines.insert(format!(
            "{own}: trigger {} enabled={} {}{}{}{} of={:?}",
            trigger.name,
            trigger.enabled,
            if trigger.insert { "I" } else { "" },
            if trigger.update { "U" } else { "" },
            if trigger.delete { "D" } else { "" },
            if trigger.truncate { "T" } else { "" },
            columns(relation, &trigger.update_of),
        ));
    }
}

fn describe_constraint(catalog: &Catalog, relation: &Relation, constraint: &Constraint) -> String {
    let kind = match &constraint.kind {
        ConstraintKind::ForeignKey {
            table,
            columns: target,
            on_delete,
            on_update,
        } => {
            let target = catalog
                .relation(*table)
                .map(|table| columns(table, target))
                .unwrap_or_default();
            format!(
                "foreign key to {} {target:?} {on_delete:?} {on_update:?}",
                name(catalog, *table)
            )
        }
        other => format!("{other:?}"),
    };
    format!(
        "{}.{}: constraint {} {kind} {:?} deferrable={} deferred={} validated={}",
        relation.schema,
        relation.name,
        constraint.name,
        columns(relation, &constraint.columns),
        constraint.deferrable,
        constraint.deferred,
        constraint.validated
    )
}

fn describe_indexes(relation: &Relation, own: &str, lines: &mut BTreeSet<String>) {
    for index in &relation.indexes {
        let keys: Vec<Option<String>> = index
            .columns
            .iter()
            .map(|key| key.and_then(|id| relation.column_by_id(id)))
            .map(|column| column.map(|column| column.name.clone()))
            .collect();
        lines.insert(format!(
            "{own}: index {} unique={} primary={} valid={} immediate={} {} {keys:?} {:?} partial={}",
            index.name,
            index.unique,
            index.primary,
            index.valid,
            index.immediate,
            index.method,
            columns(relation, &index.mentions),
            index.predicate.is_some()
        ));
    }
}
