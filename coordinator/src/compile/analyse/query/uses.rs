//! Resources out of what a walk found, with their names for people.

use std::collections::{BTreeMap, BTreeSet};

use upshift_shared::{
    catalog::{Catalog, Relation, RelationKind},
    ids::{ColId, RelId},
    pg::ident::QualifiedName,
    plan::Sequences,
};

use super::{
    expression::user_type,
    source::{Shape, Source},
    walker::Walker,
};
use crate::compile::model::Resource;

/// What is read and written.
#[derive(Debug, Default, Clone)]
pub(crate) struct Uses {
    pub(crate) reads: BTreeSet<Resource>,
    pub(crate) writes: BTreeSet<Resource>,
    /// The relations, and whether they are written.
    pub(crate) tables: BTreeMap<RelId, bool>,
}

impl Uses {
    /// Everything that a walk found, apart from what DML does to its targets.
    pub(crate) fn of(walker: &Walker<'_>) -> Self {
        let mut uses = Self::default();
        for source in &walker.sources {
            uses.source(source, walker.catalog);
        }
        uses.reads.extend(walker.found.reads.iter().cloned());
        for sequence in &walker.found.sequences {
            uses.writes.insert(Resource::Sequence(*sequence));
            uses.reads.insert(Resource::Table(*sequence));
        }
        if walker.found.reads_anything.is_some() {
            uses.reads.insert(Resource::Everything);
        }
        uses
    }

    fn source(&mut self, source: &Source<'_>, catalog: &Catalog) {
        let Shape::Relation { relation, only } = &source.shape else {
            return;
        };
        // The target of an INSERT is no source of rows; its definition counts all the same.
        if source.target && source.read.is_empty() {
            self.reads.insert(Resource::Table(relation.id));
            self.tables.entry(relation.id).or_default();
            return;
        }
        self.relation(relation, catalog);
        for column in &source.read {
            self.column(relation, *column, catalog);
        }
        if !only {
            for child in descendants(catalog, relation.id) {
                self.relation(child, catalog);
                let names = source.read.iter().filter_map(|c| relation.column_by_id(*c));
                for column in names.filter_map(|column| child.column(&column.name)) {
                    self.column(child, column.id, catalog);
                }
            }
        }
    }

    /// A relation is scanned. A view is what stands under it.
    fn relation(&mut self, relation: &Relation, catalog: &Catalog) {
        self.reads.insert(Resource::Table(relation.id));
        self.tables.entry(relation.id).or_default();
        match relation.kind {
            RelationKind::View => {
                for under in under_view(catalog, relation) {
                    self.reads.insert(Resource::Table(under.id));
                    self.tables.entry(under.id).or_default();
                    if under.kind != RelationKind::View {
                        self.reads.insert(Resource::Rows(under.id));
                        let columns = under.columns.iter();
                        let columns = columns.map(|column| Resource::Column(under.id, column.id));
                        self.reads.extend(columns);
                    }
                }
            }
            RelationKind::Sequence => {
                self.reads.insert(Resource::Sequence(relation.id));
            }
            _ => {
                self.reads.insert(Resource::Rows(relation.id));
            }
        }
    }

    fn column(&mut self, relation: &Relation, column: ColId, catalog: &Catalog) {
        self.reads.insert(Resource::Column(relation.id, column));
        self.reads.extend(
            relation
                .column_by_id(column)
                .and_then(|column| type_of_column(catalog, &column.type_name)),
        );
    }

    /// The relations with their names.
    pub(crate) fn named_tables(&self, catalog: &Catalog) -> Vec<(RelId, QualifiedName, bool)> {
        let name = |(id, written): (&RelId, &bool)| {
            let relation = catalog.relation(*id)?;
            Some((*id, qualified(relation), *written))
        };
        self.tables.iter().filter_map(name).collect()
    }

    /// All resources with their names.
    pub(crate) fn names(&self, catalog: &Catalog) -> Vec<(Resource, String)> {
        self.reads
            .union(&self.writes)
            .map(|resource| (resource.clone(), describe(resource, catalog)))
            .collect()
    }
}

/// The sequences of a list as quoted names.
pub(crate) fn named_sequences<'s>(
    sequences: impl Iterator<Item = &'s RelId>,
    catalog: &Catalog,
) -> Sequences {
    let names: Vec<String> = sequences
        .filter_map(|sequence| catalog.relation(*sequence))
        .map(|relation| qualified(relation).to_string())
        .collect();
    if names.is_empty() {
        Sequences::None
    } else {
        Sequences::Named(names)
    }
}

pub(crate) fn qualified(relation: &Relation) -> QualifiedName {
    QualifiedName::new(relation.schema.clone(), relation.name.clone())
}

/// A column's user-defined type: whoever reads or writes the column depends on its values.
pub(crate) fn type_of_column(catalog: &Catalog, type_name: &str) -> Option<Resource> {
    if catalog.types.is_empty() {
        return None;
    }
    let parts = super::naming::written_name(type_name.trim_end_matches("[]"))?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    user_type(catalog, &parts)
}

/// A resource as people call it.
pub(crate) fn describe(resource: &Resource, catalog: &Catalog) -> String {
    let relation = |id: &RelId| {
        catalog
            .relation(*id)
            .map_or_else(|| format!("relation {id}"), |r| qualified(r).plain())
    };
    match resource {
        Resource::Table(id) => format!("definition of {}", relation(id)),
        Resource::Column(id, column) => {
            let named = catalog.relation(*id).and_then(|r| r.column_by_id(*column));
            let column = named.map_or_else(|| column.to_string(), |c| c.name.clone());
            format!("{}.{column}", relation(id))
        }
        Resource::Rows(id) => format!("rows of {}", relation(id)),
        Resource::Sequence(id) => format!("sequence {}", relation(id)),
        Resource::Object(class, name) => {
            let plain = name.trim_start_matches("\"public\".").replace('"', "");
            format!("{class} {plain}")
        }
        Resource::Everything => "everything".to_owned(),
    }
}

/// What inherits from a relation, directly or not, or is a partition of it.
pub(crate) fn descendants(catalog: &Catalog, id: RelId) -> Vec<&Relation> {
    let children = |id| {
        catalog
            .relation(id)
            .map(|r| r.inheritance.children.as_slice())
    };
    closure(catalog, id, children)
}

/// What a view reads, directly or through other views.
pub(crate) fn under_view<'c>(catalog: &'c Catalog, view: &Relation) -> Vec<&'c Relation> {
    closure(catalog, view.id, |id| {
        let relation = catalog.relation(id)?;
        (relation.kind == RelationKind::View).then_some(relation.reads.as_slice())
    })
}

fn closure<'c>(
    catalog: &'c Catalog,
    start: RelId,
    next: impl Fn(RelId) -> Option<&'c [RelId]>,
) -> Vec<&'c Relation> {
    let mut seen = BTreeSet::from([start]);
    let mut open = vec![start];
    let mut reached = Vec::new();
    while let Some(id) = open.pop() {
        for id in next(id).unwrap_or_default() {
            if seen.insert(*id) {
                open.push(*id);
                reached.extend(catalog.relation(*id));
            }
        }
    }
    reached
}
