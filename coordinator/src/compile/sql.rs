//! SQL as a parse tree, and back, which belongs to no stage.

use pg_query::{
    Node, NodeEnum,
    protobuf::{ResTarget, SelectStmt},
};

pub(crate) use upshift_shared::pack::tree::{and, deparse, parse, select};

/// The parse tree of one expression.
pub(crate) fn value(sql: &str) -> Result<Node, String> {
    let target = select(sql)?.target_list.into_iter().next();
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
    let select = SelectStmt {
        target_list: vec![Node {
            node: Some(NodeEnum::ResTarget(Box::new(target))),
        }],
        ..*select("1")?
    };
    let text = deparse(NodeEnum::SelectStmt(Box::new(select)))?;
    text.strip_prefix("SELECT ")
        .map(str::to_owned)
        .ok_or_else(|| "an expression could not be written: please report this".to_owned())
}
