//! SQL as a parse tree, and back: PostgreSQL's own parser and deparser, for whoever makes statements of
//! statements.

use pg_query::{
    Node, NodeEnum,
    protobuf::{BoolExpr, BoolExprType, ParseResult, RawStmt, SelectStmt},
};

use super::grammar;

/// The parse tree of one statement; the last one, where there are several, and `None` where there is none.
///
/// # Errors
/// With what stands in the way, in words.
pub fn parse(sql: &str) -> Result<Option<NodeEnum>, String> {
    let mut result = grammar::parse(sql).map_err(|e| e.to_string())?.protobuf;
    let statement = result.stmts.pop().and_then(|raw| raw.stmt);
    Ok(statement.and_then(|node| node.node))
}

/// Writes a parse tree out as SQL.
///
/// # Errors
/// With what the deparser does not know.
pub fn deparse(node: NodeEnum) -> Result<String, String> {
    let statement = RawStmt {
        stmt: Some(Box::new(Node { node: Some(node) })),
        stmt_location: 0,
        stmt_len: 0,
    };
    let tree = ParseResult {
        version: 0,
        stmts: vec![statement],
    };
    pg_query::deparse(&tree, pg_query::DeparseOptions::default()).map_err(|e| e.to_string())
}

/// A SELECT of a list of expressions.
///
/// # Errors
/// Where that is none.
pub fn select(list: &str) -> Result<Box<SelectStmt>, String> {
    match parse(&format!("SELECT {list}"))? {
        Some(NodeEnum::SelectStmt(select)) => Ok(select),
        _ => Err(format!(
            "SELECT {list} could not be read: please report this"
        )),
    }
}

/// Both conditions, where there are both.
#[must_use]
pub fn and(first: Option<Box<Node>>, second: Option<Box<Node>>) -> Option<Box<Node>> {
    let (first, second) = match (first, second) {
        (Some(first), Some(second)) => (first, second),
        (one, other) => return one.or(other),
    };
    let both = BoolExpr {
        xpr: None,
        boolop: BoolExprType::AndExpr as i32,
        args: vec![*first, *second],
        location: -1,
    };
    Some(Box::new(Node {
        node: Some(NodeEnum::BoolExpr(Box::new(both))),
    }))
}
