//! Copies of whole tables: the way back from statements whose rows cannot be foreseen.

use std::collections::BTreeSet;

use upshift_shared::{
    catalog::{Catalog, Column, ConstraintKind, ForeignKeyAction, Relation, RelationKind},
    ids::{ColId, RelId},
    plan::{CopiedTable, KeptTable, KeyColumn},
};

use crate::compile::{analyse::query::qualified, model::Class};

/// [`Class::Copying`] of these tables, or opaque where a copy of one would not bring it back.
pub(super) fn copying(catalog: &Catalog, written: &[RelId], why: String) -> Class {
    let relations: Vec<&Relation> = written
        .iter()
        .filter_map(|id| catalog.relation(*id))
        .collect();
    let tree = |relation: &&&Relation| {
        relation.kind != RelationKind::PartitionedTable && !relation.inheritance.children.is_empty()
    };
    if let Some(parent) = relations.iter().find(tree) {
        return opaque(format!(
            "{why}; and a copy of {} would not tell which table of its inheritance tree a row is in",
            parent.name
        ));
    }
    let stuck = |relation: &&&Relation| {
        let mut triggers = relation.triggers.iter();
        triggers.any(|trigger| trigger.internal && trigger.enabled)
    };
    if let Some(partition) = relations.iter().find(stuck) {
        return opaque(format!(
            "{why}; and triggers that {} has of its parent would fire when a copy is put back",
            partition.name
        ));
    }
    let ids: BTreeSet<RelId> = written.iter().copied().collect();
    let mut tables = Vec::new();
    for relation in relations.iter().filter(|r| !is_covered(catalog, r, &ids)) {
        match key_of_copy(catalog, relation) {
            Ok(key) => tables.push(copied(relation, key, tables.len() + 1)),
            Err(other) => return opaque(format!("{why}; and {other}")),
        }
    }
    Class::Copying { tables, why }
}

/// A statement that is opaque but otherwise ordinary.
pub(super) fn opaque(why: String) -> Class {
    Class::Opaque {
        why,
        transactional: true,
        recovery: None,
        undo: None,
    }
}

/// A partition is copied with its partitioned table.
fn is_covered(catalog: &Catalog, relation: &Relation, copied: &BTreeSet<RelId>) -> bool {
    relation.inheritance.parents.iter().any(|parent| {
        catalog.relation(*parent).is_some_and(|parent| {
            parent.kind == RelationKind::PartitionedTable
                && (copied.contains(&parent.id) || is_covered(catalog, parent, copied))
        })
    })
}

/// What tells rows of a copy apart; nothing where all rows may go and come again. What refers to a row with an
/// ON DELETE of its own would not leave it alone if it did: then it is what is referred to, and rows with a
/// NULL in it, which nothing refers to, go and come.
fn key_of_copy(catalog: &Catalog, relation: &Relation) -> Result<Vec<KeyColumn>, String> {
    if let Some(key) = key_columns(relation) {
        return Ok(key);
    }
    let mut referred: BTreeSet<&[ColId]> = BTreeSet::new();
    for (_, key) in catalog.incoming(relation.id) {
        if let ConstraintKind::ForeignKey {
            columns, on_delete, ..
        } = &key.kind
            && *on_delete != ForeignKeyAction::NoAction
        {
            referred.insert(columns);
        }
    }
    let mut referred = referred.into_iter();
    let columns = referred.next().unwrap_or_default();
    if referred.next().is_some() {
        return Err(format!(
            "foreign keys with ON DELETE refer to several keys of {}, which may all be NULL",
            relation.name
        ));
    }
    let columns = columns.iter().filter_map(|id| relation.column_by_id(*id));
    Ok(columns.map(key_column).collect())
}

fn copied(relation: &Relation, key: Vec<KeyColumn>, number: usize) -> CopiedTable {
    let table = qualified(relation);
    let columns: Vec<String> = data_columns(relation).into_iter().map(|c| c.name).collect();
    CopiedTable {
        table: table.to_string(),
        key,
        kept: KeptTable {
            name: format!("{{run}}_t{{task}}_copy{number}"),
            table: table.to_string(),
            columns: None,
        },
        columns,
    }
}

/// The key of a table, where rows can be told apart by it: in an inheritance tree each table has one
/// of its own, which says nothing about the others.
pub(super) fn key_columns(relation: &Relation) -> Option<Vec<KeyColumn>> {
    let key = relation.key()?;
    Some(key.into_iter().map(key_column).collect())
}

/// The columns that hold data of their own.
pub(super) fn data_columns(relation: &Relation) -> Vec<KeyColumn> {
    relation
        .columns
        .iter()
        .filter(|column| column.generated.is_none())
        .map(key_column)
        .collect()
}

fn key_column(column: &Column) -> KeyColumn {
    KeyColumn {
        name: column.name.clone(),
        type_name: column.type_name.clone(),
    }
}
