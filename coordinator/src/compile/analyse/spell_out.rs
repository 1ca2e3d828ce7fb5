//! Columns spelled out. A column that a step drops stays in its table, hidden, until commit; a statement
//! that takes the columns as they come (`*`, INSERT without a list of columns) would see it. So, where
//! a table has a hidden column, the columns that the author means are written into the statement; where
//! that cannot be done, the author is asked to.

use std::collections::BTreeSet;

use pg_query::{
    DeparseOptions, Node, NodeEnum,
    protobuf::{
        ColumnRef, InsertStmt, ParseResult, RangeVar, RawStmt, ResTarget, ReturningClause,
        SelectStmt, String as Name, WithClause,
    },
};
use upshift_shared::{
    catalog::{Catalog, Relation},
    ids::RelId,
    pg::ident::QualifiedName,
    plan::{DdlEffect, Hide},
};

use crate::compile::{
    error::BindError,
    model::{BoundDdl, Class},
};

/// The tables in which a DDL step, once bound, leaves hidden columns.
pub(super) fn hides(class: &Class, catalog: &Catalog) -> Vec<RelId> {
    let Class::Ddl(BoundDdl { actions, .. }) = class else {
        return Vec::new();
    };
    let tables = actions.iter().filter_map(|action| match &action.effect {
        DdlEffect::Hide(Hide::Column { table, .. }) | DdlEffect::KeepColumn { table, .. } => {
            Some(table.as_str())
        }
        _ => None,
    });
    tables
        .filter_map(|table| {
            let named = |r: &&Relation| QualifiedName::new(&r.schema, &r.name).to_string() == table;
            catalog.relations().find(named).map(|relation| relation.id)
        })
        .collect()
}

/// Writes a parse tree out as SQL.
pub(super) fn deparse(node: Node) -> Result<String, BindError> {
    let tree = ParseResult {
        version: 0,
        stmts: vec![RawStmt {
            stmt: Some(Box::new(node)),
            stmt_location: 0,
            stmt_len: 0,
        }],
    };
    pg_query::deparse(&tree, DeparseOptions::default())
        .map_err(|error| BindError::new(format!("its columns could not be written out: {error}")))
}

/// The statement with its columns spelled out; `None` where it takes none as they come.
///
/// # Errors
/// Where only the author can say which columns are meant.
pub(super) fn spell_out(
    node: &Node,
    catalog: &Catalog,
    path: &[String],
    hidden: &BTreeSet<RelId>,
) -> Result<Option<Node>, BindError> {
    if hidden.is_empty() {
        return Ok(None);
    }
    let mut spelled = node.clone();
    let mut speller = Speller {
        catalog,
        path,
        hidden,
        with_queries: Vec::new(),
        changed: false,
    };
    speller.statement(&mut spelled)?;
    Ok(speller.changed.then_some(spelled))
}

struct Speller<'a> {
    catalog: &'a Catalog,
    path: &'a [String],
    hidden: &'a BTreeSet<RelId>,
    /// Names of WITH queries, which hide tables of the same name.
    with_queries: Vec<String>,
    changed: bool,
}

/// Something in FROM that `*` takes columns from.
struct Item<'a> {
    /// What it is called; `None` where it has no name of its own.
    alias: Option<String>,
    /// The table, where it is one with hidden columns.
    relation: Option<&'a Relation>,
}

impl<'a> Speller<'a> {
    fn statement(&mut self, node: &mut Node) -> Result<(), BindError> {
        match node.node.as_mut() {
            Some(NodeEnum::SelectStmt(select)) => self.select(select),
            Some(NodeEnum::InsertStmt(insert)) => self.insert(insert),
            Some(NodeEnum::UpdateStmt(update)) => {
                self.with(update.with_clause.as_mut())?;
                self.subqueries(&mut update.from_clause)?;
                let target = update.relation.clone();
                self.returning(update.returning_clause.as_mut(), target.as_ref())
            }
            Some(NodeEnum::DeleteStmt(delete)) => {
                self.with(delete.with_clause.as_mut())?;
                self.subqueries(&mut delete.using_clause)?;
                let target = delete.relation.clone();
                self.returning(delete.returning_clause.as_mut(), target.as_ref())
            }
            Some(NodeEnum::CreateTableAsStmt(create)) => self.boxed(create.query.as_mut()),
            Some(NodeEnum::ViewStmt(view)) => self.boxed(view.query.as_mut()),
            _ => Ok(()),
        }
    }

    fn boxed(&mut self, node: Option<&mut Box<Node>>) -> Result<(), BindError> {
        node.map_or(Ok(()), |node| self.statement(node))
    }

    fn with(&mut self, with: Option<&mut WithClause>) -> Result<(), BindError> {
        for node in with.into_iter().flat_map(|with| with.ctes.iter_mut()) {
            if let Some(NodeEnum::CommonTableExpr(query)) = node.node.as_mut() {
                self.boxed(query.ctequery.as_mut())?;
                self.with_queries.push(query.ctename.clone());
            }
        }
        Ok(())
    }

    fn subqueries(&mut self, from: &mut [Node]) -> Result<(), BindError> {
        for node in from {
            match node.node.as_mut() {
                Some(NodeEnum::RangeSubselect(inner)) => self.boxed(inner.subquery.as_mut())?,
                Some(NodeEnum::JoinExpr(join)) => {
                    for side in [join.larg.as_mut(), join.rarg.as_mut()]
                        .into_iter()
                        .flatten()
                    {
                        self.subqueries(std::slice::from_mut(&mut **side))?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn select(&mut self, select: &mut SelectStmt) -> Result<(), BindError> {
        self.with(select.with_clause.as_mut())?;
        for side in [select.larg.as_mut(), select.rarg.as_mut()]
            .into_iter()
            .flatten()
        {
            self.select(side)?;
        }
        self.subqueries(&mut select.from_clause)?;
        let items = self.items(&select.from_clause)?;
        self.targets(&mut select.target_list, &items)
    }

    fn returning(
        &mut self,
        returning: Option<&mut ReturningClause>,
        target: Option<&RangeVar>,
    ) -> Result<(), BindError> {
        let (Some(returning), Some(target)) = (returning, target) else {
            return Ok(());
        };
        let items = [self.table(target)?];
        self.targets(&mut returning.exprs, &items)
    }

    fn insert(&mut self, insert: &mut InsertStmt) -> Result<(), BindError> {
        self.with(insert.with_clause.as_mut())?;
        self.boxed(insert.select_stmt.as_mut())?;
        let target = insert.relation.clone();
        self.returning(insert.returning_clause.as_mut(), target.as_ref())?;
        let relation = target.as_ref().and_then(|target| self.relation(target));
        let (Some(relation), true, Some(source)) =
            (relation, insert.cols.is_empty(), &insert.select_stmt)
        else {
            return Ok(());
        };
        let Some(count) = self.width(source) else {
            return Err(ask(relation, "write INSERT with its list of columns"));
        };
        let names = relation.columns.iter().take(count);
        insert.cols = names
            .map(|column| {
                node(NodeEnum::ResTarget(Box::new(ResTarget {
                    location: -1,
                    name: column.name.clone(),
                    ..ResTarget::default()
                })))
            })
            .collect();
        self.changed = true;
        Ok(())
    }

    /// How many columns a query returns; `None` where that takes more than counting.
    fn width(&self, source: &Node) -> Option<usize> {
        let Some(NodeEnum::SelectStmt(select)) = source.node.as_ref() else {
            return None;
        };
        if let Some(left) = &select.larg {
            return self.width(&node(NodeEnum::SelectStmt(left.clone())));
        }
        if let Some(NodeEnum::List(values)) = select
            .values_lists
            .first()
            .and_then(|first| first.node.as_ref())
        {
            return Some(values.items.len());
        }
        let mut width = 0;
        for target in &select.target_list {
            width += match star(target) {
                None => 1,
                Some(qualifier) => self.star_width(&select.from_clause, qualifier.as_deref())?,
            };
        }
        Some(width)
    }

    /// The columns behind `*` where FROM is plain tables.
    fn star_width(&self, from: &[Node], qualifier: Option<&str>) -> Option<usize> {
        let mut width = 0;
        for item in from {
            let Some(NodeEnum::RangeVar(table)) = item.node.as_ref() else {
                return None;
            };
            if qualifier.is_none_or(|qualifier| called(table) == qualifier) {
                width += self.find(table)?.columns.len();
            }
        }
        Some(width)
    }

    fn find(&self, table: &RangeVar) -> Option<&'a Relation> {
        let schema = Some(table.schemaname.as_str()).filter(|schema| !schema.is_empty());
        if schema.is_none() && self.with_queries.contains(&table.relname) {
            return None;
        }
        self.catalog.find(schema, &table.relname, self.path)
    }

    /// The table, where it has hidden columns.
    fn relation(&self, table: &RangeVar) -> Option<&'a Relation> {
        self.find(table)
            .filter(|relation| self.hidden.contains(&relation.id))
    }

    fn table(&self, table: &RangeVar) -> Result<Item<'a>, BindError> {
        let relation = self.relation(table);
        let renames = table
            .alias
            .as_ref()
            .is_some_and(|alias| !alias.colnames.is_empty());
        match relation {
            Some(relation) if renames => Err(ask(relation, "do not rename its columns in FROM")),
            relation => Ok(Item {
                alias: Some(called(table).to_owned()),
                relation,
            }),
        }
    }

    fn items(&self, from: &[Node]) -> Result<Vec<Item<'a>>, BindError> {
        let mut items = Vec::new();
        for node in from {
            match node.node.as_ref() {
                Some(NodeEnum::RangeVar(table)) => items.push(self.table(table)?),
                Some(NodeEnum::RangeSubselect(query)) => items.push(Item {
                    alias: query.alias.as_ref().map(|alias| alias.aliasname.clone()),
                    relation: None,
                }),
                Some(NodeEnum::RangeFunction(function)) => items.push(Item {
                    alias: function.alias.as_ref().map(|alias| alias.aliasname.clone()),
                    relation: None,
                }),
                Some(NodeEnum::JoinExpr(join)) => {
                    let merges = join.is_natural || !join.using_clause.is_empty();
                    let sides = [&join.larg, &join.rarg].into_iter().flatten();
                    let mut inner = Vec::new();
                    for side in sides {
                        inner.extend(self.items(std::slice::from_ref(&**side))?);
                    }
                    // Columns that USING merges, and those of a join with a name of its own, come in
                    // another order than tables' columns.
                    if merges || join.alias.is_some() {
                        for item in &mut inner {
                            item.alias = None;
                        }
                    }
                    items.extend(inner);
                }
                _ => items.push(Item {
                    alias: None,
                    relation: None,
                }),
            }
        }
        Ok(items)
    }

    fn targets(&mut self, targets: &mut Vec<Node>, items: &[Item<'a>]) -> Result<(), BindError> {
        let mut spelled = Vec::with_capacity(targets.len());
        for target in targets.drain(..) {
            let Some(qualifier) = star(&target) else {
                spelled.push(target);
                continue;
            };
            let meant: Vec<&Item<'a>> = items
                .iter()
                .filter(|item| qualifier.is_none() || item.alias == qualifier)
                .collect();
            let Some(relation) = meant.iter().find_map(|item| item.relation) else {
                let unnamed = items.iter().find(|item| item.alias.is_none());
                if let Some(relation) = unnamed.and_then(|item| item.relation) {
                    return Err(ask(relation, "write the columns instead of *"));
                }
                spelled.push(target);
                continue;
            };
            self.changed = true;
            for item in meant {
                let Some(alias) = &item.alias else {
                    return Err(ask(relation, "write the columns instead of *"));
                };
                match item.relation {
                    Some(relation) => {
                        let columns = relation.columns.iter();
                        spelled.extend(columns.map(|c| column(alias, Some(&c.name))));
                    }
                    None => spelled.push(column(alias, None)),
                }
            }
        }
        *targets = spelled;
        Ok(())
    }
}

fn ask(relation: &Relation, what: &str) -> BindError {
    let table = QualifiedName::new(&relation.schema, &relation.name).plain();
    BindError::new(format!(
        "{table} has a column that an earlier step drops or changes, and that stays in it, hidden, until \
         commit: {what}"
    ))
}

fn called(table: &RangeVar) -> &str {
    table
        .alias
        .as_ref()
        .map_or(table.relname.as_str(), |alias| alias.aliasname.as_str())
}

fn node(node: NodeEnum) -> Node {
    Node { node: Some(node) }
}

/// `*`, or the name before `.*`.
fn star(target: &Node) -> Option<Option<String>> {
    let Some(NodeEnum::ResTarget(target)) = target.node.as_ref() else {
        return None;
    };
    let Some(NodeEnum::ColumnRef(reference)) = target.val.as_ref()?.node.as_ref() else {
        return None;
    };
    let (last, before) = reference.fields.split_last()?;
    if !matches!(last.node, Some(NodeEnum::AStar(_))) {
        return None;
    }
    Some(before.last().and_then(|name| match name.node.as_ref() {
        Some(NodeEnum::String(name)) => Some(name.sval.clone()),
        _ => None,
    }))
}

/// `alias.name`, or `alias.*`.
fn column(alias: &str, name: Option<&str>) -> Node {
    let text = |text: &str| {
        node(NodeEnum::String(Name {
            sval: text.to_owned(),
        }))
    };
    let last = match name {
        Some(name) => text(name),
        None => node(NodeEnum::AStar(pg_query::protobuf::AStar {})),
    };
    let reference = ColumnRef {
        fields: vec![text(alias), last],
        location: -1,
    };
    node(NodeEnum::ResTarget(Box::new(ResTarget {
        val: Some(Box::new(node(NodeEnum::ColumnRef(reference)))),
        location: -1,
        ..ResTarget::default()
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::analyse::fixture;

    fn spelled(sql: &str) -> Result<String, String> {
        let mut catalog = Catalog::default();
        let t = fixture::Table::new("t", "id integer, c text").add(&mut catalog);
        fixture::Table::new("u", "id integer, d text, e text").add(&mut catalog);
        let mut parsed = pg_query::parse(sql, 0).expect("it parses").protobuf.stmts;
        let statement = parsed.pop().and_then(|raw| raw.stmt).expect("a statement");
        let hidden = BTreeSet::from([t]);
        let result = spell_out(&statement, &catalog, &fixture::path(), &hidden);
        let Some(node) = result.map_err(|error| error.message)? else {
            return Ok("as it stands".to_owned());
        };
        deparse(node).map_err(|error| error.message)
    }

    #[test]
    fn what_is_taken_as_it_comes_is_spelled_out() {
        for (sql, expected) in [
            (
                "INSERT INTO t VALUES (1, 'x')",
                "INSERT INTO t (id, c) VALUES (1, 'x')",
            ),
            ("INSERT INTO t VALUES (1)", "INSERT INTO t (id) VALUES (1)"),
            ("INSERT INTO t (c) VALUES (1)", "as it stands"),
            (
                "INSERT INTO t SELECT id, d FROM u",
                "INSERT INTO t (id, c) SELECT id, d FROM u",
            ),
            (
                "INSERT INTO u SELECT *, 1 FROM t",
                "INSERT INTO u SELECT t.id, t.c, 1 FROM t",
            ),
            (
                "INSERT INTO t SELECT * FROM t AS x",
                "INSERT INTO t (id, c) SELECT x.id, x.c FROM t x",
            ),
            ("INSERT INTO t DEFAULT VALUES", "as it stands"),
            ("SELECT * FROM u", "as it stands"),
            ("SELECT count(*) FROM t", "as it stands"),
            ("SELECT u.* FROM t, u", "as it stands"),
            (
                "SELECT * FROM u a JOIN t b ON a.id = b.id",
                "SELECT a.*, b.id, b.c FROM u a JOIN t b ON a.id = b.id",
            ),
            (
                "CREATE TABLE n AS SELECT * FROM t",
                "CREATE TABLE n AS SELECT t.id, t.c FROM t",
            ),
            (
                "CREATE VIEW v AS SELECT t.* FROM public.t",
                "CREATE VIEW v AS SELECT t.id, t.c FROM public.t",
            ),
            ("WITH t AS (SELECT 1) SELECT * FROM t", "as it stands"),
            (
                "WITH x AS (DELETE FROM t RETURNING *) INSERT INTO u SELECT *, '' FROM x",
                "WITH x AS (DELETE FROM t RETURNING t.id, t.c) INSERT INTO u SELECT *, '' FROM x",
            ),
            (
                "SELECT * FROM (SELECT * FROM t UNION SELECT 1, '') s",
                "SELECT * FROM (SELECT t.id, t.c FROM t UNION SELECT 1, '') s",
            ),
        ] {
            assert_eq!(spelled(sql).as_deref(), Ok(expected), "{sql}");
        }
    }

    #[test]
    fn what_cannot_be_is_asked_for() {
        for sql in [
            "SELECT * FROM t JOIN u USING (id)",
            "INSERT INTO t SELECT * FROM (SELECT 1, 'x') s",
            "SELECT * FROM t AS x (a, b)",
        ] {
            let message = spelled(sql).expect_err(sql);
            assert!(message.starts_with("t has a column"), "{message}");
        }
    }
}
