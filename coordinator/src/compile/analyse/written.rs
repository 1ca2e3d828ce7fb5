//! Which tables the steps write, as they are called after the last of them: what is recorded at the end
//! of a run, and looked at again by `upshift verify`.

use std::collections::BTreeSet;

use upshift_shared::{
    catalog::{Catalog, Relation, RelationKind},
    ids::RelId,
    pg::ident::QualifiedName,
    plan::WrittenTable,
};

use crate::compile::model::{AnalysedStep, Resource};

/// The tables, by name; `None` where a step may write any.
pub(super) fn tables(steps: &[AnalysedStep], after: &Catalog) -> Option<Vec<WrittenTable>> {
    let anything = steps
        .iter()
        .any(|step| step.bound.writes.contains(&Resource::Everything));
    if anything {
        return None;
    }
    let uses = steps.iter().flat_map(|step| &step.bound.tables);
    let written: BTreeSet<RelId> = uses
        .filter(|(_, _, write)| *write)
        .map(|(relation, _, _)| *relation)
        .collect();
    let is_table = |relation: &&Relation| {
        matches!(
            relation.kind,
            RelationKind::Table | RelationKind::PartitionedTable
        )
    };
    let tables = after.relations().filter(is_table);
    let mut tables: Vec<WrittenTable> = tables
        .filter(|relation| relation.oid.is_none() || written.contains(&relation.id))
        .map(|relation| WrittenTable {
            table: QualifiedName::new(&relation.schema, &relation.name).to_string(),
            relation: relation.id.0,
        })
        .collect();
    tables.sort_by(|a, b| a.table.cmp(&b.table));
    Some(tables)
}
