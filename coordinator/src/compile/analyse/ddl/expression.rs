//! Expressions in DDL: their text, the columns and relations that they mention, and the name that
//! PostgreSQL gives to a column made from one.

use std::collections::BTreeSet;

use pg_query::{Node, NodeEnum};
use serde_json::Value;
use upshift_shared::{
    catalog::Relation,
    ids::{ColId, RelId},
};

use super::{draft::Draft, object};
use crate::compile::{error::BindError, sql};

/// Writes a parse tree out as SQL.
pub(super) fn deparse(node: NodeEnum) -> Result<String, BindError> {
    sql::deparse(node).map_err(|error| {
        BindError::new(format!(
            "the statement cannot be written out again ({error}): split it into simpler ones"
        ))
    })
}

/// An expression as SQL.
pub(super) fn text(expression: &Node) -> Result<String, BindError> {
    sql::expression(expression).map_err(BindError::new)
}

/// Calls `visit` with every node of a tree, named as its type. The tree is walked in its serialised
/// form: the parser's own iterator knows statements, but not what stands in DDL.
fn walk(value: &Value, visit: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if name.chars().next().is_some_and(char::is_uppercase) {
                    visit(name, field);
                }
                walk(field, visit);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        _ => {}
    }
}

fn serialised(node: &Node) -> Value {
    serde_json::to_value(node).unwrap_or(Value::Null)
}

/// The last field of every column reference, in order; `*` left out.
pub(super) fn column_names(node: &Node) -> Vec<String> {
    let mut names = Vec::new();
    walk(&serialised(node), &mut |kind, value| {
        if kind == "ColumnRef" {
            let fields = value["fields"].as_array();
            let last = fields.and_then(|fields| fields.last());
            if let Some(name) = last.and_then(|field| field["node"]["String"]["sval"].as_str()) {
                names.push(name.to_owned());
            }
        }
    });
    names
}

/// The columns of a relation that an expression over it mentions, each once.
pub(super) fn columns_of(relation: &Relation, node: &Node) -> Vec<ColId> {
    let names = column_names(node);
    let mut columns = Vec::new();
    for name in names {
        if let Some(column) = relation.column(&name)
            && !columns.contains(&column.id)
        {
            columns.push(column.id);
        }
    }
    columns
}

/// Every column that an expression mentions must be there.
pub(super) fn check_columns(draft: &Draft<'_>, table: RelId, node: &Node) -> Result<(), BindError> {
    for name in column_names(node) {
        // A whole-row reference names the table itself; system columns are not listed.
        if draft.relation(table).name != name && !is_system_column(&name) {
            draft.column(table, &name)?;
        }
    }
    Ok(())
}

fn is_system_column(name: &str) -> bool {
    matches!(
        name,
        "tableoid" | "xmin" | "cmin" | "xmax" | "cmax" | "ctid"
    )
}

/// The sequences that `nextval('…')` names in an expression.
pub(super) fn sequences(draft: &Draft<'_>, node: &Node) -> Vec<RelId> {
    let mut found = Vec::new();
    walk(&serialised(node), &mut |kind, value| {
        if kind == "FuncCall" {
            let names = value["funcname"].as_array();
            let name = names
                .and_then(|names| names.last())
                .and_then(|name| name["node"]["String"]["sval"].as_str());
            if name == Some("nextval")
                && let Some(literal) = first_string(&value["args"])
                && let Some(sequence) = regclass(draft, &literal)
            {
                found.push(sequence);
            }
        }
    });
    found
}

/// The relation that the text of a `regclass` means.
pub(super) fn regclass(draft: &Draft<'_>, text: &str) -> Option<RelId> {
    let parts = parse_name(text);
    draft.find(&object::range_var(&parts))
}

/// Splits `schema."Name"` as PostgreSQL does.
fn parse_name(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let part = parts.last_mut().expect("there is always a part");
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                part.push('"');
            }
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            c if quoted => part.push(c),
            c => part.extend(c.to_lowercase()),
        }
    }
    parts
}

fn first_string(value: &Value) -> Option<String> {
    let mut found = None;
    walk(value, &mut |kind, value| {
        if kind == "Sval" && found.is_none() {
            found = value["sval"].as_str().map(ToOwned::to_owned);
        }
    });
    found
}

/// The names of functions that a tree calls, unqualified.
pub(super) fn function_names(node: &Node) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    walk(&serialised(node), &mut |kind, value| {
        if kind == "FuncCall"
            && let Some(last) = value["funcname"].as_array().and_then(|names| names.last())
            && let Some(name) = last["node"]["String"]["sval"].as_str()
        {
            names.insert(name.to_owned());
        }
    });
    names
}

/// The name that PostgreSQL gives to a column of a SELECT list or index made from an expression
/// (`FigureColname` in `parse_target.c`); `None` where it would fall back to `?column?` or `expr`.
pub(super) fn column_name(node: &Node) -> Option<String> {
    figure(node).map(|(name, _)| name)
}

/// The name and its strength: 1 for a type name or CASE, which a better one replaces.
fn figure(node: &Node) -> Option<(String, u8)> {
    let strong = |name: &str| Some((name.to_owned(), 2));
    match node.node.as_ref()? {
        NodeEnum::ColumnRef(column) => object::strings(&column.fields).pop().map(|name| (name, 2)),
        NodeEnum::AIndirection(indirection) => object::strings(&indirection.indirection)
            .pop()
            .map(|name| (name, 2))
            .or_else(|| figure(indirection.arg.as_ref()?)),
        NodeEnum::FuncCall(call) => object::strings(&call.funcname).pop().map(|name| (name, 2)),
        NodeEnum::AExpr(e) if e.kind == pg_query::protobuf::AExprKind::AexprNullif as i32 => {
            strong("nullif")
        }
        NodeEnum::TypeCast(cast) => {
            let inner = cast.arg.as_ref().and_then(|arg| figure(arg));
            match inner {
                Some((name, 2)) => Some((name, 2)),
                _ => {
                    let names = cast.type_name.as_ref().map(|t| object::strings(&t.names))?;
                    Some((names.last()?.clone(), 1))
                }
            }
        }
        NodeEnum::CollateClause(collate) => figure(collate.arg.as_ref()?),
        NodeEnum::GroupingFunc(_) => strong("grouping"),
        NodeEnum::SubLink(sublink) => figure_sublink(sublink),
        NodeEnum::CaseExpr(case) => match case.defresult.as_ref().and_then(|d| figure(d)) {
            Some((name, 2)) => Some((name, 2)),
            _ => Some(("case".to_owned(), 1)),
        },
        NodeEnum::AArrayExpr(_) => strong("array"),
        NodeEnum::RowExpr(_) => strong("row"),
        NodeEnum::CoalesceExpr(_) => strong("coalesce"),
        NodeEnum::MinMaxExpr(e) => strong(if e.op == 1 { "greatest" } else { "least" }),
        NodeEnum::SqlvalueFunction(f) => strong(sql_value_function(f.op)),
        NodeEnum::XmlSerialize(_) => strong("xmlserialize"),
        _ => None,
    }
}

fn figure_sublink(sublink: &pg_query::protobuf::SubLink) -> Option<(String, u8)> {
    use pg_query::protobuf::SubLinkType;
    match SubLinkType::try_from(sublink.sub_link_type).ok()? {
        SubLinkType::ExistsSublink => Some(("exists".to_owned(), 2)),
        SubLinkType::ArraySublink => Some(("array".to_owned(), 2)),
        SubLinkType::ExprSublink => {
            let query = sublink.subselect.as_ref()?;
            let Some(NodeEnum::SelectStmt(select)) = &query.node else {
                return None;
            };
            match select.target_list.first()?.node.as_ref()? {
                NodeEnum::ResTarget(target) if !target.name.is_empty() => {
                    Some((target.name.clone(), 2))
                }
                NodeEnum::ResTarget(target) => figure(target.val.as_ref()?),
                _ => None,
            }
        }
        _ => None,
    }
}

fn sql_value_function(op: i32) -> &'static str {
    use pg_query::protobuf::SqlValueFunctionOp as Op;
    match Op::try_from(op) {
        Ok(Op::SvfopCurrentDate) => "current_date",
        Ok(Op::SvfopCurrentTime | Op::SvfopCurrentTimeN) => "current_time",
        Ok(Op::SvfopCurrentTimestamp | Op::SvfopCurrentTimestampN) => "current_timestamp",
        Ok(Op::SvfopLocaltime | Op::SvfopLocaltimeN) => "localtime",
        Ok(Op::SvfopLocaltimestamp | Op::SvfopLocaltimestampN) => "localtimestamp",
        Ok(Op::SvfopCurrentRole) => "current_role",
        Ok(Op::SvfopCurrentUser) => "current_user",
        Ok(Op::SvfopUser) => "user",
        Ok(Op::SvfopSessionUser) => "session_user",
        Ok(Op::SvfopCurrentCatalog) => "current_catalog",
        Ok(Op::SvfopCurrentSchema) => "current_schema",
        _ => "?column?",
    }
}
