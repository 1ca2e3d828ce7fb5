//! INSERT: which columns it gives values to, what the others draw, and what may cut its SELECT.

use std::collections::BTreeSet;

use pg_query::{
    Node, NodeEnum,
    protobuf::{InsertStmt, OnConflictAction, ResTarget, SelectStmt},
};
use upshift_shared::{
    catalog::{Column, Relation, RelationKind},
    ids::ColId,
};

use super::{
    by_column, chunk,
    copy::key_columns,
    walk::{self, Walked},
};
use crate::compile::{
    analyse::query::{
        Item, LevelId, Place, Shape, SourceId, Span, Walker, domains_of, names_clock, qualified,
        reads_clock,
    },
    error::BindError,
    model::Driving,
    sql::value,
};

/// An INSERT, walked.
pub(super) struct Inserted<'a> {
    pub(super) walked: Walked<'a>,
    /// The level of its query.
    pub(super) rows: Option<LevelId>,
    /// Rows of a VALUES list, or 1 for DEFAULT VALUES.
    pub(super) listed: Option<usize>,
    pub(super) on_conflict: OnConflictAction,
}

pub(super) fn walk<'a>(
    walker: &mut Walker<'a>,
    statement: &InsertStmt,
) -> Result<Inserted<'a>, BindError> {
    let known = walker.known_ctes();
    if let Some(with) = &statement.with_clause {
        walker.with(with)?;
    }
    let mut walked = walk::target(walker, statement.relation.as_ref())?;
    let select = match statement
        .select_stmt
        .as_ref()
        .and_then(|node| node.node.as_ref())
    {
        Some(NodeEnum::SelectStmt(select)) => Some(select.as_ref()),
        _ => None,
    };
    let (mut rows, mut width) = (None, Some(0));
    if let Some(select) = select {
        rows = Some(walker.levels.len());
        let output = walker.nested(Place::Rows, |walker| walker.select(select, false))?;
        width = (!output.open).then_some(output.columns.len());
        computed_values(
            walker,
            walked.relation,
            &statement.cols,
            &select.target_list,
        )?;
    }
    let lists = lists(select);
    new_rows(walker, &mut walked, &statement.cols, &lists, width)?;
    let mut on_conflict = OnConflictAction::OnconflictNone;
    if let Some(clause) = &statement.on_conflict_clause {
        on_conflict = OnConflictAction::try_from(clause.action).unwrap_or(on_conflict);
        walk::on_conflict(walker, &mut walked, clause)?;
    }
    let items = vec![Item::plain(walked.target)];
    walker.seeing(items.clone(), |walker| {
        walk::returning(
            walker,
            &mut walked,
            statement.returning_clause.as_ref(),
            &items,
        )
    })?;
    walker.without_ctes(known);
    let listed = match select {
        None => Some(1),
        Some(_) if !lists.is_empty() => Some(lists.len()),
        Some(_) => None,
    };
    Ok(Inserted {
        walked,
        rows,
        listed,
        on_conflict,
    })
}

/// What a SELECT gives to each column, up to a `*`, which stands for several.
fn computed_values(
    walker: &mut Walker<'_>,
    relation: &Relation,
    named: &[Node],
    list: &[Node],
) -> Result<(), BindError> {
    let named = named_columns(relation, named)?;
    let all = relation.columns.iter();
    let columns = named
        .iter()
        .copied()
        .chain(all.skip_while(|_| !named.is_empty()));
    for (column, node) in columns.zip(list) {
        match &node.node {
            Some(NodeEnum::ResTarget(target)) if !is_star(target) => {
                if let Some(value) = &target.val {
                    walker.assigned_value(value, column);
                }
            }
            _ => break,
        }
    }
    Ok(())
}

fn is_star(target: &ResTarget) -> bool {
    let value = target.val.as_ref().and_then(|value| value.node.as_ref());
    let Some(NodeEnum::ColumnRef(reference)) = value else {
        return false;
    };
    let last = reference
        .fields
        .last()
        .and_then(|field| field.node.as_ref());
    matches!(last, Some(NodeEnum::AStar(_)))
}

fn named_columns<'r>(relation: &'r Relation, named: &[Node]) -> Result<Vec<&'r Column>, BindError> {
    let mut columns = Vec::new();
    for node in named {
        if let Some(NodeEnum::ResTarget(target)) = &node.node {
            columns.push(walk::column(relation, &target.name, target.location)?);
        }
    }
    Ok(columns)
}

fn lists(select: Option<&SelectStmt>) -> Vec<&[Node]> {
    let lists = select.map_or(&[][..], |select| &select.values_lists);
    lists
        .iter()
        .filter_map(|list| match &list.node {
            Some(NodeEnum::List(row)) => Some(row.items.as_slice()),
            _ => None,
        })
        .collect()
}

/// The effects of new rows. `width` says how many columns the rows have where no list names them;
/// `None` where nobody knows.
pub(super) fn new_rows(
    walker: &mut Walker<'_>,
    walked: &mut Walked<'_>,
    named: &[Node],
    lists: &[&[Node]],
    width: Option<usize>,
) -> Result<(), BindError> {
    let relation = walked.relation;
    let mut columns = named_columns(relation, named)?;
    if columns.is_empty() {
        let width = width.or_else(|| lists.iter().map(|row| row.len()).max());
        columns.extend(relation.columns.iter().take(width.unwrap_or(usize::MAX)));
    }
    let defaulted = |place: usize| {
        lists.iter().any(|row| {
            let value = row.get(place).and_then(|node| node.node.as_ref());
            matches!(value, Some(NodeEnum::SetToDefault(_)))
        })
    };
    let mut given: BTreeSet<ColId> = BTreeSet::new();
    for (place, column) in columns.iter().enumerate() {
        given.insert(column.id);
        if defaulted(place) {
            default_value(walker, walked, column);
        }
    }
    // Without a list of names and with an open query, any column may be left out.
    let unsure = named.is_empty() && lists.is_empty() && width.is_none();
    for column in &relation.columns {
        if unsure || !given.contains(&column.id) {
            default_value(walker, walked, column);
        }
    }
    walked.effects.insert(walker.catalog, relation, &given);
    Ok(())
}

/// A column that is left to its default.
pub(super) fn default_value(walker: &mut Walker<'_>, walked: &mut Walked<'_>, column: &Column) {
    if let Some(sequence) = column.sequence {
        walked.effects.sequences.insert(sequence);
        return;
    }
    let Some(default) = &column.default else {
        return;
    };
    let text = default.to_lowercase();
    let calls = ["now()", "current_", "localtime", "_timestamp()"];
    // What cannot be read may be what it looks like.
    let is_literal = || {
        let base_of = domains_of(walker.catalog);
        let value = value(default);
        value.map_or(true, |value| {
            reads_clock(&value, &column.type_name, &base_of)
        })
    };
    if calls.iter().any(|call| text.contains(call)) || names_clock(&text) && is_literal() {
        walker.found.clock.get_or_insert_with(|| {
            format!(
                "the default of {}.{} ({default})",
                walked.relation.name, column.name
            )
        });
    }
    if text.contains("nextval(") {
        // A sequence that the snapshot could not attribute.
        walked.effects.opaque.get_or_insert_with(|| {
            format!(
                "the default of {}.{} draws from an unknown sequence",
                walked.relation.name, column.name
            )
        });
    }
}

/// The table whose key may cut the SELECT, or why there is none.
pub(super) fn driving(
    walker: &Walker<'_>,
    statement: &InsertStmt,
    rows: LevelId,
    by: Option<&str>,
) -> Result<Driving, String> {
    let level = &walker.levels[rows];
    let spanning = [
        Span::Aggregate,
        Span::GroupBy,
        Span::Window,
        Span::Distinct,
        Span::DistinctOn,
        Span::Limit,
        Span::SetOperation,
        Span::UnionAll,
        Span::Sample,
    ];
    if let Some(span) = spanning.iter().find(|span| level.spans.contains(span)) {
        return Err(chunk::spans_rows(*span));
    }
    if let Some(function) = &level.volatile_in_from {
        return Err(chunk::called_once(function));
    }
    let Some(NodeEnum::SelectStmt(select)) = statement
        .select_stmt
        .as_ref()
        .and_then(|node| node.node.as_ref())
    else {
        return Err("it has no query to cut".to_owned());
    };
    let visible = visible_tables(&select.from_clause);
    let best = (0..walker.sources.len())
        .filter(|source| walker.sources[*source].level == rows)
        .filter_map(|source| Some((source, drives(walker, source, &visible, by)?)))
        .max_by(|(a, _), (b, _)| {
            let rows = |source: &usize| walker.sources[*source].relation().map_or(0.0, |r| r.rows);
            // Of tables of one size the first that is written drives.
            rows(a).total_cmp(&rows(b)).then(b.cmp(a))
        });
    best.map(|(_, driving)| driving).ok_or_else(|| {
        "none of the tables that it selects from has a key and contributes to every row".to_owned()
    })
}

fn drives(
    walker: &Walker<'_>,
    source: SourceId,
    visible: &[String],
    by: Option<&str>,
) -> Option<Driving> {
    let found = &walker.sources[source];
    let Shape::Relation { relation, only } = &found.shape else {
        return None;
    };
    let flat = relation.kind == RelationKind::PartitionedTable
        || (relation.kind == RelationKind::Table && relation.inheritance.children.is_empty());
    // An alias list may give the key's name to another column.
    let usable = flat && !only && !found.optional && found.renamed.is_empty();
    (usable && visible.contains(&found.alias)).then_some(())?;
    Some(Driving {
        relation: relation.id,
        table: qualified(relation),
        alias: found.alias.clone(),
        key: match by {
            Some(column) => by_column(relation, column).ok()?,
            None => key_columns(relation)?,
        },
    })
}

/// Names of tables that the query's own WHERE may mention: not those inside an alias over a join.
fn visible_tables(nodes: &[Node]) -> Vec<String> {
    let mut names = Vec::new();
    for node in nodes {
        match &node.node {
            Some(NodeEnum::RangeVar(range)) => {
                let alias = range
                    .alias
                    .as_ref()
                    .map_or(&range.relname, |a| &a.aliasname);
                names.push(alias.clone());
            }
            Some(NodeEnum::JoinExpr(join)) if join.alias.is_none() => {
                let sides = [&join.larg, &join.rarg].into_iter().flatten();
                for side in sides {
                    names.extend(visible_tables(std::slice::from_ref(side)));
                }
            }
            _ => {}
        }
    }
    names
}
