//! SELECT, VALUES, set operations and WITH.

use std::collections::BTreeSet;

use pg_query::{
    Node, NodeEnum,
    protobuf::{CommonTableExpr, ResTarget, SelectStmt, SetOperation, WithClause, a_const},
};

use super::{
    naming::{column_name, strings},
    scope::{Item, Meaning},
    source::{Output, OutputColumn, Place, SourceId, Span},
    walker::Walker,
};
use crate::compile::{analyse::dml, error::BindError, model::WithQuery};

/// A WITH query that may be mentioned.
#[derive(Debug, Clone)]
pub(super) struct Cte {
    name: String,
    output: Output,
    /// Place in [`super::walker::Findings::with`].
    place: usize,
}

impl Walker<'_> {
    /// Walks a SELECT at the current level. Under EXISTS a bare star reads nothing.
    pub(crate) fn select(
        &mut self,
        select: &SelectStmt,
        exists: bool,
    ) -> Result<Output, BindError> {
        let known = self.ctes.len();
        if let Some(with) = &select.with_clause {
            self.with(with)?;
        }
        let output = self.body(select, exists, None);
        self.ctes.truncate(known);
        output
    }

    /// Adds the queries of a WITH clause to what may be mentioned; the caller takes them away again
    /// ([`Self::without_ctes`]).
    pub(crate) fn with(&mut self, with: &WithClause) -> Result<(), BindError> {
        let queries: Vec<&CommonTableExpr> = with
            .ctes
            .iter()
            .filter_map(|node| match &node.node {
                Some(NodeEnum::CommonTableExpr(query)) => Some(query.as_ref()),
                _ => None,
            })
            .collect();
        let first = self.found.with.len();
        let found = queries.iter().map(|query| WithQuery {
            name: query.ctename.clone(),
            ..WithQuery::default()
        });
        self.found.with.extend(found);
        if with.recursive {
            // They may mention each other in any order.
            for (place, query) in (first..).zip(&queries) {
                self.ctes.push(Cte {
                    name: query.ctename.clone(),
                    output: Output::unknown(),
                    place,
                });
            }
        }
        for (place, query) in (first..).zip(queries) {
            let sources = self.sources.len();
            let output =
                self.nested(Place::Cte, |walker| walker.cte_query(query, with.recursive))?;
            let read = self.sources[sources..].iter();
            let rows = read
                .filter_map(|source| Some(source.relation()?.rows))
                .sum();
            self.found.with[place].rows = rows;
            self.ctes.push(Cte {
                name: query.ctename.clone(),
                output: renamed(output, &query.aliascolnames),
                place,
            });
        }
        Ok(())
    }

    /// How many WITH queries may be mentioned now.
    pub(crate) fn known_ctes(&self) -> usize {
        self.ctes.len()
    }

    /// Forgets those that were added since.
    pub(crate) fn without_ctes(&mut self, known: usize) {
        self.ctes.truncate(known);
    }

    /// A WITH query that is mentioned.
    pub(super) fn cte(&mut self, name: &str) -> Option<Output> {
        let cte = self.ctes.iter().rev().find(|cte| cte.name == name)?;
        self.found.with[cte.place].mentions += 1;
        Some(cte.output.clone())
    }

    fn cte_query(&mut self, query: &CommonTableExpr, recursive: bool) -> Result<Output, BindError> {
        let Some(node) = query.ctequery.as_ref() else {
            return Ok(Output::unknown());
        };
        if query.search_clause.is_some() || query.cycle_clause.is_some() {
            self.here().spans.insert(Span::Recursion);
        }
        match &node.node {
            Some(NodeEnum::SelectStmt(select)) => {
                let known = self.ctes.len();
                if let Some(with) = &select.with_clause {
                    self.with(with)?;
                }
                let mut output = self.body(select, false, recursive.then_some(query));
                self.ctes.truncate(known);
                if let Ok(output) = &mut output
                    && (query.search_clause.is_some() || query.cycle_clause.is_some())
                {
                    output.open = true;
                }
                output
            }
            _ => dml::modifying_cte(self, node),
        }
    }

    fn body(
        &mut self,
        select: &SelectStmt,
        exists: bool,
        recursive: Option<&CommonTableExpr>,
    ) -> Result<Output, BindError> {
        if select.into_clause.is_some() {
            return Err(BindError::new(
                "SELECT INTO belongs at the top of a statement",
            ));
        }
        let operation = SetOperation::try_from(select.op).unwrap_or(SetOperation::SetopNone);
        let mut output = match operation {
            SetOperation::SetopNone | SetOperation::Undefined
                if !select.values_lists.is_empty() =>
            {
                self.values(&select.values_lists)?
            }
            SetOperation::SetopNone | SetOperation::Undefined => self.simple(select, exists)?,
            _ => self.set_operation(select, operation, recursive)?,
        };
        self.limit(select, &mut output)?;
        Ok(output)
    }

    fn limit(&mut self, select: &SelectStmt, output: &mut Output) -> Result<(), BindError> {
        if select.limit_count.is_none() && select.limit_offset.is_none() {
            return Ok(());
        }
        self.optional_expression(select.limit_count.as_deref())?;
        self.optional_expression(select.limit_offset.as_deref())?;
        let constant = select
            .limit_count
            .as_ref()
            .and_then(|node| match &node.node {
                Some(NodeEnum::AConst(constant)) => Some(constant),
                _ => None,
            });
        // LIMIT ALL and LIMIT NULL cut nothing off.
        if !(constant.is_some_and(|c| c.isnull) && select.limit_offset.is_none()) {
            self.here().spans.insert(Span::Limit);
        }
        if constant
            .and_then(|c| c.val.as_ref())
            .is_some_and(|value| matches!(value, a_const::Val::Ival(integer) if integer.ival <= 1))
        {
            output.unique.push(Vec::new());
        }
        Ok(())
    }

    fn set_operation(
        &mut self,
        select: &SelectStmt,
        operation: SetOperation,
        recursive: Option<&CommonTableExpr>,
    ) -> Result<Output, BindError> {
        let union_all = operation == SetOperation::SetopUnion && select.all;
        self.here().spans.insert(if union_all {
            Span::UnionAll
        } else {
            Span::SetOperation
        });
        let arm = |walker: &mut Self, arm: Option<&SelectStmt>| match arm {
            Some(select) => walker.nested(Place::Arm, |walker| walker.select(select, false)),
            None => Ok(Output::unknown()),
        };
        let mut output = arm(self, select.larg.as_deref())?;
        let known = self.ctes.len();
        if let Some(query) = recursive {
            self.here().spans.insert(Span::Recursion);
            let mut columns = output.clone();
            columns.unique.clear();
            let mut known = self.found.with.iter();
            let place = known.rposition(|with| with.name == query.ctename);
            self.ctes.push(Cte {
                name: query.ctename.clone(),
                output: renamed(columns, &query.aliascolnames),
                place: place.unwrap_or(0),
            });
        }
        let right = arm(self, select.rarg.as_deref());
        self.ctes.truncate(known);
        right?;
        output.unique.clear();
        for column in &mut output.columns {
            column.passes = None;
        }
        if !select.sort_clause.is_empty() {
            // Only names and numbers of its own columns may stand here.
            self.here().spans.insert(Span::OrderBy);
        }
        Ok(output)
    }

    fn values(&mut self, lists: &[Node]) -> Result<Output, BindError> {
        let rows: Vec<&[Node]> = lists
            .iter()
            .filter_map(|list| match &list.node {
                Some(NodeEnum::List(row)) => Some(row.items.as_slice()),
                _ => None,
            })
            .collect();
        for row in &rows {
            self.expressions(row)?;
        }
        let width = rows.first().map_or(0, |row| row.len());
        let columns = (0..width)
            .map(|place| OutputColumn {
                type_name: self.common_type(&rows, place),
                ..OutputColumn::named(&format!("column{}", place + 1))
            })
            .collect();
        let unique = (0..width).filter(|place| all_differ(&rows, *place));
        Ok(Output {
            columns,
            open: false,
            unique: unique.map(|place| vec![place]).collect(),
        })
    }

    /// The type of a column of a VALUES list, where all its rows plainly have the same.
    fn common_type(&self, rows: &[&[Node]], place: usize) -> Option<String> {
        let mut types = rows.iter().map(|row| self.expression_type(row.get(place)?));
        let first = types.next()??;
        types
            .all(|other| other.as_ref() == Some(&first))
            .then_some(first)
    }

    fn simple(&mut self, select: &SelectStmt, exists: bool) -> Result<Output, BindError> {
        let first_source = self.sources.len();
        let items = self.tables_of(&select.from_clause)?;
        let sources: Vec<SourceId> = (first_source..self.sources.len())
            .filter(|source| self.sources[*source].level == self.level)
            .collect();
        self.seeing(items.clone(), |walker| {
            if let Some(condition) = &select.where_clause {
                walker.expression(condition)?;
                walker.note_equalities(condition, &sources);
            }
            let mut output = walker.select_list(&select.target_list, &items, exists)?;
            let grouped = walker.grouping(select, &output)?;
            walker.here_spans(select);
            walker.sorting(select, &output)?;
            walker.locking(select);
            output.unique = walker.unique_outputs(select, &output, &sources, grouped);
            Ok(output)
        })
    }

    fn here_spans(&mut self, select: &SelectStmt) {
        let mut spans = BTreeSet::new();
        // Plain DISTINCT is a list of one empty node.
        match select.distinct_clause.first() {
            Some(Node { node: Some(_) }) => spans.insert(Span::DistinctOn),
            Some(Node { node: None }) => spans.insert(Span::Distinct),
            None => false,
        };
        if !select.group_clause.is_empty() || select.having_clause.is_some() {
            spans.insert(Span::GroupBy);
        }
        if !select.sort_clause.is_empty() {
            spans.insert(Span::OrderBy);
        }
        self.here().spans.append(&mut spans);
    }

    /// Walks a select list or RETURNING list.
    pub(crate) fn select_list(
        &mut self,
        targets: &[Node],
        items: &[Item],
        exists: bool,
    ) -> Result<Output, BindError> {
        let mut output = Output::default();
        for node in targets {
            let Some(NodeEnum::ResTarget(target)) = &node.node else {
                continue;
            };
            match star(target) {
                Some(_) if exists => {}
                Some(fields) => self.star(fields, target, items, &mut output)?,
                None => {
                    let column = self.select_item(target)?;
                    output.columns.push(column);
                }
            }
        }
        Ok(output)
    }

    fn select_item(&mut self, target: &ResTarget) -> Result<OutputColumn, BindError> {
        let value = target.val.as_deref();
        let named = !target.name.is_empty();
        let outer = std::mem::replace(&mut self.names_column, !named);
        let walked = self.optional_expression(value);
        self.names_column = outer;
        walked?;
        let name = if named {
            target.name.clone()
        } else {
            column_name(value)
        };
        let passes = match value.and_then(|node| node.node.as_ref()) {
            Some(NodeEnum::ColumnRef(reference)) => match self.meaning(reference)? {
                Meaning::Column(at) => Some(at),
                _ => None,
            },
            _ => None,
        };
        let type_name = match passes {
            Some(at) => self.sources[at.source]
                .column_type(at.column)
                .map(ToOwned::to_owned),
            None => value.and_then(|value| self.expression_type(value)),
        };
        Ok(OutputColumn {
            name,
            passes,
            type_name,
        })
    }

    fn star(
        &mut self,
        fields: &[Node],
        target: &ResTarget,
        items: &[Item],
        output: &mut Output,
    ) -> Result<(), BindError> {
        let names = strings(fields);
        let starred: Vec<Item> = if names.is_empty() {
            items.to_vec()
        } else {
            let reference = pg_query::protobuf::ColumnRef {
                fields: fields.to_vec(),
                location: target.location,
            };
            match self.meaning(&reference)? {
                Meaning::Row(source) => vec![Item::plain(source)],
                _ => Vec::new(),
            }
        };
        for item in &starred {
            self.mark_row(item.source);
            output.open |= self.sources[item.source].is_open();
        }
        let columns = self.star_columns(&starred);
        output.columns.extend(columns);
        Ok(())
    }

    /// GROUP BY and HAVING. Returns the places of the select list that the groups are made by, where
    /// all of them are there.
    fn grouping(
        &mut self,
        select: &SelectStmt,
        output: &Output,
    ) -> Result<Option<Vec<usize>>, BindError> {
        let mut places = Some(Vec::new());
        for node in &select.group_clause {
            let place = self.output_place(node, output, false)?;
            places = places.zip(place).map(|(mut places, place)| {
                places.push(place);
                places
            });
        }
        self.optional_expression(select.having_clause.as_deref())?;
        for node in &select.window_clause {
            if let Some(NodeEnum::WindowDef(window)) = &node.node {
                self.window(window)?;
            }
        }
        for node in select
            .distinct_clause
            .iter()
            .filter(|node| node.node.is_some())
        {
            self.output_place(node, output, true)?;
        }
        Ok(places)
    }

    fn sorting(&mut self, select: &SelectStmt, output: &Output) -> Result<(), BindError> {
        for node in &select.sort_clause {
            if let Some(NodeEnum::SortBy(sort)) = &node.node
                && let Some(by) = &sort.node
            {
                self.output_place(by, output, true)?;
            }
        }
        Ok(())
    }

    /// An item of GROUP BY, ORDER BY or DISTINCT ON: a number or name of the select list, or an
    /// expression. GROUP BY prefers columns of the tables to names of the select list, the others do
    /// not.
    fn output_place(
        &mut self,
        node: &Node,
        output: &Output,
        names_first: bool,
    ) -> Result<Option<usize>, BindError> {
        match &node.node {
            Some(NodeEnum::AConst(constant)) => Ok(match &constant.val {
                Some(a_const::Val::Ival(number)) => usize::try_from(number.ival - 1).ok(),
                _ => None,
            }),
            Some(NodeEnum::ColumnRef(reference)) => {
                let names = strings(&reference.fields);
                let by_name = match names.as_slice() {
                    [name] => output
                        .columns
                        .iter()
                        .position(|column| column.name == *name),
                    _ => None,
                };
                let meaning = self.meaning(reference);
                if by_name.is_some() && (names_first || !matches!(meaning, Ok(Meaning::Column(_))))
                {
                    return Ok(by_name);
                }
                self.column_ref(reference)?;
                Ok(match meaning? {
                    Meaning::Column(at) => {
                        let passed = |column: &OutputColumn| column.passes == Some(at);
                        output.columns.iter().position(passed)
                    }
                    _ => None,
                })
            }
            Some(NodeEnum::GroupingSet(set)) => {
                for node in &set.content {
                    self.output_place(node, output, names_first)?;
                }
                Ok(None)
            }
            _ => {
                self.expression(node)?;
                Ok(None)
            }
        }
    }

    fn locking(&mut self, select: &SelectStmt) {
        self.found.locks_rows |= !select.locking_clause.is_empty();
    }
}

/// The fields before `*`, where an item of a select list is a star.
fn star(target: &ResTarget) -> Option<&[Node]> {
    match target.val.as_ref()?.node.as_ref()? {
        NodeEnum::ColumnRef(reference) => match reference.fields.last()?.node.as_ref()? {
            NodeEnum::AStar(_) => Some(&reference.fields),
            _ => None,
        },
        _ => None,
    }
}

/// The columns of a WITH query under the names that its head gives them.
fn renamed(mut output: Output, names: &[Node]) -> Output {
    let names = strings(names);
    for (place, name) in names.iter().enumerate() {
        match output.columns.get_mut(place) {
            Some(column) => (*name).clone_into(&mut column.name),
            None => output.columns.push(OutputColumn::named(name)),
        }
    }
    output
}

/// Whether the literals in one column of a VALUES list all differ. Anything but plain literals may
/// turn out equal.
fn all_differ(rows: &[&[Node]], place: usize) -> bool {
    let literals: Option<Vec<String>> = rows
        .iter()
        .map(|row| match row.get(place)?.node.as_ref()? {
            NodeEnum::AConst(constant) => match constant.val.as_ref()? {
                a_const::Val::Ival(value) => Some(format!("n{}", value.ival)),
                a_const::Val::Sval(value) => Some(format!("s{}", value.sval)),
                _ => None,
            },
            _ => None,
        })
        .collect();
    literals.is_some_and(|literals| {
        let distinct: BTreeSet<&String> = literals.iter().collect();
        distinct.len() == literals.len()
    })
}
