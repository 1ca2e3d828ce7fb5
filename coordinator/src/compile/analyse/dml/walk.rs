//! UPDATE, DELETE, INSERT and MERGE walked: names resolved, effects gathered. The same for a statement
//! and for one inside WITH.

use std::collections::BTreeSet;

use pg_query::{
    Node, NodeEnum,
    protobuf::{
        CmdType, DeleteStmt, MergeStmt, MultiAssignRef, OnConflictAction, OnConflictClause,
        RangeVar, ReturningClause, UpdateStmt,
    },
};
use upshift_shared::{
    catalog::{Column, Relation},
    ids::ColId,
};

use super::{Effects, insert};
use crate::compile::{
    analyse::query::{Item, Output, OutputColumn, Shape, SourceId, Walker, did_you_mean},
    error::BindError,
};

/// A statement that changes rows, walked.
#[derive(Debug)]
pub(super) struct Walked<'a> {
    pub(super) target: SourceId,
    pub(super) relation: &'a Relation,
    pub(super) only: bool,
    /// Columns assigned by UPDATE, in order.
    pub(super) assigned: Vec<ColId>,
    /// Sources that assigned values are computed from.
    pub(super) set_from: BTreeSet<SourceId>,
    /// The sources of its FROM or USING.
    pub(super) joined: Vec<SourceId>,
    pub(super) effects: Effects,
    /// What RETURNING returns.
    pub(super) returning: Output,
}

impl Walked<'_> {
    pub(super) fn written(&self) -> BTreeSet<ColId> {
        self.assigned.iter().copied().collect()
    }
}

/// A data-modifying query of a WITH clause.
pub(crate) fn modifying_cte(walker: &mut Walker<'_>, node: &Node) -> Result<Output, BindError> {
    let walked = match &node.node {
        Some(NodeEnum::UpdateStmt(statement)) => update(walker, statement)?,
        Some(NodeEnum::DeleteStmt(statement)) => delete(walker, statement)?,
        Some(NodeEnum::MergeStmt(statement)) => merge(walker, statement)?,
        Some(NodeEnum::InsertStmt(statement)) => insert::walk(walker, statement)?.walked,
        _ => return Err(BindError::new("WITH holds a statement that it cannot hold")),
    };
    let effects = walker.found.modifying.get_or_insert_default();
    effects.append(walked.effects);
    Ok(walked.returning)
}

pub(super) fn update<'a>(
    walker: &mut Walker<'a>,
    statement: &UpdateStmt,
) -> Result<Walked<'a>, BindError> {
    let known = walker.known_ctes();
    if let Some(with) = &statement.with_clause {
        walker.with(with)?;
    }
    let mut walked = target(walker, statement.relation.as_ref())?;
    let first = walker.sources.len();
    let items = walker.tables_of(&statement.from_clause)?;
    let items = with_target(walker, &mut walked, items, first);
    walker.seeing(items.clone(), |walker| {
        assignments(walker, &mut walked, &statement.target_list)?;
        condition(walker, &walked, statement.where_clause.as_deref())?;
        returning(
            walker,
            &mut walked,
            statement.returning_clause.as_ref(),
            &items,
        )
    })?;
    let (relation, only) = (walked.relation, walked.only);
    let written = walked.written();
    walked
        .effects
        .update(walker.catalog, relation, only, &written);
    walker.without_ctes(known);
    Ok(walked)
}

pub(super) fn delete<'a>(
    walker: &mut Walker<'a>,
    statement: &DeleteStmt,
) -> Result<Walked<'a>, BindError> {
    let known = walker.known_ctes();
    if let Some(with) = &statement.with_clause {
        walker.with(with)?;
    }
    let mut walked = target(walker, statement.relation.as_ref())?;
    let first = walker.sources.len();
    let items = walker.tables_of(&statement.using_clause)?;
    let items = with_target(walker, &mut walked, items, first);
    walker.seeing(items.clone(), |walker| {
        condition(walker, &walked, statement.where_clause.as_deref())?;
        returning(
            walker,
            &mut walked,
            statement.returning_clause.as_ref(),
            &items,
        )
    })?;
    let (relation, only) = (walked.relation, walked.only);
    walked.effects.delete(walker.catalog, relation, only);
    walker.without_ctes(known);
    Ok(walked)
}

pub(super) fn merge<'a>(
    walker: &mut Walker<'a>,
    statement: &MergeStmt,
) -> Result<Walked<'a>, BindError> {
    let known = walker.known_ctes();
    if let Some(with) = &statement.with_clause {
        walker.with(with)?;
    }
    let mut walked = target(walker, statement.relation.as_ref())?;
    let first = walker.sources.len();
    let source = statement.source_relation.as_deref();
    let items = source.map_or(Ok(Vec::new()), |node| walker.table_item(node, &[]))?;
    let items = with_target(walker, &mut walked, items, first);
    walker.seeing(items.clone(), |walker| {
        walker.optional_expression(statement.join_condition.as_deref())?;
        for node in &statement.merge_when_clauses {
            if let Some(NodeEnum::MergeWhenClause(clause)) = &node.node {
                walker.optional_expression(clause.condition.as_deref())?;
                let (relation, only) = (walked.relation, walked.only);
                match CmdType::try_from(clause.command_type) {
                    Ok(CmdType::CmdUpdate) => {
                        assignments(walker, &mut walked, &clause.target_list)?;
                        let written = walked.written();
                        walked
                            .effects
                            .update(walker.catalog, relation, only, &written);
                    }
                    Ok(CmdType::CmdDelete) => walked.effects.delete(walker.catalog, relation, only),
                    Ok(CmdType::CmdInsert) => {
                        walker.expressions(&clause.values)?;
                        let values: Vec<&[Node]> = vec![&clause.values];
                        insert::new_rows(walker, &mut walked, &clause.target_list, &values, None)?;
                    }
                    _ => {}
                }
            }
        }
        returning(
            walker,
            &mut walked,
            statement.returning_clause.as_ref(),
            &items,
        )
    })?;
    walker.without_ctes(known);
    Ok(walked)
}

/// ON CONFLICT.
pub(super) fn on_conflict(
    walker: &mut Walker<'_>,
    walked: &mut Walked<'_>,
    clause: &OnConflictClause,
) -> Result<(), BindError> {
    let target = Item::plain(walked.target);
    if let Some(infer) = &clause.infer {
        walker.seeing(vec![target.clone()], |walker| {
            for node in &infer.index_elems {
                if let Some(NodeEnum::IndexElem(element)) = &node.node {
                    walker.optional_expression(element.expr.as_deref())?;
                    if !element.name.is_empty() {
                        column(walked.relation, &element.name, infer.location)?;
                    }
                }
            }
            walker.optional_expression(infer.where_clause.as_deref())
        })?;
    }
    if clause.action != OnConflictAction::OnconflictUpdate as i32 {
        return Ok(());
    }
    let names = walked
        .relation
        .columns
        .iter()
        .map(|c| OutputColumn::named(&c.name));
    let output = Output {
        columns: names.collect(),
        ..Output::default()
    };
    let excluded = Item {
        qualified_only: true,
        ..Item::plain(walker.add_derived("excluded".to_owned(), output, Vec::new()))
    };
    walker.seeing(vec![target, excluded], |walker| {
        assignments(walker, walked, &clause.target_list)?;
        walker.optional_expression(clause.where_clause.as_deref())
    })?;
    let written = walked.written();
    walked
        .effects
        .update(walker.catalog, walked.relation, false, &written);
    Ok(())
}

/// The target as a source. It is no part of FROM: nothing there may mention it.
pub(super) fn target<'a>(
    walker: &mut Walker<'a>,
    range: Option<&RangeVar>,
) -> Result<Walked<'a>, BindError> {
    let range = range.ok_or_else(|| BindError::new("the statement has no target"))?;
    let relation = walker.relation(range)?.ok_or_else(|| {
        BindError::at(
            range.location,
            format!(
                "{} is PostgreSQL's own: change it by the DDL that it stands for",
                range.relname
            ),
        )
    })?;
    let only = !range.inh;
    let alias = range
        .alias
        .as_ref()
        .map_or(&range.relname, |a| &a.aliasname);
    let shape = Shape::Relation { relation, only };
    let target = walker.add_source(alias.clone(), shape, Vec::new());
    walker.sources[target].target = true;
    Ok(Walked {
        target,
        relation,
        only,
        assigned: Vec::new(),
        set_from: BTreeSet::new(),
        joined: Vec::new(),
        effects: Effects::default(),
        returning: Output::default(),
    })
}

fn with_target(
    walker: &Walker<'_>,
    walked: &mut Walked<'_>,
    items: Vec<Item>,
    first: SourceId,
) -> Vec<Item> {
    let here = walker.level_id();
    walked.joined = (first..walker.sources.len())
        .filter(|source| walker.sources[*source].level == here)
        .collect();
    let mut all = vec![Item::plain(walked.target)];
    all.extend(items);
    all
}

/// SET.
fn assignments(
    walker: &mut Walker<'_>,
    walked: &mut Walked<'_>,
    targets: &[Node],
) -> Result<(), BindError> {
    let before = walker.mentioned.len();
    for node in targets {
        let Some(NodeEnum::ResTarget(assignment)) = &node.node else {
            continue;
        };
        let column = column(walked.relation, &assignment.name, assignment.location)?;
        if !walked.assigned.contains(&column.id) {
            walked.assigned.push(column.id);
        }
        if !assignment.indirection.is_empty() {
            // Part of an array or composite: the rest of it stays, and so is read.
            walker.sources[walked.target].read.insert(column.id);
            walker.expressions(&assignment.indirection)?;
        }
        match assignment
            .val
            .as_ref()
            .and_then(|value| value.node.as_ref())
        {
            Some(NodeEnum::SetToDefault(_)) => insert::default_value(walker, walked, column),
            Some(NodeEnum::MultiAssignRef(reference)) => {
                if is_defaulted(reference) {
                    insert::default_value(walker, walked, column);
                }
                // (a, b) = (SELECT …): the source stands behind each of the columns.
                if reference.colno <= 1 {
                    walker.optional_expression(reference.source.as_deref())?;
                }
            }
            _ => {
                walker.optional_expression(assignment.val.as_deref())?;
                if let Some(value) = &assignment.val {
                    walker.assigned_value(value, column);
                }
            }
        }
    }
    walked.set_from.extend(&walker.mentioned[before..]);
    Ok(())
}

/// Whether a column of (a, b) = (…) is set to DEFAULT.
fn is_defaulted(reference: &MultiAssignRef) -> bool {
    let source = reference.source.as_deref().and_then(|n| n.node.as_ref());
    let Some(NodeEnum::RowExpr(row)) = source else {
        return false;
    };
    let place = usize::try_from(reference.colno - 1).unwrap_or(usize::MAX);
    let value = row.args.get(place).and_then(|value| value.node.as_ref());
    matches!(value, Some(NodeEnum::SetToDefault(_)))
}

fn condition(
    walker: &mut Walker<'_>,
    walked: &Walked<'_>,
    condition: Option<&Node>,
) -> Result<(), BindError> {
    let Some(condition) = condition else {
        return Ok(());
    };
    walker.expression(condition)?;
    let mut restricts = walked.joined.clone();
    restricts.push(walked.target);
    walker.note_equalities(condition, &restricts);
    Ok(())
}

pub(super) fn returning(
    walker: &mut Walker<'_>,
    walked: &mut Walked<'_>,
    clause: Option<&ReturningClause>,
    items: &[Item],
) -> Result<(), BindError> {
    if let Some(clause) = clause {
        walked.returning = walker.select_list(&clause.exprs, items, false)?;
    }
    Ok(())
}

pub(super) fn column<'r>(
    relation: &'r Relation,
    name: &str,
    location: i32,
) -> Result<&'r Column, BindError> {
    relation.column(name).ok_or_else(|| {
        let hint = did_you_mean(name, relation.columns.iter().map(|c| c.name.as_str()));
        let table = &relation.name;
        BindError::at(
            location,
            format!("\"{table}\" has no column \"{name}\"{hint}"),
        )
    })
}
