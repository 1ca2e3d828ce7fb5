//! Copies of whole tables: the way back from statements whose rows cannot be foreseen.

use std::collections::BTreeSet;

use upshift_shared::{
    catalog::{Catalog, Relation, RelationKind},
    ids::RelId,
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
    let ids: BTreeSet<RelId> = written.iter().copied().collect();
    let tables = relations
        .iter()
        .filter(|relation| !is_covered(catalog, relation, &ids))
        .enumerate()
        .map(|(place, relation)| copied(relation, place + 1))
        .collect();
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

fn copied(relation: &Relation, number: usize) -> CopiedTable {
    let table = qualified(relation);
    let columns: Vec<String> = data_columns(relation).into_iter().map(|c| c.name).collect();
    CopiedTable {
        table: table.to_string(),
        key: key_columns(relation).unwrap_or_default(),
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
    Some(
        key.into_iter()
            .map(|column| KeyColumn {
                name: column.name.clone(),
                type_name: column.type_name.clone(),
            })
            .collect(),
    )
}

/// The columns that hold data of their own.
pub(super) fn data_columns(relation: &Relation) -> Vec<KeyColumn> {
    relation
        .columns
        .iter()
        .filter(|column| column.generated.is_none())
        .map(|column| KeyColumn {
            name: column.name.clone(),
            type_name: column.type_name.clone(),
        })
        .collect()
}
