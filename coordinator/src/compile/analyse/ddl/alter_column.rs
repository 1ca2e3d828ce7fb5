//! The subcommands of ALTER TABLE that are about one column.

use pg_query::{
    Node, NodeEnum,
    protobuf::{AlterTableCmd, AlterTableType as Type, ColumnDef},
};
use upshift_shared::{
    catalog::{Column, ConstraintKind, Identity, RelationKind},
    ids::{ColId, RelId},
    pg::ident::{QualifiedName, ident},
    plan::{Capture, DdlEffect},
};

use super::{
    alter_constraint,
    alter_table::{self, Effect, kind},
    constraint::{self, Pending},
    draft::Draft,
    expression, table_element, type_name,
};
use crate::compile::error::BindError;

fn definition(command: &AlterTableCmd) -> Result<&ColumnDef, BindError> {
    match command.def.as_ref().and_then(|def| def.node.as_ref()) {
        Some(NodeEnum::ColumnDef(definition)) => Ok(definition),
        _ => Err(BindError::new("the column has no definition")),
    }
}

/// ADD COLUMN
pub(super) fn add(
    draft: &mut Draft<'_>,
    table: RelId,
    command: &AlterTableCmd,
) -> Result<Effect, BindError> {
    let definition = definition(command)?;
    let name = &definition.colname;
    if command.missing_ok && draft.relation(table).column(name).is_some() {
        return Ok(Effect::Skip(format!("column \"{name}\" already exists")));
    }
    let mut pending = Pending::default();
    let column = table_element::add_column(draft, table, definition, &mut pending)?;
    for child in constraint::family(draft, table).into_iter().skip(1) {
        add_to_child(draft, table, child, column);
    }
    if let Some(why) = rewrites(draft, table, column, definition) {
        draft.scans(table, &[]);
        draft.costs(why);
    }
    table_element::apply(draft, table, pending)?;
    draft.writes_column(table, column);
    Effect::invert(vec![format!(
        "ALTER TABLE {} DROP COLUMN {}",
        draft.quoted(table),
        ident(name)
    )])
}

/// Partitions and inheriting tables get the column too, unless they have it.
fn add_to_child(draft: &mut Draft<'_>, table: RelId, child: RelId, column: ColId) {
    let Some(column) = draft.relation(table).column_by_id(column).cloned() else {
        return;
    };
    let Some(child) = draft.catalog.relation_mut(child) else {
        return;
    };
    if child.column(&column.name).is_none() {
        let last = child.columns.iter().map(|c| c.id.0).max().unwrap_or(0);
        let id = ColId(last + 1);
        child.columns.push(Column { id, ..column });
    }
}

/// Why the table has to be rewritten for a new column: where the value differs from row to row.
fn rewrites(
    draft: &Draft<'_>,
    table: RelId,
    column: ColId,
    definition: &ColumnDef,
) -> Option<&'static str> {
    let added = draft.relation(table).column_by_id(column)?;
    if added.sequence.is_some() || added.identity.is_some() {
        return Some("rewrites the table: the column draws from a sequence");
    }
    if added.generated.is_some() {
        return Some("rewrites the table: the column is generated");
    }
    let constraints = definition
        .constraints
        .iter()
        .filter_map(constraint::of_node);
    let defaults = constraints.filter_map(|constraint| constraint.raw_expr.as_deref());
    let mut defaults = defaults.chain(definition.raw_default.as_deref());
    defaults
        .any(|default| table_element::is_volatile(draft, default))
        .then_some("rewrites the table: the default is volatile")
}

/// DROP COLUMN
pub(super) fn drop(
    draft: &mut Draft<'_>,
    table: RelId,
    command: &AlterTableCmd,
) -> Result<Effect, BindError> {
    let name = &command.name;
    let column = match draft.column(table, name) {
        Ok(column) => column.id,
        Err(error) if command.missing_ok => return Ok(Effect::Skip(error.message)),
        Err(error) => return Err(error),
    };
    let generated = draft.column(table, name)?.generated.is_some();
    let cascade = alter_table::cascades(command.behavior);
    let dependents: Vec<(RelId, String)> = draft
        .catalog
        .incoming(table)
        .filter(|(other, incoming)| match &incoming.kind {
            ConstraintKind::ForeignKey { columns, .. } => {
                other.id != table && columns.contains(&column)
            }
            _ => false,
        })
        .map(|(other, incoming)| (other.id, incoming.name.clone()))
        .collect();
    if let (Some((other, foreign_key)), false) = (dependents.first(), cascade) {
        let other = draft.name(*other).plain();
        return Err(BindError::new(format!(
            "column \"{name}\" cannot be dropped because constraint \"{foreign_key}\" on table \
             \"{other}\" depends on it: drop that first, or say CASCADE"
        )));
    }
    for (other, foreign_key) in dependents {
        draft.alters(other);
        alter_constraint::forget(draft, other, &foreign_key);
    }
    let quoted = draft.quoted(table);
    draft.writes_column(table, column);
    let family = constraint::family(draft, table);
    let inherited = family.len() > 1 || !draft.relation(table).inheritance.parents.is_empty();
    for member in family {
        forget_column(draft, member, name);
    }
    if inherited {
        return Effect::lost("DROP COLUMN on a table with partitions, children or parents");
    }
    if generated {
        return Effect::lost("DROP COLUMN of a generated column");
    }
    Ok(alter_table::hide_column(quoted, name, cascade))
}

/// Takes a column out, with what hangs on it.
fn forget_column(draft: &mut Draft<'_>, table: RelId, name: &str) {
    let Some(column) = draft.relation(table).column(name).map(|column| column.id) else {
        return;
    };
    let schema = draft.name(table).schema;
    let indexes: Vec<String> = draft
        .relation(table)
        .indexes
        .iter()
        .filter(|index| index.mentions.contains(&column))
        .map(|index| index.name.clone())
        .collect();
    for index in &indexes {
        draft.takes_name(&QualifiedName::new(&schema, index));
    }
    let of_table: Vec<(RelId, QualifiedName)> = draft
        .catalog
        .relations()
        .filter(|relation| relation.owned_by == Some((table, column)))
        .map(|r| (r.id, QualifiedName::new(&r.schema, &r.name)))
        .collect();
    for (sequence, name) in of_table {
        draft.takes_name(&name);
        draft.alters(sequence);
        draft.catalog.remove(sequence);
    }
    for constraint in draft.relation(table).constraints.clone() {
        if constraint.columns.contains(&column) {
            draft.takes_constraint_name(&schema, &constraint.name);
            if let ConstraintKind::ForeignKey { table: target, .. } = constraint.kind
                && draft.catalog.relation(target).is_some()
            {
                draft.alters(target);
            }
        }
    }
    draft.catalog.change(table, |relation| {
        relation
            .indexes
            .retain(|index| !indexes.contains(&index.name));
        relation.constraints.retain(|constraint| {
            let points_here = matches!(
                &constraint.kind,
                ConstraintKind::ForeignKey { table: target, columns, .. }
                    if *target == table && columns.contains(&column)
            );
            !constraint.columns.contains(&column) && !points_here
        });
        relation.columns.retain(|c| c.id != column);
    });
}

/// SET DEFAULT, DROP DEFAULT
pub(super) fn default(
    draft: &mut Draft<'_>,
    table: RelId,
    command: &AlterTableCmd,
) -> Result<Effect, BindError> {
    let column = draft.column(table, &command.name)?;
    if column.generated.is_some() || column.identity.is_some() {
        let name = &command.name;
        return Err(BindError::new(format!(
            "column \"{name}\" is an identity or generated column: it has no default"
        )));
    }
    let id = column.id;
    match &command.def {
        Some(default) => table_element::set_default(draft, table, id, default)?,
        None => table_element::with_column(draft, table, id, |column| {
            column.default = None;
            column.sequence = None;
        }),
    }
    Effect::capture(vec![Capture::Default {
        table: draft.quoted(table),
        column: command.name.clone(),
    }])
}

/// SET NOT NULL, DROP NOT NULL
pub(super) fn not_null(
    draft: &mut Draft<'_>,
    table: RelId,
    command: &AlterTableCmd,
) -> Result<Effect, BindError> {
    let name = &command.name;
    let column = draft.column(table, name)?.clone();
    let set = kind(command) == Type::AtSetNotNull;
    if set {
        draft.scans(table, &[column.id]);
        if !column.not_null {
            draft.costs("scans the table to check every row");
        }
    } else {
        refuse_nullable_key(draft, table, &column)?;
    }
    for member in constraint::family(draft, table) {
        let Some(id) = draft.relation(member).column(name).map(|column| column.id) else {
            continue;
        };
        if set {
            constraint::add_not_null(draft, member, id, None);
        } else {
            table_element::with_column(draft, member, id, |column| column.not_null = false);
            draft.catalog.change(member, |relation| {
                relation
                    .constraints
                    .retain(|c| c.kind != ConstraintKind::NotNull || c.columns != [id]);
            });
        }
    }
    Effect::capture(vec![Capture::NotNull {
        table: draft.quoted(table),
        column: name.clone(),
    }])
}

fn refuse_nullable_key(draft: &Draft<'_>, table: RelId, column: &Column) -> Result<(), BindError> {
    let relation = draft.relation(table);
    let in_key = relation
        .constraints
        .iter()
        .any(|c| c.kind == ConstraintKind::PrimaryKey && c.columns.contains(&column.id));
    if in_key {
        let name = &column.name;
        return Err(BindError::new(format!(
            "column \"{name}\" is in a primary key: it cannot become nullable"
        )));
    }
    Ok(())
}

/// ALTER COLUMN … TYPE
pub(super) fn change_type(
    draft: &mut Draft<'_>,
    table: RelId,
    command: &AlterTableCmd,
) -> Result<Effect, BindError> {
    let name = &command.name;
    let definition = definition(command)?;
    let column = draft.column(table, name)?.clone();
    let Some(type_node) = &definition.type_name else {
        return Err(BindError::new("ALTER COLUMN TYPE needs a type"));
    };
    refuse_trigger_column(draft, table, &column)?;
    let new = type_name::text(draft, type_node)?;
    let old = column.type_name.clone();
    let using = definition.raw_default.as_deref();
    if let Some(using) = using {
        expression::check_columns(draft, table, using)?;
        table_element::use_functions(draft, using);
        let columns = expression::columns_of(draft.relation(table), using);
        draft.scans(table, &columns);
    }
    let plain = using.is_none_or(|using| is_plain_cast(draft, using, name, &new));
    if !(plain && type_name::is_metadata_only(&old, &new)) {
        draft.costs("rewrites the table");
    }
    draft.scans(table, &[column.id]);
    draft.writes_column(table, column.id);
    let others: Vec<RelId> = draft
        .catalog
        .incoming(table)
        .map(|(other, _)| other.id)
        .chain(outgoing(draft, table, column.id))
        .collect();
    for other in others {
        draft.alters(other);
    }
    let family = constraint::family(draft, table);
    let collation = table_element::collation(draft, definition, &new);
    for member in &family {
        if let Some(relation) = draft.catalog.relation_mut(*member)
            && let Some(column) = relation.columns.iter_mut().find(|c| c.name == *name)
        {
            column.type_name.clone_from(&new);
            column.collation.clone_from(&collation);
        }
    }
    let table_name = draft.quoted(table);
    if plain && type_name::is_exact(&old, &new) {
        return Effect::capture(vec![
            Capture::Type {
                table: table_name.clone(),
                column: name.clone(),
            },
            Capture::Default {
                table: table_name,
                column: name.clone(),
            },
        ]);
    }
    if family.len() > 1 || column.generated.is_some() {
        return Effect::lost(
            "a change of type that loses information, of a generated column or on a table with partitions or children,",
        );
    }
    Ok(Effect::Run(DdlEffect::KeepColumn {
        table: table_name,
        column: name.clone(),
    }))
}

/// A trigger ON UPDATE OF a column holds it fast.
fn refuse_trigger_column(
    draft: &Draft<'_>,
    table: RelId,
    column: &Column,
) -> Result<(), BindError> {
    let mut triggers = draft.relation(table).triggers.iter();
    match triggers.find(|trigger| trigger.update_of.contains(&column.id)) {
        Some(trigger) => Err(BindError::new(format!(
            "column \"{}\" is named by trigger \"{}\": drop the trigger first, and create it again after",
            column.name, trigger.name
        ))),
        None => Ok(()),
    }
}

/// The tables that a column's foreign keys point at.
fn outgoing(draft: &Draft<'_>, table: RelId, column: ColId) -> Vec<RelId> {
    let constraints = draft.relation(table).constraints.iter();
    constraints
        .filter(|constraint| constraint.columns.contains(&column))
        .filter_map(|constraint| match &constraint.kind {
            ConstraintKind::ForeignKey { table, .. } => Some(*table),
            _ => None,
        })
        .collect()
}

/// Whether USING says only what PostgreSQL would do by itself: `column::type`, or the column.
fn is_plain_cast(draft: &Draft<'_>, using: &Node, column: &str, new: &str) -> bool {
    let is_column = |node: &Node| match &node.node {
        Some(NodeEnum::ColumnRef(_)) => expression::column_names(node) == [column],
        _ => false,
    };
    match &using.node {
        Some(NodeEnum::TypeCast(cast)) => {
            let same = cast
                .type_name
                .as_ref()
                .and_then(|name| type_name::text(draft, name).ok())
                .is_some_and(|text| text == new);
            same && cast.arg.as_ref().is_some_and(|arg| is_column(arg))
        }
        _ => is_column(using),
    }
}

/// ADD GENERATED … AS IDENTITY, SET GENERATED …, DROP IDENTITY
pub(super) fn identity(
    draft: &mut Draft<'_>,
    table: RelId,
    command: &AlterTableCmd,
) -> Result<Effect, BindError> {
    let name = &command.name;
    let column = draft.column(table, name)?.clone();
    let quoted = draft.quoted(table);
    let captured = Capture::Identity {
        table: quoted.clone(),
        column: name.clone(),
    };
    match kind(command) {
        Type::AtAddIdentity => {
            if column.identity.is_some() || column.default.is_some() {
                return Err(BindError::new(format!(
                    "column \"{name}\" has an identity or a default already"
                )));
            }
            if let Some(constraint) = command.def.as_deref().and_then(constraint::of_node) {
                table_element::add_identity(draft, table, column.id, constraint);
            }
            Effect::invert(vec![format!(
                "ALTER TABLE {quoted} ALTER COLUMN {} DROP IDENTITY",
                ident(name)
            )])
        }
        Type::AtDropIdentity => {
            if column.identity.is_none() {
                let message = format!("column \"{name}\" is not an identity column");
                return match command.missing_ok {
                    true => Ok(Effect::Skip(message)),
                    false => Err(BindError::new(message)),
                };
            }
            table_element::with_column(draft, table, column.id, |column| {
                column.identity = None;
                column.sequence = None;
            });
            if let Some(sequence) = column.sequence {
                let name = draft.name(sequence);
                draft.takes_name(&name);
                draft.catalog.remove(sequence);
            }
            Effect::capture(vec![captured])
        }
        _ => {
            if let Some(identity) = generated_when(command) {
                table_element::with_column(draft, table, column.id, |column| {
                    column.identity = Some(identity);
                });
            }
            Effect::capture(vec![captured])
        }
    }
}

/// `SET GENERATED ALWAYS | BY DEFAULT` among the options of SET.
fn generated_when(command: &AlterTableCmd) -> Option<Identity> {
    let Some(NodeEnum::List(options)) = command.def.as_ref()?.node.as_ref() else {
        return None;
    };
    options.items.iter().find_map(|option| match &option.node {
        Some(NodeEnum::DefElem(option)) if option.defname == "generated" => {
            match option.arg.as_ref()?.node.as_ref()? {
                // The letters of pg_attribute.attidentity.
                NodeEnum::Integer(letter) if letter.ival == i32::from(b'a') => {
                    Some(Identity::Always)
                }
                NodeEnum::Integer(_) => Some(Identity::ByDefault),
                _ => None,
            }
        }
        _ => None,
    })
}

/// SET EXPRESSION, DROP EXPRESSION of a generated column.
pub(super) fn expression(
    draft: &mut Draft<'_>,
    table: RelId,
    command: &AlterTableCmd,
) -> Result<Effect, BindError> {
    let name = &command.name;
    let column = draft.column(table, name)?.clone();
    let (Some(old), Type::AtSetExpression, Some(new)) =
        (&column.generated, kind(command), &command.def)
    else {
        if command.missing_ok && column.generated.is_none() {
            return Ok(Effect::Skip(format!(
                "column \"{name}\" is not a generated column"
            )));
        }
        return Effect::lost("DROP EXPRESSION");
    };
    let text = expression::text(new)?;
    draft.costs("rewrites the table");
    draft.writes_column(table, column.id);
    table_element::with_column(draft, table, column.id, |column| {
        column.generated = Some(text);
    });
    Effect::invert(vec![format!(
        "ALTER TABLE {} ALTER COLUMN {} SET EXPRESSION AS ({old})",
        draft.quoted(table),
        ident(name)
    )])
}

/// SET STATISTICS, STORAGE, COMPRESSION, (options)
pub(super) fn attributes(
    draft: &mut Draft<'_>,
    table: RelId,
    command: &AlterTableCmd,
) -> Result<Effect, BindError> {
    if command.name.is_empty() || draft.relation(table).kind == RelationKind::View {
        return Effect::lost("SET STATISTICS by number");
    }
    draft.column(table, &command.name)?;
    Effect::capture(vec![Capture::ColumnAttributes {
        table: draft.quoted(table),
        column: command.name.clone(),
    }])
}
