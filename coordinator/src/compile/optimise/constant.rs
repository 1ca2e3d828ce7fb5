//! A fresh column filled with one constant: `ADD COLUMN c …` and, later, `UPDATE t SET c = constant`.
//! PostgreSQL keeps a constant default of a new column once for all rows that are there (since version
//! 11; ALTER TABLE, notes), so both become a change of the catalog, however large the table is.

use pg_query::{
    NodeEnum,
    protobuf::{AlterTableType, ColumnDef},
};
use serde::Serialize;
use upshift_shared::{catalog::Column, pg::ident::ident};

use super::{default::is_constant, graph::Contracted};
use crate::compile::{
    model::{AnalysedStep, Analysis, Around, Class, Resource},
    sql::expression,
};

/// An ADD COLUMN and the UPDATE that fills it, as one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConstantFill {
    /// Place of the ADD COLUMN in [`Analysis::steps`].
    pub add: u32,
    /// Place of the UPDATE.
    pub update: u32,
    /// Quoted, qualified table.
    pub table: String,
    /// Quoted column.
    pub column: String,
    /// The column's definition up to its type, quoted.
    pub type_name: String,
    /// The constant.
    pub value: String,
}

/// Finds them among steps that are in no pass, and joins each pair in the order.
pub(super) fn fills(
    analysis: &Analysis,
    order: &mut Contracted,
    taken: &dyn Fn(u32) -> bool,
) -> Vec<ConstantFill> {
    let mut fills: Vec<ConstantFill> = Vec::new();
    for (place, step) in (0_u32..).zip(&analysis.steps) {
        let Some((around, column, value)) = constant_update(step) else {
            continue;
        };
        let used = |add: u32| taken(add) || fills.iter().any(|fill| fill.add == add);
        let Some((add, adding)) = added(analysis, place, around, &column) else {
            continue;
        };
        if taken(place) || used(add) || !order.can_join(add, place) {
            continue;
        }
        // A serial column has a sequence, although its definition is as bare as any.
        let plain = |c: &&Column| c.default.is_none() && c.sequence.is_none() && !c.not_null;
        let Some(new) = adding.after.column(&column).filter(plain) else {
            continue;
        };
        let between = &analysis.steps[add as usize + 1..place as usize];
        if between.iter().any(|other| disturbs(other, around, new.id)) {
            continue;
        }
        order.join(add, place);
        fills.push(ConstantFill {
            add,
            update: place,
            table: format!(
                "{}.{}",
                ident(&adding.before.schema),
                ident(&adding.before.name)
            ),
            column: ident(&column),
            type_name: new.type_name.clone(),
            value,
        });
    }
    fills
}

/// `UPDATE t SET c = constant` and nothing else.
fn constant_update(step: &AnalysedStep) -> Option<(&Around, String, String)> {
    let around = step.around.as_deref()?;
    let directives = &step.step.directives;
    let plain = directives.undo.is_none()
        && directives.when.is_none()
        && directives.strategy.is_none()
        && directives.chunk.is_none();
    if !plain || !matches!(step.bound.class, Class::Update(_)) {
        return None;
    }
    let node = step.parsed.as_deref().and_then(|node| node.node.as_ref())?;
    let NodeEnum::UpdateStmt(update) = node else {
        return None;
    };
    let bare = update.where_clause.is_none()
        && update.from_clause.is_empty()
        && update.with_clause.is_none()
        && update.returning_clause.is_none();
    let [target] = update.target_list.as_slice() else {
        return None;
    };
    let Some(NodeEnum::ResTarget(target)) = &target.node else {
        return None;
    };
    let value = target.val.as_deref().filter(|value| is_constant(value))?;
    let whole = target.indirection.is_empty();
    (bare && whole).then(|| Some((around, target.name.clone(), expression(value).ok()?)))?
}

/// The step that adds the column, and nothing else, without a value.
fn added<'a>(
    analysis: &'a Analysis,
    before: u32,
    table: &Around,
    column: &str,
) -> Option<(u32, &'a Around)> {
    let earlier = (0..before).zip(&analysis.steps[..before as usize]).rev();
    earlier
        .filter_map(|(place, step)| Some((place, step, step.around.as_deref()?)))
        .filter(|(.., around)| around.before.id == table.before.id)
        .find(|(_, step, _)| adds(step, column))
        .map(|(place, _, around)| (place, around))
}

fn adds(step: &AnalysedStep, name: &str) -> bool {
    let directives = &step.step.directives;
    if directives.undo.is_some() || directives.when.is_some() || directives.irreversible {
        return false;
    }
    let node = step.parsed.as_deref().and_then(|node| node.node.as_ref());
    let Some(NodeEnum::AlterTableStmt(statement)) = node else {
        return false;
    };
    let [command] = statement.cmds.as_slice() else {
        return false;
    };
    let Some(NodeEnum::AlterTableCmd(command)) = &command.node else {
        return false;
    };
    let def = command.def.as_ref().and_then(|def| def.node.as_ref());
    let bare = |column: &ColumnDef| {
        column.colname == name
            && column.constraints.is_empty()
            && column.raw_default.is_none()
            && column.coll_clause.is_none()
            && column.storage_name.is_empty()
            && column.compression.is_empty()
    };
    command.subtype == AlterTableType::AtAddColumn as i32
        && matches!(def, Some(NodeEnum::ColumnDef(column)) if bare(column))
}

/// Whether a step between the two reads or writes the column, or adds rows, which get no default in
/// between.
fn disturbs(step: &AnalysedStep, table: &Around, column: upshift_shared::ids::ColId) -> bool {
    let id = table.before.id;
    let disturbing = [Resource::Column(id, column), Resource::Everything];
    let reads = disturbing
        .iter()
        .any(|resource| step.bound.reads.contains(resource));
    let writes = disturbing
        .iter()
        .any(|resource| step.bound.writes.contains(resource));
    reads || writes || step.bound.writes.contains(&Resource::Rows(id))
}
