//! What WHERE spares. PostgreSQL asks a condition on the target alone while it scans the target, the
//! cheaper ones first (`order_qual_clauses` in its planner), and joins only the rows that are left. In
//! the outer join of a pass every row takes part, so what the join computes from the row at hand is
//! computed here only where those conditions hold: `t.kind = 'id' AND t.value::integer = u.id` must not
//! ask for the number of what is none.

use std::collections::BTreeSet;

use pg_query::{
    Node, NodeEnum,
    protobuf::{
        AExpr, AExprKind, BoolExpr, BoolExprType, CaseExpr, CaseWhen, ColumnRef, FuncCall,
        JoinExpr, String as Name,
    },
};

use crate::compile::{model::Joins, sql::expression};

/// WHERE, taken apart.
pub(super) struct Spare<'a> {
    /// What the statement calls the row at hand.
    hands: Vec<&'a str>,
    /// Its columns.
    columns: &'a [String],
    /// Conditions on the row at hand alone.
    alone: Vec<Node>,
    /// The others.
    joining: Vec<Node>,
}

/// What an expression is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// Constants.
    Nothing,
    Hand,
    Others,
    Both,
    /// Nobody looked into all of it.
    Unknown,
}

impl<'a> Spare<'a> {
    /// `alias` is what the statement calls its target, `columns` the target's columns at this point.
    pub(super) fn of(
        condition: Option<&Node>,
        joins: &'a Joins,
        alias: &'a str,
        columns: &'a [String],
    ) -> Self {
        let mut spare = Self {
            hands: joins.at_hand.iter().map(String::as_str).collect(),
            columns,
            alone: Vec::new(),
            joining: Vec::new(),
        };
        spare.hands.push(alias);
        let mut parts = Vec::new();
        if let Some(condition) = condition {
            conjuncts(condition, &mut parts);
        }
        parts.sort_by_key(|part| cost(part, &joins.promises));
        for part in parts {
            match spare.from(&part) {
                From::Hand | From::Nothing => spare.alone.push(part),
                _ => spare.joining.push(part),
            }
        }
        spare
    }

    /// All of it, in the order in which PostgreSQL would ask; `None` where there is no WHERE.
    pub(super) fn condition(&self) -> Result<Option<String>, String> {
        let both = both(self.alone.iter().chain(&self.joining).cloned().collect());
        both.as_ref().map(expression).transpose()
    }

    /// All of it as the condition of an outer join.
    pub(super) fn joined(&self) -> Result<Option<String>, String> {
        let both = both(self.joined_parts());
        both.as_ref().map(expression).transpose()
    }

    /// The parts of that condition, all of which have to hold.
    pub(super) fn joined_parts(&self) -> Vec<Node> {
        let guard = self.guard(None);
        let mut joining = self.joining.clone();
        for part in &mut joining {
            self.spare(part, guard.as_ref());
        }
        self.alone.iter().cloned().chain(joining).collect()
    }

    /// Guards the conditions of joins within FROM, where the row at hand is one of those joined.
    pub(super) fn within(&self, item: &mut Node) {
        if let Some(NodeEnum::JoinExpr(join)) = &mut item.node {
            self.within_join(join);
        }
    }

    fn within_join(&self, join: &mut JoinExpr) {
        for side in [&mut join.larg, &mut join.rarg].into_iter().flatten() {
            self.within(side);
        }
        let sides = [&join.larg, &join.rarg].into_iter().flatten();
        let hand = sides.filter_map(|side| self.hand_in(side)).next();
        let (Some(hand), Some(condition)) = (hand, join.quals.as_deref()) else {
            return;
        };
        let Some(guard) = self.guard(Some(&hand)) else {
            return;
        };
        let mut parts = Vec::new();
        conjuncts(condition, &mut parts);
        for part in &mut parts {
            self.spare(part, Some(&guard));
        }
        join.quals = both(parts).map(Box::new);
    }

    /// What an item of FROM calls the row at hand.
    fn hand_in(&self, item: &Node) -> Option<String> {
        match item.node.as_ref()? {
            NodeEnum::JoinExpr(join) => {
                let sides = [&join.larg, &join.rarg].into_iter().flatten();
                sides.filter_map(|side| self.hand_in(side)).next()
            }
            NodeEnum::RangeSubselect(query) if query.lateral => {
                let name = &query.alias.as_ref()?.aliasname;
                self.hands.contains(&name.as_str()).then(|| name.clone())
            }
            _ => None,
        }
    }

    /// The conditions that spare, in terms of one name of the row at hand.
    fn guard(&self, hand: Option<&str>) -> Option<Node> {
        let telling = self.alone.iter().filter(|part| !is_same_row(part));
        let mut parts: Vec<Node> = telling.cloned().collect();
        if let Some(hand) = hand {
            for part in &mut parts {
                columns_of(part, &mut |column| rename(column, hand));
            }
        }
        both(parts)
    }

    /// Lets a condition compute from the row at hand only where the guard holds.
    fn spare(&self, part: &mut Node, guard: Option<&Node>) {
        let Some(guard) = guard else {
            return;
        };
        // What nobody looked into may compute anything.
        if matches!(self.from(part), From::Others | From::Nothing) || is_harmless(part) {
            return;
        }
        if let Some(NodeEnum::AExpr(comparison)) = &mut part.node
            && comparison.kind == AExprKind::AexprOp as i32
            && let (Some(left), Some(right)) = (&mut comparison.lexpr, &mut comparison.rexpr)
        {
            // Each side by itself, so that PostgreSQL can still hash or look it up; but not a row, whose
            // columns it would no longer compare one by one.
            let is_row = |node: &Node| matches!(node.node, Some(NodeEnum::RowExpr(_)));
            let side = match (self.from(left), self.from(right)) {
                _ if is_row(left) || is_row(right) => None,
                (From::Hand, From::Others) => Some(left),
                (From::Others, From::Hand) => Some(right),
                _ => None,
            };
            if let Some(side) = side {
                if !is_harmless(side) {
                    **side = only_where(guard, side);
                }
                return;
            }
        }
        *part = only_where(guard, part);
    }

    fn from(&self, node: &Node) -> From {
        let (mut hand, mut others) = (false, false);
        let known = columns_of(&mut node.clone(), &mut |column| {
            let names: Vec<&str> = column.fields.iter().filter_map(name).collect();
            let own = match names.as_slice() {
                [column] => self.columns.iter().any(|own| own == column),
                [table, _] => self.hands.contains(table),
                _ => false,
            };
            hand |= own;
            others |= !own;
        });
        match (known, hand, others) {
            (false, ..) => From::Unknown,
            (true, true, true) => From::Both,
            (true, true, false) => From::Hand,
            (true, false, true) => From::Others,
            (true, false, false) => From::Nothing,
        }
    }
}

/// The parts of a condition that all have to hold.
fn conjuncts(condition: &Node, parts: &mut Vec<Node>) {
    match &condition.node {
        Some(NodeEnum::BoolExpr(e)) if e.boolop == BoolExprType::AndExpr as i32 => {
            for part in &e.args {
                conjuncts(part, parts);
            }
        }
        _ => parts.push(condition.clone()),
    }
}

fn both(mut parts: Vec<Node>) -> Option<Node> {
    if parts.len() < 2 {
        return parts.pop();
    }
    Some(Node {
        node: Some(NodeEnum::BoolExpr(Box::new(BoolExpr {
            xpr: None,
            boolop: BoolExprType::AndExpr as i32,
            args: parts,
            location: -1,
        }))),
    })
}

/// `CASE WHEN guard THEN value END`
fn only_where(guard: &Node, value: &Node) -> Node {
    let when = CaseWhen {
        expr: Some(Box::new(guard.clone())),
        result: Some(Box::new(value.clone())),
        ..CaseWhen::default()
    };
    let case = CaseExpr {
        args: vec![Node {
            node: Some(NodeEnum::CaseWhen(Box::new(when))),
        }],
        ..CaseExpr::default()
    };
    Node {
        node: Some(NodeEnum::CaseExpr(Box::new(case))),
    }
}

/// `a.id = b.id`, which spares nobody.
fn is_same_row(part: &Node) -> bool {
    let last = |node: &Option<Box<Node>>| match node.as_deref()?.node.as_ref()? {
        NodeEnum::ColumnRef(column) => column.fields.last().and_then(name).map(str::to_owned),
        _ => None,
    };
    match &part.node {
        Some(NodeEnum::AExpr(e)) if is_comparison(e) => {
            let (left, right) = (last(&e.lexpr), last(&e.rexpr));
            left.is_some() && left == right
        }
        _ => false,
    }
}

pub(super) fn name(field: &Node) -> Option<&str> {
    match field.node.as_ref()? {
        NodeEnum::String(name) => Some(&name.sval),
        _ => None,
    }
}

/// Puts another name of the table before a column.
fn rename(column: &mut ColumnRef, table: &str) {
    let last = column.fields.pop();
    let table = Node {
        node: Some(NodeEnum::String(Name {
            sval: table.to_owned(),
        })),
    };
    column.fields = std::iter::once(table).chain(last).collect();
}

fn is_comparison(e: &AExpr) -> bool {
    let operator = e.name.last().and_then(name);
    matches!(operator, Some("=" | "<>" | "<" | ">" | "<=" | ">="))
}

/// What cannot fail, whatever the columns hold, as long as their types are PostgreSQL's own.
fn is_harmless(node: &Node) -> bool {
    let any = |node: &Option<Box<Node>>| node.as_deref().is_none_or(is_harmless);
    match &node.node {
        Some(NodeEnum::ColumnRef(_) | NodeEnum::AConst(_) | NodeEnum::ParamRef(_)) => true,
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().is_some_and(is_constant),
        Some(NodeEnum::AExpr(e)) => is_comparison(e) && any(&e.lexpr) && any(&e.rexpr),
        Some(NodeEnum::BoolExpr(e)) => e.args.iter().all(is_harmless),
        Some(NodeEnum::List(list)) => list.items.iter().all(is_harmless),
        Some(NodeEnum::NullTest(e)) => any(&e.arg),
        Some(NodeEnum::BooleanTest(e)) => any(&e.arg),
        _ => false,
    }
}

fn is_constant(node: &Node) -> bool {
    matches!(node.node, Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_)))
}

/// What PostgreSQL takes the evaluation of an expression to cost, in calls of a function: nothing else
/// decides in which order it asks several conditions.
fn cost(node: &Node, promises: &BTreeSet<String>) -> u32 {
    /// More than any expression without a subquery.
    const SUBQUERY: u32 = 100_000;
    /// What CREATE FUNCTION gives a function that is not in C and says nothing of its cost.
    const PROMISED: u32 = 100;
    let any = |node: &Option<Box<Node>>| node.as_deref().map_or(0, |node| cost(node, promises));
    let all = |nodes: &[Node]| nodes.iter().map(|node| cost(node, promises)).sum::<u32>();
    match &node.node {
        None | Some(NodeEnum::ColumnRef(_) | NodeEnum::AConst(_) | NodeEnum::ParamRef(_)) => 0,
        Some(NodeEnum::TypeCast(cast)) => match cast.arg.as_deref() {
            Some(constant) if is_constant(constant) => 0,
            // Out of the one type as text, and into the other.
            _ => 2 + any(&cast.arg),
        },
        Some(NodeEnum::AExpr(e)) => {
            let listed = match e.rexpr.as_deref().and_then(|right| right.node.as_ref()) {
                Some(NodeEnum::List(list)) if e.kind == AExprKind::AexprIn as i32 => {
                    u32::try_from(list.items.len()).unwrap_or(u32::MAX) / 2
                }
                _ => 1,
            };
            listed.max(1) + any(&e.lexpr) + any(&e.rexpr)
        }
        Some(NodeEnum::FuncCall(call)) => {
            let called = call.funcname.last().and_then(name).unwrap_or_default();
            let promised = promises.contains(&format!("{called}()"));
            all(&call.args) + if promised { PROMISED } else { 1 }
        }
        Some(NodeEnum::BoolExpr(e)) => all(&e.args),
        Some(NodeEnum::List(list)) => all(&list.items),
        Some(NodeEnum::NullTest(e)) => any(&e.arg),
        Some(NodeEnum::BooleanTest(e)) => any(&e.arg),
        Some(NodeEnum::CoalesceExpr(e)) => all(&e.args),
        Some(NodeEnum::MinMaxExpr(e)) => 1 + all(&e.args),
        Some(NodeEnum::CollateClause(e)) => any(&e.arg),
        Some(NodeEnum::CaseExpr(e)) => any(&e.arg) + all(&e.args) + any(&e.defresult),
        Some(NodeEnum::CaseWhen(e)) => any(&e.expr) + any(&e.result),
        Some(_) => SUBQUERY,
    }
}

/// Calls `each` for the columns in an expression; `false` where not all of it can be looked into.
pub(super) fn columns_of(node: &mut Node, each: &mut dyn FnMut(&mut ColumnRef)) -> bool {
    let mut parts: Vec<&mut Node> = Vec::new();
    match &mut node.node {
        None
        | Some(
            NodeEnum::AConst(_)
            | NodeEnum::ParamRef(_)
            | NodeEnum::SqlvalueFunction(_)
            | NodeEnum::String(_),
        ) => {}
        Some(NodeEnum::ColumnRef(column)) => each(column),
        Some(NodeEnum::TypeCast(e)) => parts.extend(e.arg.as_deref_mut()),
        Some(NodeEnum::AExpr(e)) => {
            parts.extend(e.lexpr.as_deref_mut());
            parts.extend(e.rexpr.as_deref_mut());
        }
        Some(NodeEnum::FuncCall(call)) if is_plain(call) => parts.extend(&mut call.args),
        Some(NodeEnum::BoolExpr(e)) => parts.extend(&mut e.args),
        Some(NodeEnum::List(list)) => parts.extend(&mut list.items),
        Some(NodeEnum::NullTest(e)) => parts.extend(e.arg.as_deref_mut()),
        Some(NodeEnum::BooleanTest(e)) => parts.extend(e.arg.as_deref_mut()),
        Some(NodeEnum::CoalesceExpr(e)) => parts.extend(&mut e.args),
        Some(NodeEnum::MinMaxExpr(e)) => parts.extend(&mut e.args),
        Some(NodeEnum::AArrayExpr(e)) => parts.extend(&mut e.elements),
        Some(NodeEnum::RowExpr(e)) => parts.extend(&mut e.args),
        Some(NodeEnum::AIndirection(e)) => {
            parts.extend(e.arg.as_deref_mut());
            parts.extend(&mut e.indirection);
        }
        Some(NodeEnum::AIndices(e)) => {
            parts.extend(e.lidx.as_deref_mut());
            parts.extend(e.uidx.as_deref_mut());
        }
        Some(NodeEnum::CollateClause(e)) => parts.extend(e.arg.as_deref_mut()),
        Some(NodeEnum::CaseExpr(e)) => {
            parts.extend(e.arg.as_deref_mut());
            parts.extend(&mut e.args);
            parts.extend(e.defresult.as_deref_mut());
        }
        Some(NodeEnum::CaseWhen(e)) => {
            parts.extend(e.expr.as_deref_mut());
            parts.extend(e.result.as_deref_mut());
        }
        Some(_) => return false,
    }
    parts.into_iter().all(|part| columns_of(part, each))
}

/// A call with nothing but arguments.
fn is_plain(call: &FuncCall) -> bool {
    call.agg_order.is_empty() && call.agg_filter.is_none() && call.over.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::sql::parse;

    fn spared(condition: &str) -> String {
        let tree = parse(&format!("SELECT 1 WHERE {condition}")).expect("it is SQL");
        let Some(NodeEnum::SelectStmt(select)) = tree else {
            panic!("no SELECT");
        };
        let joins = Joins {
            at_hand: vec!["b".to_owned()],
            ..Joins::default()
        };
        let columns = ["id".to_owned(), "kind".to_owned(), "value".to_owned()];
        let spare = Spare::of(select.where_clause.as_deref(), &joins, "t", &columns);
        spare.joined().expect("it can be written").expect("a WHERE")
    }

    #[test]
    fn what_the_join_computes_of_the_row_at_hand_is_guarded() {
        let table = [
            // Columns cannot fail.
            (
                "t.id = u.id AND t.kind = 'x'",
                "t.kind = 'x' AND t.id = u.id",
            ),
            (
                "value::int = u.id AND kind = 'x'",
                "kind = 'x' AND CASE WHEN kind = 'x' THEN value::int END = u.id",
            ),
            (
                "u.id = b.value::int AND t.id = b.id",
                "t.id = b.id AND u.id = b.value::int",
            ),
            (
                "u.id + t.value::int = 3 AND kind = 'x'",
                "kind = 'x' AND CASE WHEN kind = 'x' THEN u.id + t.value::int = 3 END",
            ),
            (
                "u.name::int = t.id AND kind = 'x'",
                "kind = 'x' AND u.name::int = t.id",
            ),
            (
                "(b.value::int, 1) = (u.id, 1) AND kind = 'x'",
                "kind = 'x' AND CASE WHEN kind = 'x' THEN (b.value::int, 1) = (u.id, 1) END",
            ),
            // What costs more is asked later, as PostgreSQL does.
            (
                "value::int > 5 AND value ~ '^[0-9]+$'",
                "value ~ '^[0-9]+$' AND value::int > 5",
            ),
            (
                "t.id = u.id AND EXISTS (SELECT 1) AND kind IS NULL",
                "kind IS NULL AND t.id = u.id AND CASE WHEN kind IS NULL THEN EXISTS (SELECT 1) END",
            ),
        ];
        for (condition, expected) in table {
            assert_eq!(spared(condition), expected, "{condition}");
        }
    }
}
