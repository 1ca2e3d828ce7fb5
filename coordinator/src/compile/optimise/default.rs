//! Defaults of columns: what existing rows get from one, and what `SET c = DEFAULT` means.

use pg_query::{
    Node, NodeEnum,
    protobuf::{ColumnDef, ConstrType},
};
use upshift_shared::catalog::Column;

use super::{alter::contype, cast};
use crate::compile::{
    analyse::query::{UNKNOWN, reads_clock},
    model::UserTypes,
    sql::{expression, value},
};

/// What existing rows get in a new column, before the cast to its type.
pub(super) fn of_definition(
    definition: &ColumnDef,
    column: &Column,
    types: &UserTypes,
) -> Result<String, String> {
    let constraints = definition.constraints.iter();
    let default = constraints
        .filter_map(|node| match &node.node {
            Some(NodeEnum::Constraint(c)) if contype(c) == ConstrType::ConstrDefault => {
                c.raw_expr.as_deref()
            }
            _ => None,
        })
        .next()
        .or(definition.raw_default.as_deref());
    let Some(default) = default else {
        return of_type(column, types);
    };
    if !is_constant(default) {
        return Err(format!(
            "the default of {} is no constant",
            definition.colname
        ));
    }
    refuse_clock(default, column, types)?;
    cast::carried(&column.type_name, types).map_err(|why| {
        format!(
            "{} has a default of type {}, {why}",
            column.name, column.type_name
        )
    })?;
    expression(default)
}

/// The value of `SET c = DEFAULT`. What draws from a sequence or reads the clock never gets here: such a
/// statement cannot be taken apart.
pub(super) fn of_column(column: &Column, types: &UserTypes) -> Result<String, String> {
    let Some(default) = &column.default else {
        return of_type(column, types);
    };
    let value = value(default)?;
    refuse_clock(&value, column, types)?;
    if has_call(&value, types) && !is_drawn(&value) {
        return Err(format!("the default of {} calls functions", column.name));
    }
    expression(&value)
}

/// PostgreSQL reads the clock once, when it sets the default; every unit of a pass would again.
fn refuse_clock(default: &Node, column: &Column, types: &UserTypes) -> Result<(), String> {
    if reads_clock(default, &column.type_name, &domains_of(types)) {
        return Err(format!(
            "the default of {} is read from the clock",
            column.name
        ));
    }
    Ok(())
}

/// The domains among these types, by their names as catalog or grammar have them.
fn domains_of(types: &UserTypes) -> impl Fn(&str) -> Option<String> {
    |name| {
        let is = |own: &str| {
            let last = own.rsplit('.').next().unwrap_or(own);
            own == name || last.trim_matches('"') == name
        };
        if types.changing.iter().any(|own| is(own)) {
            return Some(UNKNOWN.to_owned());
        }
        let domain = types.domains.iter().find(|(own, _)| is(own));
        domain.map(|(_, domain)| domain.base.clone())
    }
}

/// Without a default of its own a column has that of its type.
fn of_type(column: &Column, types: &UserTypes) -> Result<String, String> {
    let domain = types.domains.get(&column.type_name);
    if domain.is_some_and(|domain| domain.has_default) || types.changing.contains(&column.type_name)
    {
        return Err(format!(
            "the default of {} is that of its type, {}",
            column.name, column.type_name
        ));
    }
    Ok("NULL".to_owned())
}

/// A value of its own for every row, which asks for nothing.
fn is_drawn(node: &Node) -> bool {
    match &node.node {
        Some(NodeEnum::FuncCall(call)) => {
            let names: Vec<&str> = call
                .funcname
                .iter()
                .filter_map(|name| match &name.node {
                    Some(NodeEnum::String(name)) => Some(name.sval.as_str()),
                    _ => None,
                })
                .collect();
            matches!(
                names.as_slice(),
                ["gen_random_uuid"] | ["pg_catalog", "gen_random_uuid"]
            )
        }
        _ => false,
    }
}

/// A constant, perhaps with a cast.
pub(super) fn is_constant(node: &Node) -> bool {
    match &node.node {
        Some(NodeEnum::AConst(_)) => true,
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().is_some_and(is_constant),
        _ => false,
    }
}

/// Whether an expression has a function call or a subquery anywhere. Only operators, casts, CASE and
/// the like are looked into; anything else counts as one.
pub(super) fn has_call(node: &Node, types: &UserTypes) -> bool {
    let any = |nodes: &[Node]| nodes.iter().any(|node| has_call(node, types));
    let one = |node: &Option<Box<Node>>| node.as_deref().is_some_and(|node| has_call(node, types));
    match &node.node {
        Some(NodeEnum::AConst(_) | NodeEnum::ColumnRef(_)) => false,
        Some(NodeEnum::TypeCast(cast)) => {
            reads_clock(node, "", &domains_of(types)) || one(&cast.arg)
        }
        Some(NodeEnum::AExpr(e)) => {
            reads_clock(node, "", &domains_of(types)) || one(&e.lexpr) || one(&e.rexpr)
        }
        Some(NodeEnum::BoolExpr(e)) => any(&e.args),
        Some(NodeEnum::NullTest(e)) => one(&e.arg),
        Some(NodeEnum::BooleanTest(e)) => one(&e.arg),
        Some(NodeEnum::CoalesceExpr(e)) => any(&e.args),
        Some(NodeEnum::List(list)) => any(&list.items),
        Some(NodeEnum::CaseExpr(e)) => one(&e.arg) || one(&e.defresult) || any(&e.args),
        Some(NodeEnum::CaseWhen(e)) => one(&e.expr) || one(&e.result),
        _ => true,
    }
}
