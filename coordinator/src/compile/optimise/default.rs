//! Defaults of columns: what existing rows get from one, and what `SET c = DEFAULT` means.

use pg_query::{
    Node, NodeEnum,
    protobuf::{ColumnDef, ConstrType},
};
use upshift_shared::catalog::Column;

use super::{alter::contype, cast};
use crate::compile::{
    analyse::query::{is_clock, literal, strings},
    model::UserTypes,
    sql::{expression, parse},
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
    refuse_clock(default, column)?;
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
    let parsed = match parse(&format!("SELECT {default}"))? {
        Some(NodeEnum::SelectStmt(select)) => select.target_list.into_iter().next(),
        _ => None,
    };
    let value = match parsed.and_then(|target| target.node) {
        Some(NodeEnum::ResTarget(target)) => target.val,
        _ => None,
    };
    let value = value.ok_or("its default could not be read: please report this")?;
    if has_call(&value) && !is_drawn(&value) {
        return Err(format!("the default of {} calls functions", column.name));
    }
    refuse_clock(&value, column)?;
    expression(&value)
}

/// PostgreSQL reads the clock once, when it sets the default; every unit of a pass would again.
fn refuse_clock(default: &Node, column: &Column) -> Result<(), String> {
    if reads_clock(default, &column.type_name) {
        return Err(format!(
            "the default of {} is read from the clock",
            column.name
        ));
    }
    Ok(())
}

/// Whether a constant of this type, or a cast within it, is `now` or the like.
fn reads_clock(node: &Node, type_name: &str) -> bool {
    if literal(node).is_some_and(|literal| is_clock(type_name, literal)) {
        return true;
    }
    match &node.node {
        Some(NodeEnum::TypeCast(cast)) => {
            let names = cast.type_name.iter().flat_map(|to| strings(&to.names));
            cast.arg
                .as_deref()
                .is_some_and(|arg| names.last().is_some_and(|name| reads_clock(arg, name)))
        }
        _ => false,
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
pub(super) fn has_call(node: &Node) -> bool {
    let any = |nodes: &[Node]| nodes.iter().any(has_call);
    let one = |node: &Option<Box<Node>>| node.as_deref().is_some_and(has_call);
    match &node.node {
        Some(NodeEnum::AConst(_) | NodeEnum::ColumnRef(_)) => false,
        Some(NodeEnum::TypeCast(cast)) => reads_clock(node, "") || one(&cast.arg),
        Some(NodeEnum::AExpr(e)) => one(&e.lexpr) || one(&e.rexpr),
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
