//! TRUNCATE: all tables that it reaches are copied before.

use std::collections::BTreeSet;

use pg_query::{
    NodeEnum,
    protobuf::{DropBehavior, TruncateStmt},
};
use upshift_shared::{
    catalog::{Catalog, Relation, RelationKind},
    ids::RelId,
};

use super::{Effects, copy};
use crate::compile::{
    analyse::query::{Walker, descendants},
    error::BindError,
    model::Class,
};

pub(super) fn bind(
    walker: &mut Walker<'_>,
    statement: &TruncateStmt,
) -> Result<(Effects, Class), BindError> {
    let catalog = walker.catalog;
    let mut named = Vec::new();
    let mut effects = Effects::default();
    for node in &statement.relations {
        let Some(NodeEnum::RangeVar(range)) = &node.node else {
            continue;
        };
        let relation = walker.relation(range)?.ok_or_else(|| {
            BindError::at(
                range.location,
                format!("{} is PostgreSQL's own", range.relname),
            )
        })?;
        effects.truncate(catalog, relation, !range.inh);
        named.push(relation);
    }
    let cascade = statement.behavior == DropBehavior::DropCascade as i32;
    let reached = reached(catalog, &named, cascade)?;
    for relation in &reached {
        effects.truncate(catalog, relation, false);
    }
    let restarted: BTreeSet<RelId> = if statement.restart_seqs {
        effects
            .written
            .iter()
            .flat_map(|table| owned_sequences(catalog, *table))
            .collect()
    } else {
        BTreeSet::new()
    };
    effects.sequences.extend(restarted);
    let mut why = "TRUNCATE empties tables whole".to_owned();
    if !reached.is_empty() {
        let names: Vec<&str> = reached.iter().map(|r| r.name.as_str()).collect();
        why = format!("{why}; CASCADE reaches {}", names.join(", "));
    }
    let class = match &effects.opaque {
        Some(why) => copy::opaque(why.clone()),
        None => copy::copying(catalog, &effects.written, why),
    };
    Ok((effects, class))
}

/// Tables with foreign keys that point at those to be emptied, and so on. PostgreSQL refuses them
/// without CASCADE.
fn reached<'c>(
    catalog: &'c Catalog,
    named: &[&'c Relation],
    cascade: bool,
) -> Result<Vec<&'c Relation>, BindError> {
    let mut all: BTreeSet<RelId> = BTreeSet::new();
    let mut open: Vec<&Relation> = Vec::new();
    for relation in named {
        for member in std::iter::once(*relation).chain(descendants(catalog, relation.id)) {
            all.insert(member.id);
            open.push(member);
        }
    }
    let mut reached = Vec::new();
    while let Some(relation) = open.pop() {
        for (child, key) in catalog.incoming(relation.id) {
            let of_partition = !child.inheritance.parents.is_empty()
                && child.kind != RelationKind::PartitionedTable;
            if all.contains(&child.id) || (of_partition && !cascade) {
                continue;
            }
            if !cascade {
                return Err(BindError::new(format!(
                    "cannot truncate {}: {} of {} refers to it; truncate both, or use CASCADE",
                    relation.name, key.name, child.name
                )));
            }
            all.insert(child.id);
            open.push(child);
            reached.push(child);
        }
    }
    Ok(reached)
}

fn owned_sequences(catalog: &Catalog, table: RelId) -> impl Iterator<Item = RelId> {
    let owned =
        move |relation: &&Relation| relation.owned_by.is_some_and(|(owner, _)| owner == table);
    catalog
        .relations()
        .filter(owned)
        .map(|relation| relation.id)
}
