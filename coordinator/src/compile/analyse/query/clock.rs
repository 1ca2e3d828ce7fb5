//! Literals that are read from the clock: `'now'`, `'today 10:00'` and the like, wherever they become an
//! instant.

use pg_query::{Node, NodeEnum, protobuf::AExpr};
use upshift_shared::catalog::Catalog;

use super::{expression::literal, naming::strings};

/// The base type of a domain, by its name as `format_type` prints it or by its last part; `None` for
/// any other type. A domain of which nothing is known has [`UNKNOWN`].
pub(crate) type BaseOf<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// What a domain of which nothing is known is taken for.
pub(crate) const UNKNOWN: &str = "timestamp";

/// So many domains over domains are followed.
const NESTED: usize = 32;

/// The domains of a catalog.
pub(crate) fn domains_of(catalog: &Catalog) -> impl Fn(&str) -> Option<String> {
    |name| {
        let mut domains = catalog.types.iter().filter(|own| own.kind == 'd');
        let own = domains.find(|own| own.name == name || own.printed().any(|own| own == name))?;
        let base = own.domain.as_ref().map(|domain| domain.base.clone());
        Some(base.unwrap_or_else(|| UNKNOWN.to_owned()))
    }
}

/// Whether a literal of this type, as grammar or catalog call it, is read from the clock (PostgreSQL
/// manual, 8.5.1.4, special values). Such a word may stand beside others, as an element of an array or
/// as a bound of a range.
pub(crate) fn is_clock(type_name: &str, literal: &str, base_of: &BaseOf<'_>) -> bool {
    if !names_clock(literal) {
        return false;
    }
    let mut name = type_name.to_owned();
    for _ in 0..NESTED {
        if is_instant(&name) {
            return true;
        }
        match base_of(name.trim_end_matches("[]")) {
            Some(base) => name = base,
            None => return false,
        }
    }
    true
}

/// Whether one of PostgreSQL's four words for an instant of the clock stands in a text. Its parser of
/// dates ends a word where its letters end.
pub(crate) fn names_clock(text: &str) -> bool {
    const WORDS: [&str; 4] = ["now", "today", "tomorrow", "yesterday"];
    text.split(|c: char| !c.is_ascii_alphabetic())
        .any(|word| WORDS.iter().any(|known| word.eq_ignore_ascii_case(known)))
}

fn is_instant(type_name: &str) -> bool {
    matches!(
        type_name.split([' ', '(', '[']).next().unwrap_or_default(),
        "date"
            | "time"
            | "timetz"
            | "timestamp"
            | "timestamptz"
            | "daterange"
            | "tsrange"
            | "tstzrange"
            | "datemultirange"
            | "tsmultirange"
            | "tstzmultirange"
    )
}

/// Whether an expression that becomes a value of this type has such a literal, of its own type or under
/// a cast within it.
pub(crate) fn reads_clock(node: &Node, type_name: &str, base_of: &BaseOf<'_>) -> bool {
    if literal(node).is_some_and(|literal| is_clock(type_name, literal, base_of)) {
        return true;
    }
    let any = |nodes: &[Node], type_name: &str| {
        let mut nodes = nodes.iter();
        nodes.any(|node| reads_clock(node, type_name, base_of))
    };
    let one = |node: &Option<Box<Node>>, type_name: &str| {
        let node = node.as_deref();
        node.is_some_and(|node| reads_clock(node, type_name, base_of))
    };
    match &node.node {
        Some(NodeEnum::TypeCast(cast)) => {
            let names = cast.type_name.iter().flat_map(|to| strings(&to.names));
            names.last().is_some_and(|name| one(&cast.arg, name))
        }
        Some(NodeEnum::AExpr(e)) => {
            let operand = operand_type(e);
            one(&e.lexpr, operand) || one(&e.rexpr, operand)
        }
        Some(NodeEnum::FuncCall(call)) => any(&call.args, ""),
        Some(NodeEnum::BoolExpr(e)) => any(&e.args, ""),
        Some(NodeEnum::CoalesceExpr(e)) => any(&e.args, type_name),
        Some(NodeEnum::MinMaxExpr(e)) => any(&e.args, type_name),
        Some(NodeEnum::AArrayExpr(e)) => any(&e.elements, type_name),
        Some(NodeEnum::CollateClause(e)) => one(&e.arg, type_name),
        Some(NodeEnum::CaseExpr(e)) => {
            one(&e.arg, "") || any(&e.args, type_name) || one(&e.defresult, type_name)
        }
        Some(NodeEnum::CaseWhen(e)) => one(&e.expr, "") || one(&e.result, type_name),
        _ => false,
    }
}

/// What a literal beside an operator may become: of which type is left to what stands on its other side
/// (PostgreSQL manual, 10.2, step 2a). Two literals are text, as are operands of `||`, LIKE and `~`.
fn operand_type(e: &AExpr) -> &'static str {
    let is_bare = |node: &Option<Box<Node>>| {
        let node = node.as_ref().and_then(|node| node.node.as_ref());
        matches!(node, Some(NodeEnum::AConst(_)))
    };
    let of_text = |name: &&str| name.contains(['|', '~']);
    if is_bare(&e.lexpr) && is_bare(&e.rexpr) || strings(&e.name).iter().any(of_text) {
        return "";
    }
    UNKNOWN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::sql;

    fn base_of(name: &str) -> Option<String> {
        let base = match name {
            "public.day" | "day" => "date",
            "public.days" => "public.day[]",
            "public.label" => "text",
            "public.loop" => "public.loop",
            _ => return None,
        };
        Some(base.to_owned())
    }

    #[test]
    fn words_for_the_clock_are_found_in_what_becomes_an_instant() {
        let table = [
            ("date", "'now'", true),
            ("date", "' Today '", true),
            ("date", "'infinity'", false),
            ("date", "'2020-01-01'", false),
            ("timestamp(3) without time zone", "'today 10:00'", true),
            ("timestamp with time zone", "'10:00 yesterday'", true),
            ("timestamp with time zone", "'tomorrow10:00'", true),
            ("date[]", "'{2020-01-01,now}'", true),
            ("timestamp without time zone[]", "'{\"today\"}'", true),
            ("tstzrange", "'[now,infinity)'", true),
            ("public.day", "'today'", true),
            ("public.day[]", "'{today}'", true),
            ("public.days", "'{today}'", true),
            ("public.loop", "'today'", true),
            ("public.label", "'today'", false),
            ("text", "'buy now'", false),
            ("text", "'now'::day::text", true),
            ("text", "'{now}'::date[]::text", true),
            ("date", "'now'::text", true),
            ("integer", "extract(year FROM 'today'::timestamp) + 1", true),
            ("date", "COALESCE(NULL, 'today')", true),
            ("boolean", "'now' = 'today'", false),
            ("integer", "day - 'today'", true),
            ("text", "name || ' now'", false),
            ("boolean", "name LIKE 'now%'", false),
        ];
        for (type_name, sql, expected) in table {
            let node = sql::value(sql).expect("an expression");
            let found = reads_clock(&node, type_name, &base_of);
            assert_eq!(found, expected, "{sql} as {type_name}");
        }
    }
}
