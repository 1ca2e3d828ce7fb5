//! What stands between the parentheses of CREATE TABLE and behind ADD COLUMN: columns with their
//! defaults, sequences and constraints.

use std::collections::BTreeSet;

use pg_query::{
    Node, NodeEnum,
    protobuf::{ColumnDef, ConstrType, Constraint, TypeName},
};
use upshift_shared::{
    catalog::{Column, Identity, Inheritance, Persistence, Relation, RelationKind, Volatility},
    ids::{ColId, RelId},
    pg::ident::{QualifiedName, ident},
};

use super::{
    constraint::{self, Pending},
    draft::Draft,
    expression, generated_name, object, type_name,
};
use crate::compile::error::BindError;

/// Which sequence a `serial` of that name draws from: its integer type.
fn serial(type_name: &TypeName) -> Option<&'static str> {
    match object::strings(&type_name.names).as_slice() {
        [name] => match name.as_str() {
            "smallserial" | "serial2" => Some("smallint"),
            "serial" | "serial4" => Some("integer"),
            "bigserial" | "serial8" => Some("bigint"),
            _ => None,
        },
        _ => None,
    }
}

/// Adds a column to a relation; its constraints wait in `pending`.
pub(super) fn add_column<'s>(
    draft: &mut Draft<'_>,
    table: RelId,
    definition: &'s ColumnDef,
    pending: &mut Pending<'s>,
) -> Result<ColId, BindError> {
    let relation = draft.relation(table);
    if relation.column(&definition.colname).is_some() {
        let name = draft.name(table).plain();
        return Err(BindError::at(
            definition.location,
            format!(
                "column \"{}\" of relation \"{name}\" already exists",
                definition.colname
            ),
        ));
    }
    let last = relation.columns.iter().map(|column| column.id.0).max();
    let id = ColId(last.unwrap_or(0) + 1);
    let type_node = definition.type_name.as_ref();
    let serial = type_node.and_then(serial);
    let type_text = match (serial, type_node) {
        (Some(serial), _) => serial.to_owned(),
        (None, Some(name)) => {
            let text = type_name::text(draft, name)?;
            use_type(draft, name);
            text
        }
        (None, None) => String::new(),
    };
    let column = Column {
        id,
        name: definition.colname.clone(),
        collation: collation(draft, definition, &type_text),
        type_name: type_text,
        not_null: serial.is_some() || definition.is_not_null,
        default: None,
        identity: None,
        generated: None,
        sequence: None,
    };
    if let Some(relation) = draft.catalog.relation_mut(table) {
        relation.columns.push(column);
    }
    if serial.is_some() {
        let sequence = own_sequence(draft, table, id, &definition.colname);
        let default = format!(
            "nextval({}::regclass)",
            upshift_shared::pg::ident::literal(&draft.quoted(sequence))
        );
        with_column(draft, table, id, |column| {
            column.default = Some(default);
            column.sequence = Some(sequence);
        });
        pending.not_null(id, None);
    }
    if let Some(default) = &definition.raw_default {
        set_default(draft, table, id, default)?;
    }
    column_constraints(draft, (table, id), definition, pending)?;
    Ok(id)
}

/// The collation of a column so defined: its own, else that of its type.
pub(super) fn collation(
    draft: &Draft<'_>,
    definition: &ColumnDef,
    type_name: &str,
) -> Option<String> {
    let Some(clause) = &definition.coll_clause else {
        return draft.catalog.domain(type_name)?.collation.clone();
    };
    let names = object::strings(&clause.collname);
    let default = names.last().is_some_and(|name| name == "default");
    let quoted: Vec<String> = names.iter().map(|name| ident(name)).collect();
    (!default).then(|| quoted.join("."))
}

/// A column's type is ordered behind what creates it.
fn use_type(draft: &mut Draft<'_>, name: &TypeName) {
    let parts = object::strings(&name.names);
    let (schema, own) = object::split(&parts);
    let types = &draft.catalog.types;
    let schemas: Vec<&String> = if schema.is_empty() {
        draft.path.iter().collect()
    } else {
        vec![&schema]
    };
    let known = schemas
        .into_iter()
        .find(|schema| types.iter().any(|t| t.schema == **schema && t.name == own))
        .map(|schema| QualifiedName::new(schema, &own));
    if let Some(name) = known {
        draft.reads_object("type", &name);
    }
}

fn column_constraints<'s>(
    draft: &mut Draft<'_>,
    (table, id): (RelId, ColId),
    definition: &'s ColumnDef,
    pending: &mut Pending<'s>,
) -> Result<(), BindError> {
    for node in &definition.constraints {
        let Some(NodeEnum::Constraint(constraint)) = &node.node else {
            continue;
        };
        match ConstrType::try_from(constraint.contype).unwrap_or(ConstrType::Undefined) {
            ConstrType::ConstrDefault => {
                if let Some(default) = &constraint.raw_expr {
                    set_default(draft, table, id, default)?;
                }
            }
            ConstrType::ConstrIdentity => {
                add_identity(draft, table, id, constraint);
                pending.not_null(id, None);
            }
            ConstrType::ConstrGenerated => {
                let text = match &constraint.raw_expr {
                    Some(expression) => expression::text(expression)?,
                    None => String::new(),
                };
                with_column(draft, table, id, |column| column.generated = Some(text));
            }
            ConstrType::ConstrNotnull => {
                with_column(draft, table, id, |column| column.not_null = true);
                pending.not_null(id, Some(constraint));
            }
            ConstrType::ConstrPrimary => {
                with_column(draft, table, id, |column| column.not_null = true);
                pending.not_null(id, None);
                pending.index(vec![id], constraint);
            }
            ConstrType::ConstrUnique | ConstrType::ConstrExclusion => {
                pending.index(vec![id], constraint);
            }
            ConstrType::ConstrCheck => pending.check(constraint),
            ConstrType::ConstrForeign => pending.foreign_key(vec![id], constraint),
            ConstrType::ConstrAttrDeferrable => pending.deferrable(false),
            ConstrType::ConstrAttrDeferred => pending.deferrable(true),
            _ => {}
        }
    }
    Ok(())
}

/// Changes a column in the catalog.
pub(super) fn with_column(
    draft: &mut Draft<'_>,
    table: RelId,
    column: ColId,
    change: impl FnOnce(&mut Column),
) {
    if let Some(relation) = draft.catalog.relation_mut(table)
        && let Some(column) = relation.columns.iter_mut().find(|c| c.id == column)
    {
        change(column);
    }
}

/// Sets a column's default.
pub(super) fn set_default(
    draft: &mut Draft<'_>,
    table: RelId,
    column: ColId,
    default: &Node,
) -> Result<(), BindError> {
    let text = expression::text(default)?;
    let sequence = expression::sequences(draft, default).first().copied();
    if let Some(sequence) = sequence {
        draft.mentions(sequence);
    }
    use_functions(draft, default);
    with_column(draft, table, column, |column| {
        column.default = Some(text);
        column.sequence = sequence;
    });
    Ok(())
}

/// Functions of the user's own in an expression are ordered behind what creates them.
pub(super) fn use_functions(draft: &mut Draft<'_>, expression: &Node) {
    for name in expression::function_names(expression) {
        let schemas: Vec<String> = draft
            .catalog
            .functions
            .get(&name)
            .into_iter()
            .flatten()
            .filter(|function| !function.builtin)
            .map(|function| function.schema.clone())
            .collect();
        for schema in schemas {
            draft.reads_object("function", &QualifiedName::new(schema, &name));
        }
    }
}

/// Whether a default has to be evaluated row by row, so that the table is rewritten.
pub(super) fn is_volatile(draft: &Draft<'_>, expression: &Node) -> bool {
    expression::function_names(expression).iter().any(|name| {
        let known = draft.catalog.functions.get(name);
        known.is_none_or(|functions| {
            functions
                .iter()
                .any(|function| function.volatility == Volatility::Volatile)
        })
    })
}

/// Makes a column an identity column, with its sequence.
pub(super) fn add_identity(
    draft: &mut Draft<'_>,
    table: RelId,
    column: ColId,
    constraint: &Constraint,
) {
    let name = draft
        .relation(table)
        .column_by_id(column)
        .map(|column| column.name.clone())
        .unwrap_or_default();
    let sequence = own_sequence(draft, table, column, &name);
    let identity = if constraint.generated_when == "a" {
        Identity::Always
    } else {
        Identity::ByDefault
    };
    with_column(draft, table, column, |column| {
        column.identity = Some(identity);
        column.not_null = true;
        column.sequence = Some(sequence);
    });
}

/// Adds the sequence that comes with a `serial` or identity column.
fn own_sequence(draft: &mut Draft<'_>, table: RelId, column: ColId, name: &str) -> RelId {
    let owner = draft.name(table);
    let sequence =
        generated_name::relation(draft, &owner.schema, &owner.name, Some(name), "seq", false);
    let sequence = QualifiedName::new(owner.schema, sequence);
    draft.takes_name(&sequence);
    let mut relation = empty_relation(&sequence, RelationKind::Sequence);
    relation.owned_by = Some((table, column));
    draft.catalog.insert(relation)
}

/// A relation that a statement creates, without anything in it.
pub(super) fn empty_relation(name: &QualifiedName, kind: RelationKind) -> Relation {
    Relation {
        id: RelId(0),
        oid: None,
        schema: name.schema.clone(),
        name: name.name.clone(),
        kind,
        persistence: Persistence::Permanent,
        columns: Vec::new(),
        constraints: Vec::new(),
        indexes: Vec::new(),
        triggers: Vec::new(),
        rules: BTreeSet::new(),
        row_security: false,
        inheritance: Inheritance::default(),
        reads: Vec::new(),
        owned_by: None,
        rows: 0.0,
        bytes: 0,
        obstacles: Vec::new(),
        dependents: Vec::new(),
    }
}

/// A column of a relation whose columns come from elsewhere.
pub(super) fn plain_column(id: u16, name: &str, type_name: &str) -> Column {
    Column {
        id: ColId(id),
        name: name.to_owned(),
        type_name: type_name.to_owned(),
        collation: None,
        not_null: false,
        default: None,
        identity: None,
        generated: None,
        sequence: None,
    }
}

/// Applies what waits, in PostgreSQL's order: NOT NULL, CHECK, indexes, foreign keys. Names are made up
/// in that order too.
pub(super) fn apply(
    draft: &mut Draft<'_>,
    table: RelId,
    pending: Pending<'_>,
) -> Result<(), BindError> {
    constraint::apply(draft, table, pending)
}
