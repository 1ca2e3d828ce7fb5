//! CREATE TABLE in all its forms but AS.

use pg_query::{
    NodeEnum,
    protobuf::{CreateStmt, TableLikeClause},
};
use upshift_shared::{
    catalog::{Column, Constraint, ConstraintKind, Index, Persistence, RelationKind},
    ids::{ColId, RelId},
    pg::ident::QualifiedName,
};

use super::{
    constraint::{self, Pending},
    draft::{Draft, Outcome},
    generated_name, object, table_element,
};
use crate::compile::error::BindError;

/// CREATE TABLE
pub(super) fn bind(draft: &mut Draft<'_>, stmt: &CreateStmt) -> Result<Outcome, BindError> {
    let Some(relation) = &stmt.relation else {
        return Err(BindError::new("CREATE TABLE needs a name"));
    };
    let schema = object::creation_schema(draft, relation)?;
    if stmt.if_not_exists && object::is_taken(draft, &schema, &relation.relname) {
        return Ok(Outcome::Skipped(format!(
            "relation \"{}\" already exists",
            relation.relname
        )));
    }
    let name = object::free_relation_name(draft, relation)?;
    let table = create(draft, stmt, &name, &relation.relpersistence);
    let filled = fill(draft, stmt, table);
    if let Err(error) = filled {
        // What follows must not find half a table.
        draft.catalog.remove(table);
        return Err(error);
    }
    draft.done(vec![format!("DROP TABLE {name}")])
}

fn create(
    draft: &mut Draft<'_>,
    stmt: &CreateStmt,
    name: &QualifiedName,
    persistence: &str,
) -> RelId {
    let kind = if stmt.partspec.is_some() {
        RelationKind::PartitionedTable
    } else {
        RelationKind::Table
    };
    let mut relation = table_element::empty_relation(name, kind);
    if persistence == "u" {
        relation.persistence = Persistence::Unlogged;
    }
    draft.takes_name(name);
    let table = draft.catalog.insert(relation);
    draft.alters(table);
    table
}

fn fill(draft: &mut Draft<'_>, stmt: &CreateStmt, table: RelId) -> Result<(), BindError> {
    for parent in &stmt.inh_relations {
        if let Some(NodeEnum::RangeVar(parent)) = &parent.node {
            let parent = draft.require(parent)?;
            inherit(draft, table, parent, stmt.partbound.is_some());
        }
    }
    let mut pending = Pending::default();
    let mut likes = Vec::new();
    for element in &stmt.table_elts {
        match &element.node {
            Some(NodeEnum::ColumnDef(column)) => {
                let known = draft.relation(table).column(&column.colname).map(|c| c.id);
                match known {
                    // A column that a parent has too is merged with it.
                    Some(_) if !stmt.inh_relations.is_empty() => {}
                    _ => {
                        table_element::add_column(draft, table, column, &mut pending)?;
                    }
                }
            }
            Some(NodeEnum::TableLikeClause(like)) => {
                like_columns(draft, table, like)?;
                likes.push(like);
            }
            _ => {}
        }
    }
    let elements = stmt.table_elts.iter().chain(&stmt.constraints);
    for constraint in elements
        .chain(&stmt.nnconstraints)
        .filter_map(constraint::of_node)
    {
        pending.table_constraint(draft, table, constraint)?;
    }
    table_element::apply(draft, table, pending)?;
    for like in likes {
        like_constraints(draft, table, like)?;
    }
    if stmt.partbound.is_some() {
        for parent in draft.relation(table).inheritance.parents.clone() {
            inherit_indexes(draft, table, parent);
        }
    }
    Ok(())
}

/// Takes over columns and CHECK constraints; a partition takes foreign keys too.
fn inherit(draft: &mut Draft<'_>, table: RelId, parent: RelId, partition: bool) {
    draft.alters(parent);
    let from = draft.relation(parent).clone();
    let mut numbers = Vec::new();
    if let Some(to) = draft.catalog.relation_mut(table) {
        to.inheritance.parents.push(parent);
        for column in from.columns {
            let known = to.columns.iter().find(|c| c.name == column.name);
            let id = match known {
                Some(known) => known.id,
                None => {
                    let id = ColId(u16::try_from(to.columns.len()).unwrap_or(u16::MAX) + 1);
                    to.columns.push(Column {
                        id,
                        identity: if partition { column.identity } else { None },
                        ..column.clone()
                    });
                    id
                }
            };
            numbers.push((column.id, id));
        }
    }
    if let Some(parent) = draft.catalog.relation_mut(parent) {
        parent.inheritance.children.push(table);
    }
    let translate = |columns: &[ColId]| translate(&numbers, columns);
    for constraint in from.constraints {
        let wanted = match &constraint.kind {
            ConstraintKind::Check | ConstraintKind::NotNull => true,
            ConstraintKind::ForeignKey { .. } => partition,
            _ => false,
        };
        if wanted {
            let columns = translate(&constraint.columns);
            let constraint = Constraint {
                columns,
                ..constraint
            };
            draft.add_constraint(table, constraint);
        }
    }
}

fn translate(numbers: &[(ColId, ColId)], columns: &[ColId]) -> Vec<ColId> {
    columns
        .iter()
        .filter_map(|old| numbers.iter().find(|(from, _)| from == old))
        .map(|(_, to)| *to)
        .collect()
}

/// The numbers that the columns of one table have in another, by name.
fn numbers(draft: &Draft<'_>, from: RelId, to: RelId) -> Vec<(ColId, ColId)> {
    let to = draft.relation(to);
    draft
        .relation(from)
        .columns
        .iter()
        .filter_map(|column| Some((column.id, to.column(&column.name)?.id)))
        .collect()
}

/// A partition has an index for each of its parent's.
fn inherit_indexes(draft: &mut Draft<'_>, table: RelId, parent: RelId) {
    let numbers = numbers(draft, parent, table);
    let from = draft.relation(parent).clone();
    for index in from.indexes {
        copy_index(draft, table, &from.constraints, index, &numbers);
    }
}

/// Copies an index of another table, and the constraint that it backs, under a name of its own.
fn copy_index(
    draft: &mut Draft<'_>,
    table: RelId,
    constraints: &[Constraint],
    index: Index,
    numbers: &[(ColId, ColId)],
) {
    let backed = constraints.iter().find(|c| {
        c.name == index.name
            && matches!(
                c.kind,
                ConstraintKind::PrimaryKey | ConstraintKind::Unique | ConstraintKind::Exclusion
            )
    });
    let label = match backed.map(|c| &c.kind) {
        Some(ConstraintKind::PrimaryKey) => "pkey",
        Some(ConstraintKind::Unique) => "key",
        Some(_) => "excl",
        None => "idx",
    };
    let relation = draft.relation(table);
    let columns: Vec<Option<ColId>> = index
        .columns
        .iter()
        .map(|column| column.and_then(|c| translate(numbers, &[c]).first().copied()))
        .collect();
    let names = columns
        .iter()
        .map(|column| {
            let column = column.and_then(|c| relation.column_by_id(c));
            column.map_or_else(|| "expr".to_owned(), |column| column.name.clone())
        })
        .collect();
    let addition = generated_name::addition(&generated_name::distinct(names));
    let addition = (label != "pkey").then_some(addition);
    let (schema, on) = (relation.schema.clone(), relation.name.clone());
    let is_constraint = backed.is_some();
    let name = generated_name::relation(
        draft,
        &schema,
        &on,
        addition.as_deref(),
        label,
        is_constraint,
    );
    draft.takes_name(&QualifiedName::new(schema, &name));
    if let Some(backed) = backed {
        let constraint = Constraint {
            name: name.clone(),
            columns: translate(numbers, &backed.columns),
            ..backed.clone()
        };
        draft.add_constraint(table, constraint);
    }
    let mentions = translate(numbers, &index.mentions);
    draft.catalog.add_index(
        table,
        Index {
            name,
            columns,
            mentions,
            definition: String::new(),
            bytes: 0,
            ..index
        },
    );
}

/// `LIKE … INCLUDING …`, as `TableLikeOption` in parsenodes.h numbers them.
const LIKE_CONSTRAINTS: u32 = 1 << 2;
const LIKE_DEFAULTS: u32 = 1 << 3;
const LIKE_GENERATED: u32 = 1 << 4;
const LIKE_IDENTITY: u32 = 1 << 5;
const LIKE_INDEXES: u32 = 1 << 6;

fn like_columns(
    draft: &mut Draft<'_>,
    table: RelId,
    like: &TableLikeClause,
) -> Result<(), BindError> {
    let from = like_source(draft, like)?;
    draft.mentions(from);
    for column in draft.relation(from).columns.clone() {
        if draft.relation(table).column(&column.name).is_some() {
            return Err(BindError::new(format!(
                "column \"{}\" specified more than once",
                column.name
            )));
        }
        let with = |option: u32| like.options & option != 0;
        let defaults = with(LIKE_DEFAULTS);
        let identity = column.identity.filter(|_| with(LIKE_IDENTITY));
        let id = draft.relation(table).columns.iter().map(|c| c.id.0).max();
        let id = ColId(id.unwrap_or(0) + 1);
        let copy = Column {
            id,
            default: column.default.clone().filter(|_| defaults),
            identity: None,
            generated: column.generated.clone().filter(|_| with(LIKE_GENERATED)),
            sequence: column
                .sequence
                .filter(|_| defaults && column.identity.is_none()),
            ..column
        };
        if let Some(relation) = draft.catalog.relation_mut(table) {
            relation.columns.push(copy);
        }
        if let Some(identity) = identity {
            let generated_when = match identity {
                upshift_shared::catalog::Identity::Always => "a",
                upshift_shared::catalog::Identity::ByDefault => "d",
            };
            let constraint = pg_query::protobuf::Constraint {
                generated_when: generated_when.to_owned(),
                ..Default::default()
            };
            table_element::add_identity(draft, table, id, &constraint);
        }
    }
    Ok(())
}

fn like_source(draft: &Draft<'_>, like: &TableLikeClause) -> Result<RelId, BindError> {
    let relation = like.relation.as_ref();
    let relation = relation.ok_or_else(|| BindError::new("LIKE needs a table"))?;
    draft.require(relation)
}

fn like_constraints(
    draft: &mut Draft<'_>,
    table: RelId,
    like: &TableLikeClause,
) -> Result<(), BindError> {
    let source = like_source(draft, like)?;
    let numbers = numbers(draft, source, table);
    let from = draft.relation(source).clone();
    for constraint in &from.constraints {
        let wanted = match constraint.kind {
            ConstraintKind::Check => like.options & LIKE_CONSTRAINTS != 0,
            ConstraintKind::NotNull => true,
            _ => false,
        };
        if wanted {
            let columns = translate(&numbers, &constraint.columns);
            let constraint = Constraint {
                columns,
                ..constraint.clone()
            };
            draft.add_constraint(table, constraint);
        }
    }
    if like.options & LIKE_INDEXES != 0 {
        for index in from.indexes {
            copy_index(draft, table, &from.constraints, index, &numbers);
        }
    }
    Ok(())
}
