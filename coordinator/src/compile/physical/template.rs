//! Templates of statements: the parse tree of what the author wrote, with a key range, RETURNING and
//! parameters grafted onto it, and written out again by PostgreSQL's own deparser.

use std::{cell::RefCell, collections::HashMap};

use pg_query::{
    Node, NodeEnum,
    protobuf::{BoolExpr, BoolExprType, ReturningClause, SelectStmt},
};
use upshift_shared::{pg::ident::ident, plan::KeyColumn};

use crate::compile::{
    model::{AnalysedStep, NowCall},
    sql::parse,
};

/// The parse tree of a step, with `now()` and its kin replaced by the first parameter.
pub(in crate::compile) fn tree(step: &AnalysedStep, sql: &str) -> Result<NodeEnum, String> {
    let node = if step.bound.now_calls.is_empty() {
        step.parsed.as_deref().and_then(|node| node.node.clone())
    } else {
        parse(&pinned(sql, &step.bound.now_calls))?
    };
    node.ok_or_else(|| "the statement has no parse tree: please report this".to_owned())
}

/// The statement's text with `now()` and its kin replaced.
pub(super) fn pinned(sql: &str, calls: &[NowCall]) -> String {
    let mut calls: Vec<&NowCall> = calls.iter().collect();
    calls.sort_by_key(|call| call.start);
    let mut text = String::with_capacity(sql.len() + calls.len() * 32);
    let mut position = 0;
    for call in calls {
        text.push_str(&sql[position..call.start]);
        text.push_str(&call.replacement);
        position = call.end;
    }
    text.push_str(&sql[position..]);
    text
}

/// So many parsed pieces are remembered; a pack writes the same tables over and over.
const REMEMBERED: usize = 10_000;

thread_local! {
    static PIECES: RefCell<HashMap<String, Option<NodeEnum>>> = RefCell::default();
}

/// The same as [`parse`], for pieces that recur: parsing one takes longer than all else that a template
/// needs. Every thread has its own, so that none waits.
fn parse_piece(sql: String) -> Result<Option<NodeEnum>, String> {
    if let Some(known) = PIECES.with_borrow(|pieces| pieces.get(&sql).cloned()) {
        return Ok(known);
    }
    let parsed = parse(&sql)?;
    PIECES.with_borrow_mut(|pieces| {
        if pieces.len() >= REMEMBERED {
            pieces.clear();
        }
        pieces.insert(sql, parsed.clone());
    });
    Ok(parsed)
}

/// A SELECT of a list of expressions.
pub(super) fn select(list: &str) -> Result<Box<SelectStmt>, String> {
    match parse(&format!("SELECT {list}"))? {
        Some(NodeEnum::SelectStmt(select)) => Ok(select),
        _ => Err("the query of the rows could not be built: please report this".to_owned()),
    }
}

/// A RETURNING clause from its SQL text.
pub(super) fn returning(list: &str) -> Result<ReturningClause, String> {
    match parse_piece(format!("DELETE FROM x RETURNING {list}"))? {
        Some(NodeEnum::DeleteStmt(statement)) => statement.returning_clause,
        _ => None,
    }
    .ok_or_else(|| "RETURNING could not be built: please report this".to_owned())
}

/// `existing AND predicate`.
pub(super) fn conjoin(
    existing: Option<Box<Node>>,
    predicate: &str,
) -> Result<Option<Box<Node>>, String> {
    let Some(NodeEnum::SelectStmt(select)) = parse_piece(format!("SELECT 1 WHERE {predicate}"))?
    else {
        return Err("the key range could not be built: please report this".to_owned());
    };
    let range = select.where_clause;
    let (Some(existing), Some(range)) = (existing, range.clone()) else {
        return Ok(range);
    };
    let both = BoolExpr {
        xpr: None,
        boolop: BoolExprType::AndExpr as i32,
        args: vec![*existing, *range],
        location: -1,
    };
    Ok(Some(Box::new(Node {
        node: Some(NodeEnum::BoolExpr(Box::new(both))),
    })))
}

/// The condition that cuts a statement by `(lower, upper]`. Bounds are text parameters, one for each
/// key column, from `$first` on: NULL means no bound. A custom plan folds the NULL test away, so what
/// is left is an index condition.
pub(in crate::compile) fn key_range(alias: &str, key: &[KeyColumn], first: usize) -> String {
    let side = |operator: &str, first: usize| {
        let columns: Vec<String> = key
            .iter()
            .map(|column| format!("{}.{}", ident(alias), ident(&column.name)))
            .collect();
        let bounds: Vec<String> = key
            .iter()
            .enumerate()
            .map(|(i, column)| format!("CAST(${}::text AS {})", first + i, column.type_name))
            .collect();
        let (columns, bounds) = match key.len() {
            1 => (columns.join(", "), bounds.join(", ")),
            _ => (
                format!("ROW({})", columns.join(", ")),
                format!("ROW({})", bounds.join(", ")),
            ),
        };
        format!("(${first}::text IS NULL OR {columns} {operator} {bounds})")
    };
    format!("{} AND {}", side(">", first), side("<=", first + key.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_row_wise_for_composite_keys() {
        let column = |name: &str, type_name: &str| KeyColumn {
            name: name.to_owned(),
            type_name: type_name.to_owned(),
        };
        assert_eq!(
            key_range("a", &[column("id", "integer")], 2),
            "($2::text IS NULL OR \"a\".\"id\" > CAST($2::text AS integer)) AND \
             ($3::text IS NULL OR \"a\".\"id\" <= CAST($3::text AS integer))"
        );
        assert_eq!(
            key_range("a", &[column("x", "text"), column("y", "date")], 1),
            "($1::text IS NULL OR ROW(\"a\".\"x\", \"a\".\"y\") > ROW(CAST($1::text AS text), \
             CAST($2::text AS date))) AND ($3::text IS NULL OR ROW(\"a\".\"x\", \"a\".\"y\") <= \
             ROW(CAST($3::text AS text), CAST($4::text AS date)))"
        );
    }

    #[test]
    fn now_is_replaced_in_place() {
        let call = NowCall {
            start: 7,
            end: 12,
            replacement: "($1::text::timestamptz)".to_owned(),
        };
        assert_eq!(
            pinned("SELECT now(), 'now()'", &[call]),
            "SELECT ($1::text::timestamptz), 'now()'"
        );
    }
}
