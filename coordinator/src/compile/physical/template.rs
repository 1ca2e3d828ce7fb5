//! Templates of statements: the parse tree of what the author wrote, with a key range, RETURNING and
//! parameters grafted onto it, and written out again by PostgreSQL's own deparser.

use std::{cell::RefCell, collections::HashMap};

use pg_query::{Node, NodeEnum, protobuf::ReturningClause};
pub(in crate::compile) use upshift_shared::plan::key_range;

use crate::compile::{
    model::{AnalysedStep, NowCall},
    sql::{and, parse},
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
    Ok(and(existing, select.where_clause))
}

#[cfg(test)]
mod tests {
    use super::*;

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
