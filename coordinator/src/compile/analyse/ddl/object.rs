//! Names of objects as parse trees have them, and what to say about those that are not there.

use pg_query::{Node, NodeEnum, protobuf::RangeVar};
use upshift_shared::pg::ident::{QualifiedName, ident};

use super::draft::Draft;
pub(super) use crate::compile::analyse::query::did_you_mean;
use crate::compile::error::BindError;

/// The strings of a list of `String` nodes: the parts of a name.
pub(super) fn strings(nodes: &[Node]) -> Vec<String> {
    nodes
        .iter()
        .filter_map(|node| match &node.node {
            Some(NodeEnum::String(s)) => Some(s.sval.clone()),
            _ => None,
        })
        .collect()
}

/// The parts of a name that is a `List`, a `String` or a `TypeName`.
pub(super) fn parts(node: &Node) -> Vec<String> {
    match &node.node {
        Some(NodeEnum::List(list)) => strings(&list.items),
        Some(NodeEnum::String(s)) => vec![s.sval.clone()],
        Some(NodeEnum::TypeName(name)) => strings(&name.names),
        _ => Vec::new(),
    }
}

/// Schema (empty where not given) and name.
pub(super) fn split(parts: &[String]) -> (String, String) {
    match parts {
        [.., schema, name] => (schema.clone(), name.clone()),
        [name] => (String::new(), name.clone()),
        [] => (String::new(), String::new()),
    }
}

/// Name parts as a range variable, so that one lookup serves both.
pub(super) fn range_var(parts: &[String]) -> RangeVar {
    let (schemaname, relname) = split(parts);
    RangeVar {
        schemaname,
        relname,
        inh: true,
        relpersistence: "p".to_owned(),
        location: -1,
        ..RangeVar::default()
    }
}

/// Quoted names between dots.
pub(super) fn quote_parts(parts: &[String]) -> String {
    let quoted: Vec<String> = parts.iter().map(|part| ident(part)).collect();
    quoted.join(".")
}

/// What `psql` says about a relation that is not there, and what may have been meant.
pub(super) fn no_relation(draft: &Draft<'_>, name: &RangeVar) -> String {
    let schema = &name.schemaname;
    let in_reach = |candidate: &str| {
        if schema.is_empty() {
            draft.path.iter().any(|s| s == candidate)
        } else {
            schema == candidate
        }
    };
    let known = draft
        .catalog
        .relations()
        .filter(|relation| in_reach(&relation.schema))
        .map(|relation| relation.name.as_str());
    let hint = did_you_mean(&name.relname, known);
    let shown = if schema.is_empty() {
        name.relname.clone()
    } else {
        format!("{schema}.{}", name.relname)
    };
    format!("relation \"{shown}\" does not exist{hint}")
}

/// The name that a CREATE of a table, view, sequence or index takes; an error where it is taken.
pub(super) fn free_relation_name(
    draft: &Draft<'_>,
    name: &RangeVar,
) -> Result<QualifiedName, BindError> {
    let schema = creation_schema(draft, name)?;
    if is_taken(draft, &schema, &name.relname) {
        let shown = QualifiedName::new(&schema, &name.relname).plain();
        return Err(BindError::at(
            name.location,
            format!("relation \"{shown}\" already exists: use another name, or IF NOT EXISTS"),
        ));
    }
    Ok(QualifiedName::new(schema, &name.relname))
}

/// The schema of a CREATE; temporary tables are refused.
pub(super) fn creation_schema(draft: &Draft<'_>, name: &RangeVar) -> Result<String, BindError> {
    if name.relpersistence == "t" || name.schemaname == "pg_temp" {
        return Err(BindError::at(
            name.location,
            "a temporary table lives in one session, but steps run in many: create an ordinary table \
             and drop it when it is no longer needed",
        ));
    }
    draft
        .creation_schema(&name.schemaname)
        .map_err(|error| BindError::at(name.location, error.message))
}

/// Whether a table, view, sequence or index of that schema has the name.
pub(super) fn is_taken(draft: &Draft<'_>, schema: &str, name: &str) -> bool {
    draft.catalog.find(Some(schema), name, &[]).is_some()
        || draft.catalog.index_owner(schema, name).is_some()
}
