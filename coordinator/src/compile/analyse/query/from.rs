//! FROM: tables, subqueries, functions and joins.

use pg_query::{
    Node, NodeEnum,
    protobuf::{Alias, JoinExpr, JoinType, RangeFunction, RangeSubselect, RangeVar},
};
use upshift_shared::catalog::{Relation, RelationKind};

use super::{
    naming::{column_name, strings},
    scope::Item,
    source::{ColumnAt, Equality, Operand, Output, OutputColumn, Place, Shape, SourceId, Span},
    suggest::did_you_mean,
    walker::Walker,
};
use crate::compile::{error::BindError, model::Resource};

impl<'a> Walker<'a> {
    /// The items of a FROM list, each of which may see those before it where it is LATERAL.
    pub(crate) fn tables_of(&mut self, nodes: &[Node]) -> Result<Vec<Item>, BindError> {
        let mut items = Vec::new();
        for node in nodes {
            let more = self.table_item(node, &items)?;
            items.extend(more);
        }
        Ok(items)
    }

    pub(crate) fn table_item(
        &mut self,
        node: &Node,
        left: &[Item],
    ) -> Result<Vec<Item>, BindError> {
        match &node.node {
            Some(NodeEnum::RangeVar(range)) => Ok(vec![Item::plain(self.range_var(range)?)]),
            Some(NodeEnum::RangeSubselect(subselect)) => self.subselect(subselect, left),
            Some(NodeEnum::RangeFunction(function)) => self.range_function(function, left),
            Some(NodeEnum::JoinExpr(join)) => self.join(join, left),
            Some(NodeEnum::RangeTableSample(sample)) => {
                self.here().spans.insert(Span::Sample);
                let relation = sample.relation.as_deref();
                let items = relation.map_or(Ok(Vec::new()), |node| self.table_item(node, left))?;
                self.expressions(&sample.args)?;
                self.optional_expression(sample.repeatable.as_deref())?;
                Ok(items)
            }
            Some(NodeEnum::RangeTableFunc(table)) => {
                let mut nodes: Vec<&Node> = table.docexpr.iter().map(AsRef::as_ref).collect();
                nodes.extend(table.rowexpr.iter().map(AsRef::as_ref));
                nodes.extend(&table.namespaces);
                nodes.extend(&table.columns);
                self.table_function(&nodes, table.alias.as_ref(), "xmltable", left)
            }
            Some(NodeEnum::JsonTable(table)) => {
                let mut nodes: Vec<&Node> = table.passing.iter().collect();
                let context = table.context_item.as_ref();
                nodes.extend(context.and_then(|value| value.raw_expr.as_deref()));
                self.table_function(&nodes, table.alias.as_ref(), "json_table", left)
            }
            _ => {
                self.found
                    .make_opaque("FROM has a form that Upshift does not know");
                Ok(Vec::new())
            }
        }
    }

    /// A table, view or CTE by name.
    fn range_var(&mut self, range: &RangeVar) -> Result<SourceId, BindError> {
        let (alias, renamed) = alias(range.alias.as_ref(), &range.relname);
        if range.schemaname.is_empty()
            && let Some(output) = self.cte(&range.relname)
        {
            return Ok(self.add_derived(alias, output, renamed));
        }
        match self.relation(range)? {
            Some(relation) if relation.kind == RelationKind::Sequence => {
                self.found.reads.insert(Resource::Sequence(relation.id));
                self.found.reads.insert(Resource::Table(relation.id));
                Ok(self.add_derived(alias, Output::unknown(), renamed))
            }
            Some(relation) => {
                let only = !range.inh;
                Ok(self.add_source(alias, Shape::Relation { relation, only }, renamed))
            }
            None => {
                self.found.reads_anything.get_or_insert_with(|| {
                    format!("{} describes the database itself", range.relname)
                });
                Ok(self.add_derived(alias, Output::unknown(), renamed))
            }
        }
    }

    /// The relation that a name means; `None` for PostgreSQL's own.
    pub(crate) fn relation(&self, range: &RangeVar) -> Result<Option<&'a Relation>, BindError> {
        let schema = Some(range.schemaname.as_str()).filter(|schema| !schema.is_empty());
        if let Some(relation) = self.catalog.find(schema, &range.relname, self.path) {
            return match relation.kind {
                RelationKind::CompositeType => Err(BindError::at(
                    range.location,
                    format!("\"{}\" is a type, not a table", range.relname),
                )),
                _ => Ok(Some(relation)),
            };
        }
        let own = match schema {
            Some(schema) => matches!(schema, "pg_catalog" | "information_schema" | "pg_toast"),
            None => range.relname.starts_with("pg_"),
        };
        if own {
            return Ok(None);
        }
        let known = self.catalog.relations().map(|r| r.name.as_str());
        let hint = did_you_mean(&range.relname, known);
        let name = match schema {
            Some(schema) => format!("{schema}.{}", range.relname),
            None => range.relname.clone(),
        };
        Err(BindError::at(
            range.location,
            format!("relation \"{name}\" does not exist{hint}"),
        ))
    }

    fn subselect(
        &mut self,
        subselect: &RangeSubselect,
        left: &[Item],
    ) -> Result<Vec<Item>, BindError> {
        let Some(NodeEnum::SelectStmt(select)) = subselect
            .subquery
            .as_ref()
            .and_then(|node| node.node.as_ref())
        else {
            self.found
                .make_opaque("FROM has a subquery that is no SELECT");
            return Ok(Vec::new());
        };
        let walk =
            |walker: &mut Self| walker.nested(Place::From, |walker| walker.select(select, false));
        let output = if subselect.lateral {
            self.seeing(left.to_vec(), walk)?
        } else {
            walk(self)?
        };
        let (alias, renamed) = alias(subselect.alias.as_ref(), "");
        Ok(vec![Item::plain(self.add_derived(alias, output, renamed))])
    }

    fn range_function(
        &mut self,
        range: &RangeFunction,
        left: &[Item],
    ) -> Result<Vec<Item>, BindError> {
        let calls: Vec<&Node> = range
            .functions
            .iter()
            .filter_map(|node| match &node.node {
                // Each is a pair of the call and its column definitions.
                Some(NodeEnum::List(pair)) => pair.items.first(),
                _ => None,
            })
            .collect();
        self.functions_in_from(&calls, left)?;
        let name = column_name(calls.first().copied());
        let (alias, renamed) = alias(range.alias.as_ref(), &name);
        let mut columns: Vec<OutputColumn> = range
            .coldeflist
            .iter()
            .filter_map(|node| match &node.node {
                Some(NodeEnum::ColumnDef(column)) => Some(OutputColumn::named(&column.colname)),
                _ => None,
            })
            .collect();
        let open = columns.is_empty();
        if open {
            // A function that returns no composite type has one column, named like its alias; which
            // it is, is not known here.
            columns.push(OutputColumn::named(&alias));
            columns.extend(renamed.iter().skip(1).map(|name| OutputColumn::named(name)));
        }
        if range.ordinality {
            columns.push(OutputColumn::named("ordinality"));
        }
        let output = Output {
            columns,
            open,
            unique: Vec::new(),
        };
        Ok(vec![Item::plain(self.add_derived(alias, output, renamed))])
    }

    fn table_function(
        &mut self,
        nodes: &[&Node],
        named: Option<&Alias>,
        name: &str,
        left: &[Item],
    ) -> Result<Vec<Item>, BindError> {
        self.functions_in_from(nodes, left)?;
        let (alias, renamed) = alias(named, name);
        let source = self.add_derived(alias, Output::unknown(), renamed);
        Ok(vec![Item::plain(source)])
    }

    /// Functions in FROM see what stands left of them.
    fn functions_in_from(&mut self, nodes: &[&Node], left: &[Item]) -> Result<(), BindError> {
        let outer = std::mem::replace(&mut self.in_from, true);
        let walked = self.seeing(left.to_vec(), |walker| {
            nodes.iter().try_for_each(|node| walker.expression(node))
        });
        self.in_from = outer;
        walked
    }

    fn join(&mut self, join: &JoinExpr, left: &[Item]) -> Result<Vec<Item>, BindError> {
        let side = |node: &Option<Box<Node>>, walker: &mut Self, left: &[Item]| match node {
            Some(node) => walker.table_item(node, left),
            None => Ok(Vec::new()),
        };
        let first = side(&join.larg, self, left)?;
        let seen: Vec<Item> = left.iter().chain(&first).cloned().collect();
        let second = side(&join.rarg, self, &seen)?;
        let kind = JoinType::try_from(join.jointype).unwrap_or(JoinType::JoinFull);
        let restricts = self.outer_sides(kind, &first, &second);
        let mut items = self.merge_columns(join, kind, first, second, &restricts)?;
        if let Some(condition) = &join.quals {
            let seen = items.clone();
            self.seeing(seen, |walker| {
                walker.expression(condition)?;
                walker.note_equalities(condition, &restricts);
                Ok(())
            })?;
        }
        if let Some(alias) = &join.alias {
            items = vec![self.aliased_join(alias, &items)];
        }
        Ok(items)
    }

    /// Marks the sides that are filled up with NULLs; returns the sources that the join's condition
    /// restricts.
    fn outer_sides(&mut self, kind: JoinType, first: &[Item], second: &[Item]) -> Vec<SourceId> {
        let (optional, restricted): (Vec<&Item>, Vec<&Item>) = match kind {
            JoinType::JoinInner => (Vec::new(), first.iter().chain(second).collect()),
            JoinType::JoinLeft => (second.iter().collect(), second.iter().collect()),
            JoinType::JoinRight => (first.iter().collect(), first.iter().collect()),
            _ => (first.iter().chain(second).collect(), Vec::new()),
        };
        for item in optional {
            self.sources[item.source].optional = true;
        }
        restricted.iter().map(|item| item.source).collect()
    }

    /// USING and NATURAL: equalities, and one column where there were two.
    fn merge_columns(
        &mut self,
        join: &JoinExpr,
        kind: JoinType,
        mut first: Vec<Item>,
        mut second: Vec<Item>,
        restricts: &[SourceId],
    ) -> Result<Vec<Item>, BindError> {
        let names: Vec<String> = if join.is_natural {
            self.common_names(&first, &second)
        } else {
            strings(&join.using_clause)
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        for name in &names {
            let (Some(left), Some(right)) =
                (self.find_in(&first, name), self.find_in(&second, name))
            else {
                if self.any_open(&first) || self.any_open(&second) {
                    continue;
                }
                return Err(BindError::new(format!(
                    "USING names column \"{name}\", which one side of the join has not"
                )));
            };
            self.mark(left);
            self.mark(right);
            self.equalities.push(Equality {
                left: Operand::Column(left),
                right: Operand::Column(right),
                restricts: restricts.to_vec(),
            });
            let hidden: &mut dyn Iterator<Item = &mut Item> = match kind {
                JoinType::JoinRight => &mut first.iter_mut(),
                JoinType::JoinFull => &mut first.iter_mut().chain(&mut second),
                _ => &mut second.iter_mut(),
            };
            hidden.for_each(|item| item.merged.push(name.clone()));
        }
        let mut items = first;
        items.append(&mut second);
        if kind == JoinType::JoinFull && !names.is_empty() {
            let columns = names.iter().map(|name| OutputColumn::named(name)).collect();
            let output = Output {
                columns,
                ..Output::default()
            };
            let source = self.add_derived(String::new(), output, Vec::new());
            let nameless = true;
            items.insert(
                0,
                Item {
                    nameless,
                    ..Item::plain(source)
                },
            );
        }
        Ok(items)
    }

    fn common_names(&self, first: &[Item], second: &[Item]) -> Vec<String> {
        let mut names = Vec::new();
        for item in first {
            let source = &self.sources[item.source];
            for name in (0..source.width()).map(|place| source.column_name(place)) {
                let merged = item.merged.iter().any(|merged| merged == name);
                if !merged && self.find_in(second, name).is_some() {
                    names.push(name.to_owned());
                }
            }
        }
        names
    }

    fn find_in(&self, items: &[Item], name: &str) -> Option<ColumnAt> {
        items.iter().find_map(|item| {
            if item.merged.iter().any(|merged| merged == name) {
                return None;
            }
            let column = self.sources[item.source].places(name).next()?;
            Some(ColumnAt {
                source: item.source,
                column,
            })
        })
    }

    fn any_open(&self, items: &[Item]) -> bool {
        items.iter().any(|item| self.sources[item.source].is_open())
    }

    /// `(a JOIN b ON …) AS j` hides a and b.
    fn aliased_join(&mut self, named: &Alias, items: &[Item]) -> Item {
        let (alias, renamed) = alias(Some(named), "");
        let output = Output {
            columns: self.star_columns(items),
            open: self.any_open(items),
            unique: Vec::new(),
        };
        let optional = items.iter().any(|item| self.sources[item.source].optional);
        let source = self.add_derived(alias, output, renamed);
        self.sources[source].optional = optional;
        Item::plain(source)
    }

    /// What `*` stands for.
    pub(super) fn star_columns(&self, items: &[Item]) -> Vec<OutputColumn> {
        let mut columns = Vec::new();
        for item in items.iter().filter(|item| !item.qualified_only) {
            let source = &self.sources[item.source];
            for column in 0..source.width() {
                let name = source.column_name(column);
                if !item.merged.iter().any(|merged| merged == name) {
                    columns.push(OutputColumn {
                        name: name.to_owned(),
                        passes: Some(ColumnAt {
                            source: item.source,
                            column,
                        }),
                        type_name: source.column_type(column).map(ToOwned::to_owned),
                    });
                }
            }
        }
        columns
    }
}

impl Output {
    /// Nobody knows its columns.
    pub(super) fn unknown() -> Self {
        Self {
            open: true,
            ..Self::default()
        }
    }
}

impl OutputColumn {
    /// A column of which only the name is known.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            passes: None,
            type_name: None,
        }
    }
}

/// The name that a FROM item goes by, and the names that it gives to its columns.
fn alias(alias: Option<&Alias>, otherwise: &str) -> (String, Vec<String>) {
    match alias {
        Some(alias) => {
            let renamed = strings(&alias.colnames);
            let renamed = renamed.iter().map(ToString::to_string).collect();
            (alias.aliasname.clone(), renamed)
        }
        None => (otherwise.to_owned(), Vec::new()),
    }
}
