//! Names as SQL text writes them: qualified names in string literals, and the names that PostgreSQL
//! gives to columns of a select list.

use pg_query::{Node, NodeEnum};

/// The parts of a possibly qualified, possibly quoted name, as `'schema."Name"'::regclass` reads it.
/// `None` where it is not one.
pub(crate) fn written_name(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_part(quoted)?,
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                let part = rest[..end].trim();
                let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
                if part.is_empty() || !part.chars().all(plain) {
                    return None;
                }
                (part.to_lowercase(), &rest[end..])
            }
        };
        parts.push(part);
        match after.trim_start() {
            "" => return Some(parts),
            more => rest = more.strip_prefix('.')?.trim_start(),
        }
    }
}

/// What stands before the closing quote, and what follows it.
fn quoted_part(text: &str) -> Option<(String, &str)> {
    let mut part = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((place, character)) = characters.next() {
        if character != '"' {
            part.push(character);
        } else if characters.next_if(|(_, next)| *next == '"').is_some() {
            part.push('"');
        } else {
            return (!part.is_empty()).then(|| (part, &text[place + 1..]));
        }
    }
    None
}

/// The strings of a list of `String` nodes.
pub(crate) fn strings(nodes: &[Node]) -> Vec<&str> {
    nodes.iter().filter_map(string).collect()
}

/// The string of a `String` node.
pub(crate) fn string(node: &Node) -> Option<&str> {
    match &node.node {
        Some(NodeEnum::String(string)) => Some(&string.sval),
        _ => None,
    }
}

/// The name of an unnamed item of a select list (`FigureColname` in PostgreSQL's parse_target.c).
pub(crate) fn column_name(node: Option<&Node>) -> String {
    figure(node).map_or_else(|| "?column?".to_owned(), |(name, _)| name)
}

/// The name, and whether it is better than a type's or a construct's.
fn figure(node: Option<&Node>) -> Option<(String, bool)> {
    let strong = |name: &str| Some((name.to_owned(), true));
    match node?.node.as_ref()? {
        NodeEnum::ColumnRef(column) => strong(strings(&column.fields).last()?),
        NodeEnum::AIndirection(indirection) => match strings(&indirection.indirection).last() {
            Some(field) => strong(field),
            None => figure(indirection.arg.as_deref()),
        },
        NodeEnum::FuncCall(call) => strong(strings(&call.funcname).last()?),
        NodeEnum::AExpr(expression)
            if expression.kind == pg_query::protobuf::AExprKind::AexprNullif as i32 =>
        {
            strong("nullif")
        }
        NodeEnum::TypeCast(cast) => match figure(cast.arg.as_deref()) {
            Some((name, true)) => strong(&name),
            _ => {
                let names = &cast.type_name.as_ref()?.names;
                Some(((*strings(names).last()?).to_owned(), false))
            }
        },
        NodeEnum::CollateClause(collate) => figure(collate.arg.as_deref()),
        NodeEnum::CaseExpr(case) => match figure(case.defresult.as_deref()) {
            Some((name, true)) => strong(&name),
            _ => Some(("case".to_owned(), false)),
        },
        NodeEnum::SubLink(link) => sublink_name(link),
        NodeEnum::AArrayExpr(_) => strong("array"),
        NodeEnum::RowExpr(_) => strong("row"),
        NodeEnum::CoalesceExpr(_) => strong("coalesce"),
        NodeEnum::GroupingFunc(_) => strong("grouping"),
        NodeEnum::MinMaxExpr(expression) => {
            let least = pg_query::protobuf::MinMaxOp::IsLeast as i32;
            strong(if expression.op == least {
                "least"
            } else {
                "greatest"
            })
        }
        NodeEnum::SqlvalueFunction(function) => strong(super::instant::value_function_name(
            pg_query::protobuf::SqlValueFunctionOp::try_from(function.op).ok()?,
        )),
        _ => None,
    }
}

fn sublink_name(link: &pg_query::protobuf::SubLink) -> Option<(String, bool)> {
    use pg_query::protobuf::SubLinkType;
    match SubLinkType::try_from(link.sub_link_type).ok()? {
        SubLinkType::ExistsSublink => Some(("exists".to_owned(), true)),
        SubLinkType::ArraySublink => Some(("array".to_owned(), true)),
        SubLinkType::ExprSublink => {
            let Some(NodeEnum::SelectStmt(select)) = link.subselect.as_ref()?.node.as_ref() else {
                return None;
            };
            let Some(NodeEnum::ResTarget(target)) = select.target_list.first()?.node.as_ref()
            else {
                return None;
            };
            if target.name.is_empty() {
                figure(target.val.as_deref())
            } else {
                Some((target.name.clone(), true))
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_literals_are_read_as_regclass_does() {
        let parts = |text| written_name(text).map(|parts| parts.join("|"));
        assert_eq!(parts("Foo.bar").as_deref(), Some("foo|bar"));
        assert_eq!(parts("\"Foo.x\".\"a\"\"b\"").as_deref(), Some("Foo.x|a\"b"));
        assert_eq!(parts("a b"), None);
        assert_eq!(parts("a."), None);
        assert_eq!(parts("\"a"), None);
    }
}
