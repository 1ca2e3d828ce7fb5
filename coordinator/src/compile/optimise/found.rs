//! FROM of an UPDATE whose rows are only looked for: what it assigns is the same whichever of them a row
//! meets, and however many, so it is enough to know whether there is one.
//!
//! `UPDATE t SET gap = false FROM t b WHERE t.journal = b.journal AND t.number = b.number + 1` becomes a
//! left join with the distinct pairs `(b.journal, b.number + 1)`: the planner hashes or merges them, and no
//! row comes twice. Where an index finds a row by just these, it is asked for each row instead.

use std::collections::{BTreeMap, BTreeSet};

use pg_query::{
    Node, NodeEnum,
    protobuf::{AExprKind, ColumnRef, UpdateStmt, a_const},
};
use upshift_shared::catalog::{Column, Relation};

use super::{
    cast,
    from::{MARK, item_text},
    spare::{Spare, columns_of, name},
};
use crate::compile::{model::Joins, sql::expression};

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
/// columns at this point, as `table` has them.
pub(super) fn found(
    statement: &UpdateStmt,
    joins: &Joins,
    (alias, columns): (&str, &[String]),
    (spare, table): (&Spare<'_>, &Relation),
) -> Result<Found, String> {
    let several = || "a row may meet several rows of its FROM".to_owned();
    let from = joins.from.as_ref().ok_or_else(several)?;
    if !joins.volatile.is_empty() || !joins.at_hand.is_empty() {
        return Err(several());
    }
    let mut aliases = BTreeSet::new();
    for item in &statement.from_clause {
        named(item, &mut aliases).ok_or_else(several)?;
    }
    let names = Names {
        alias,
        columns,
        aliases: &aliases,
        table,
        from,
    };
    let own = |target: &Node| match &target.node {
        Some(NodeEnum::ResTarget(target)) => match target.val.as_deref() {
            Some(value) if matches!(value.node, Some(NodeEnum::SetToDefault(_))) => true,
            Some(value) => names.side(value) == Some(Side::Row),
            None => false,
        },
        _ => false,
    };
    if !statement.target_list.iter().all(own) {
        return Err(format!("{}, of which it assigns values", several()));
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
    by_distinct(statement, parts, mark)
}

/// The distinct keys of FROM.
fn by_distinct(statement: &UpdateStmt, parts: Parts, mark: String) -> Result<Found, String> {
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
        on: match on.is_empty() {
            true => "true".to_owned(),
            false => on.join(" AND "),
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
    aliases: &'a BTreeSet<String>,
    table: &'a Relation,
    from: &'a BTreeMap<(String, String), Column>,
}

impl<'a> Names<'a> {
    /// Whose columns an expression reads; `None` where that is not plain to see.
    fn side(&self, node: &Node) -> Option<Side> {
        let (mut own, mut theirs, mut known) = (false, false, true);
        let looked = columns_of(
            &mut node.clone(),
            &mut |column| match self.meaning(column) {
                Some(Side::Row) => own = true,
                Some(_) => theirs = true,
                None => known = false,
            },
        );
        (looked && known).then_some(match (own, theirs) {
            (_, false) => Side::Row,
            (false, true) => Side::From,
            (true, true) => Side::Both,
        })
    }

    /// PostgreSQL refuses a name that both sides have, so one of the target's that stands alone is its.
    fn meaning(&self, reference: &ColumnRef) -> Option<Side> {
        let names: Vec<&str> = reference.fields.iter().map(name).collect::<Option<_>>()?;
        match names.as_slice() {
            [column] => self
                .columns
                .iter()
                .any(|c| c == column)
                .then_some(Side::Row),
            [table, _] if *table == self.alias => Some(Side::Row),
            [table, _] if self.aliases.contains(*table) => Some(Side::From),
            _ => None,
        }
    }

    /// By which equality values are told apart; `None` where that is not plain to see.
    fn equality(&self, node: &Node) -> Option<(&'a str, Option<&'a str>)> {
        match node.node.as_ref()? {
            NodeEnum::ColumnRef(reference) => {
                let names: Vec<&str> = reference.fields.iter().map(name).collect::<Option<_>>()?;
                let column = match (names.as_slice(), self.meaning(reference)?) {
                    ([.., column], Side::Row) => self.table.column(column)?,
                    ([table, column], Side::From) => {
                        let place = ((*table).to_owned(), (*column).to_owned());
                        self.from.get(&place)?
                    }
                    _ => return None,
                };
                Some((class_of(&column.type_name)?, column.collation.as_deref()))
            }
            // `number + 1`
            NodeEnum::AExpr(sum) if sum.kind == AExprKind::AexprOp as i32 => {
                let constant = match sum.rexpr.as_deref()?.node.as_ref()? {
                    NodeEnum::AConst(constant) => constant.val.as_ref()?,
                    _ => return None,
                };
                let operator = sum.name.last().and_then(name);
                let shifts = matches!(operator, Some("+" | "-")) && sum.name.len() == 1;
                let of = self.equality(sum.lexpr.as_deref()?)?;
                let whole = matches!(constant, a_const::Val::Ival(_)) && of.0 == INTEGER;
                (shifts && whole).then_some(of)
            }
            // What is computed only where WHERE does not spare it.
            NodeEnum::CaseExpr(case) if case.defresult.is_none() => match case.args.as_slice() {
                [
                    Node {
                        node: Some(NodeEnum::CaseWhen(only)),
                    },
                ] => self.equality(only.result.as_deref()?),
                _ => None,
            },
            _ => None,
        }
    }
}

const INTEGER: &str = "integer";

/// Types that are told apart by one and the same equality, which can be hashed and sorted by: those of
/// both sides have to be of one class, or DISTINCT would keep two values that the condition takes for one
/// (0.1::numeric and 0.10000000000000000001, as double precision), and no index would find them.
fn class_of(type_name: &str) -> Option<&'static str> {
    const CLASSES: &[(&str, &str)] = &[
        ("bigint", INTEGER),
        ("boolean", "boolean"),
        ("bytea", "bytea"),
        ("character", "character"),
        ("character varying", "text"),
        ("date", "date"),
        ("double precision", "double precision"),
        ("integer", INTEGER),
        ("numeric", "numeric"),
        ("oid", "oid"),
        ("real", "real"),
        ("smallint", INTEGER),
        ("text", "text"),
        ("timestamp with time zone", "timestamp with time zone"),
        ("timestamp without time zone", "timestamp without time zone"),
        ("uuid", "uuid"),
    ];
    let base = cast::base(type_name);
    let class = CLASSES.iter().find(|(name, _)| *name == base)?;
    Some(class.1)
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
    if !is_equals {
        return None;
    }
    let (own, theirs) = match (names.side(left)?, names.side(right)?) {
        (Side::Row, Side::From) => (left, right),
        (Side::From, Side::Row) => (right, left),
        _ => return None,
    };
    if names.equality(own)? != names.equality(theirs)? {
        return None;
    }
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
