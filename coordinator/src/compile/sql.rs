//! SQL as a parse tree, and back: PostgreSQL's own parser and deparser, which belong to no stage.

use pg_query::{
    Node, NodeEnum,
    protobuf::{ParseResult, RawStmt, ResTarget, SelectStmt},
};

/// The parse tree of one statement.
pub(crate) fn parse(sql: &str) -> Result<Option<NodeEnum>, String> {
    let mut result = pg_query::parse(sql, 0).map_err(|e| e.to_string())?;
    let statement = result.protobuf.stmts.pop().and_then(|raw| raw.stmt);
    Ok(statement.and_then(|node| node.node))
}

/// Writes a parse tree out as SQL.
pub(crate) fn deparse(node: NodeEnum) -> Result<String, String> {
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

/// The parse tree of one expression.
pub(crate) fn value(sql: &str) -> Result<Node, String> {
    let target = match parse(&format!("SELECT {sql}"))? {
        Some(NodeEnum::SelectStmt(select)) => select.target_list.into_iter().next(),
        _ => None,
    };
    let value = match target.and_then(|target| target.node) {
        Some(NodeEnum::ResTarget(target)) => target.val.map(|value| *value),
        _ => None,
    };
    value.ok_or_else(|| "an expression could not be read: please report this".to_owned())
}

/// An expression as SQL.
pub(crate) fn expression(node: &Node) -> Result<String, String> {
    let target = ResTarget {
        val: Some(Box::new(node.clone())),
        ..ResTarget::default()
    };
    let Some(NodeEnum::SelectStmt(select)) = parse("SELECT 1")? else {
        return Err("an expression could not be written: please report this".to_owned());
    };
    let select = SelectStmt {
        target_list: vec![Node {
            node: Some(NodeEnum::ResTarget(Box::new(target))),
        }],
        ..*select
    };
    let text = deparse(NodeEnum::SelectStmt(Box::new(select)))?;
    text.strip_prefix("SELECT ")
        .map(str::to_owned)
        .ok_or_else(|| "an expression could not be written: please report this".to_owned())
}
