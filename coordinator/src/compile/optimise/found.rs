//! FROM of an UPDATE whose rows are only looked for: what it assigns is the same whichever of them a row
//! meets, and however many, so it is enough to know whether there is one.
//!
//! `UPDATE t SET gap = false FROM t b WHERE t.journal = b.journal AND t.number = b.number + 1` becomes a
//! left join with the distinct pairs `(b.journal, b.number + 1)`: the planner hashes or merges them, and no
//! row comes twice. Where an index finds a row by just these, it is asked for each row instead.

use std::collections::BTreeSet;

use super::{
    cast,
    compose::expression,
    from::{MARK, item_text},
    spare::Spare,
};
use crate::compile::model::{Joins, UserTypes};
use pg_query::{
    Node, NodeEnum,
    protobuf::{AExprKind, UpdateStmt},
};
use serde_json::Value;

/// What the distinct rows are called.
const FOUND: &str = "upshift_found";

/// The join that tells whether there is a row.
pub(super) struct Found {
    /// An item for a left join.
    pub(super) item: String,
    /// Its condition.
    pub(super) on: String,
    /// An expression that is not NULL where there is a row.
    pub(super) mark: String,
}

/// Whose columns an expression reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Those of the row at hand, or none.
    Row,
    /// Those of FROM.
    From,
    /// Both.
    Both,
}

/// Looks for rows of FROM. `alias` is what the statement calls its target, `columns` the target's
/// columns at this point.
pub(super) fn found(
    statement: &UpdateStmt,
    joins: &Joins,
    (alias, columns): (&str, &[String]),
    (spare, user_types): (&Spare<'_>, &UserTypes),
) -> Result<Found, String> {
    let several = || "a row may meet several rows of its FROM".to_owned();
    let known =
        |types: &BTreeSet<String>| types.iter().all(|t| cast::carried(t, user_types).is_ok());
    if !joins.volatile.is_empty()
        || !joins.at_hand.is_empty()
        || !joins.types.as_ref().is_some_and(known)
    {
        return Err(several());
    }
    let mut aliases = BTreeSet::new();
    for item in &statement.from_clause {
        named(item, &mut aliases).ok_or_else(several)?;
    }
    let names = Names {
        alias,
        columns,
        from: &aliases,
    };
    for target in &statement.target_list {
        if names.side(target) != Some(Side::Row) {
            return Err(format!("{}, of which it assigns values", several()));
        }
    }
    let condition = spare.joined()?.ok_or_else(several)?;
    let mut parts = Parts::default();
    for part in spare.joined_parts() {
        parts.take(&part, &names).ok_or_else(several)?;
    }
    let mark = format!("{FOUND}.{MARK}");
    if let Some(item) = by_index(statement, joins, &parts) {
        return Ok(Found {
            item: format!(
                "LATERAL (SELECT true AS {MARK} FROM {item} WHERE {condition} LIMIT 1) AS {FOUND}"
            ),
            on: "true".to_owned(),
            mark,
        });
    }
    let mut list: Vec<String> = (1..)
        .zip(&parts.keys)
        .map(|(number, key)| format!("{} AS upshift_key_{number}", key.theirs))
        .collect();
    list.push(format!("true AS {MARK}"));
    let items: Vec<String> = statement
        .from_clause
        .iter()
        .map(item_text)
        .collect::<Result<_, _>>()?;
    let mut query = format!(
        "SELECT DISTINCT {} FROM {}",
        list.join(", "),
        items.join(", ")
    );
    if !parts.theirs.is_empty() {
        query.push_str(&format!(" WHERE {}", parts.theirs.join(" AND ")));
    }
    let mut on: Vec<String> = (1..)
        .zip(&parts.keys)
        .map(|(number, key)| format!("{} = {FOUND}.upshift_key_{number}", key.own))
        .collect();
    on.extend(parts.own);
    Ok(Found {
        item: format!("({query}) AS {FOUND}"),
        on: if on.is_empty() {
            "true".to_owned()
        } else {
            on.join(" AND ")
        },
        mark,
    })
}

/// The only table of FROM, where an index of it begins with just what the keys ask for.
fn by_index(statement: &UpdateStmt, joins: &Joins, parts: &Parts) -> Option<String> {
    let [item] = statement.from_clause.as_slice() else {
        return None;
    };
    let asked: BTreeSet<&String> = parts.keys.iter().map(|key| &key.plain).collect();
    let mut indexes = joins.lookups.values().flatten();
    let found = indexes.any(|index| {
        let first = index.get(..asked.len());
        first.is_some_and(|first| {
            !first.is_empty() && first.iter().collect::<BTreeSet<_>>() == asked
        })
    });
    (found && joins.lookups.len() == 1).then(|| item_text(item).ok())?
}

/// The names of an item's tables; `None` where it is something else than tables and joins of them.
fn named(item: &Node, aliases: &mut BTreeSet<String>) -> Option<()> {
    match item.node.as_ref()? {
        NodeEnum::RangeVar(range) => {
            let alias = range.alias.as_ref();
            if alias.is_some_and(|alias| !alias.colnames.is_empty()) {
                return None;
            }
            let name = alias.map_or(&range.relname, |alias| &alias.aliasname);
            aliases.insert(name.clone()).then_some(())
        }
        NodeEnum::JoinExpr(join) if join.alias.is_none() => {
            named(join.larg.as_deref()?, aliases)?;
            named(join.rarg.as_deref()?, aliases)
        }
        _ => None,
    }
}

/// What names mean.
struct Names<'a> {
    alias: &'a str,
    columns: &'a [String],
    from: &'a BTreeSet<String>,
}

impl Names<'_> {
    /// Whose columns an expression reads; `None` where that is not plain to see.
    fn side(&self, node: &Node) -> Option<Side> {
        let value = serde_json::to_value(node).ok()?;
        let (mut own, mut theirs) = (false, false);
        self.walk(&value, &mut own, &mut theirs)?;
        Some(match (own, theirs) {
            (_, false) => Side::Row,
            (false, true) => Side::From,
            (true, true) => Side::Both,
        })
    }

    fn walk(&self, value: &Value, own: &mut bool, theirs: &mut bool) -> Option<()> {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    match name.as_str() {
                        // A query has names of its own; a collation that stands in the condition would
                        // no longer be explicit in the join.
                        "SubLink" | "CollateClause" | "ParamRef" => return None,
                        "ColumnRef" => match self.meaning(field)? {
                            Side::Row => *own = true,
                            _ => *theirs = true,
                        },
                        _ => self.walk(field, own, theirs)?,
                    }
                }
                Some(())
            }
            Value::Array(items) => items
                .iter()
                .try_for_each(|item| self.walk(item, own, theirs).ok_or(()))
                .ok(),
            _ => Some(()),
        }
    }

    /// PostgreSQL refuses a name that both sides have, so one of the target's that stands alone is its.
    fn meaning(&self, reference: &Value) -> Option<Side> {
        let fields = reference["fields"].as_array()?;
        let names: Vec<&str> = fields
            .iter()
            .map(|field| field["node"]["String"]["sval"].as_str())
            .collect::<Option<_>>()?;
        match names.as_slice() {
            [column] => self
                .columns
                .iter()
                .any(|c| c == column)
                .then_some(Side::Row),
            [table, _] if *table == self.alias => Some(Side::Row),
            [table, _] if self.from.contains(*table) => Some(Side::From),
            _ => None,
        }
    }
}

/// What must be equal.
struct Key {
    /// Of the row at hand.
    own: String,
    /// Of FROM.
    theirs: String,
    /// The same without the table's name.
    plain: String,
}

/// A condition's parts.
#[derive(Default)]
struct Parts {
    keys: Vec<Key>,
    /// Conditions on the row at hand alone.
    own: Vec<String>,
    /// Conditions on FROM alone.
    theirs: Vec<String>,
}

impl Parts {
    fn take(&mut self, condition: &Node, names: &Names<'_>) -> Option<()> {
        let bracketed = || Some(format!("({})", expression(condition).ok()?));
        match names.side(condition)? {
            Side::Row => self.own.push(bracketed()?),
            Side::From => self.theirs.push(bracketed()?),
            Side::Both => self.keys.push(key(condition, names)?),
        }
        Some(())
    }
}

/// An equality of something of the row at hand with something of FROM.
fn key(condition: &Node, names: &Names<'_>) -> Option<Key> {
    let Some(NodeEnum::AExpr(equality)) = &condition.node else {
        return None;
    };
    let operator = equality.name.first()?.node.as_ref()?;
    let is_equals = equality.kind == AExprKind::AexprOp as i32
        && equality.name.len() == 1
        && matches!(operator, NodeEnum::String(name) if name.sval == "=");
    let (left, right) = (equality.lexpr.as_deref()?, equality.rexpr.as_deref()?);
    // Rows are compared column by column, and have no type of their own.
    let is_row = |node: &Node| matches!(node.node, Some(NodeEnum::RowExpr(_)));
    if !is_equals || is_row(left) || is_row(right) {
        return None;
    }
    let (own, theirs) = match (names.side(left)?, names.side(right)?) {
        (Side::Row, Side::From) => (left, right),
        (Side::From, Side::Row) => (right, left),
        _ => return None,
    };
    let text = |node| Some(format!("({})", expression(node).ok()?));
    Some(Key {
        own: text(own)?,
        theirs: text(theirs)?,
        plain: plain(theirs)?,
    })
}

/// An expression without the names of tables.
fn plain(node: &Node) -> Option<String> {
    let mut node = node.clone();
    unqualify(&mut node)?;
    expression(&node).ok()
}

/// `None` for what is rarely found in the key of an index.
fn unqualify(node: &mut Node) -> Option<()> {
    match node.node.as_mut()? {
        NodeEnum::ColumnRef(column) => {
            column.fields.drain(..column.fields.len().saturating_sub(1));
            Some(())
        }
        NodeEnum::AExpr(both) => [&mut both.lexpr, &mut both.rexpr]
            .into_iter()
            .flatten()
            .try_for_each(|side| unqualify(side).ok_or(()))
            .ok(),
        NodeEnum::FuncCall(call) => call
            .args
            .iter_mut()
            .try_for_each(|argument| unqualify(argument).ok_or(()))
            .ok(),
        NodeEnum::TypeCast(cast) => unqualify(cast.arg.as_mut()?),
        NodeEnum::AConst(_) => Some(()),
        _ => None,
    }
}
