//! What an index can find: the keys of the indexes of FROM's tables, as text that the same expression in a
//! condition is written as.

use pg_query::{
    Node, NodeEnum,
    protobuf::{IndexElem, IndexStmt},
};
use upshift_shared::{
    catalog::{Index, Relation},
    pg::ident::ident,
};

use crate::compile::sql::{expression, parse};

/// The keys of each index of a table by which any of its rows is found.
pub(super) fn keys(relation: &Relation) -> Vec<Vec<String>> {
    relation.indexes.iter().filter_map(keys_of).collect()
}

fn keys_of(index: &Index) -> Option<Vec<String>> {
    let usable = index.valid && index.predicate.is_none();
    let NodeEnum::IndexStmt(statement) = parse(&index.definition).ok()?.filter(|_| usable)? else {
        return None;
    };
    let IndexStmt {
        access_method,
        index_params,
        ..
    } = *statement;
    if !matches!(access_method.as_str(), "" | "btree") {
        return None;
    }
    index_params
        .into_iter()
        .map(|param| match param.node? {
            NodeEnum::IndexElem(element) => key(&element),
            _ => None,
        })
        .collect()
}

fn key(element: &IndexElem) -> Option<String> {
    // Another collation than the column's finds nothing that an ordinary comparison asks for.
    if !element.collation.is_empty() {
        return None;
    }
    match &element.expr {
        Some(node) => expression(node).ok(),
        None => expression(&column(&element.name)?).ok(),
    }
}

/// A column's name as an expression.
fn column(name: &str) -> Option<Node> {
    let text = format!("SELECT {}", ident(name));
    let NodeEnum::SelectStmt(mut select) = parse(&text).ok()?? else {
        return None;
    };
    match select.target_list.pop()?.node? {
        NodeEnum::ResTarget(target) => target.val.map(|node| *node),
        _ => None,
    }
}
