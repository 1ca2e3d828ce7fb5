//! Types of the user's own: enums, composites, ranges and domains.

use pg_query::NodeEnum;
use pg_query::{
    Node,
    protobuf::{
        AlterDomainStmt, AlterEnumStmt, AlterTableStmt, AlterTableType, CompositeTypeStmt,
        CreateDomainStmt, CreateEnumStmt, CreateRangeStmt, DropStmt, ObjectType, RenameStmt,
    },
};
use upshift_shared::{
    catalog::{Function, RelationKind, UserType, Volatility},
    pg::ident::{QualifiedName, ident, literal},
    plan::Hide,
};

use super::{
    alter_table::cascades,
    constraint,
    draft::{Draft, Outcome},
    drop::{Dropped, words},
    object, rename as renaming, table_element, type_name,
};
use crate::compile::error::BindError;

/// A type of the user's own by name.
fn find(draft: &Draft<'_>, parts: &[String]) -> Option<QualifiedName> {
    let (schema, name) = object::split(parts);
    let types = &draft.catalog.types;
    let has = |schema: &str| types.iter().any(|t| t.schema == schema && t.name == name);
    let schema = if schema.is_empty() {
        draft.path.iter().find(|schema| has(schema))?.clone()
    } else {
        has(&schema).then_some(schema)?
    };
    Some(QualifiedName::new(schema, name))
}

/// The same, or what `psql` would say.
pub(super) fn require(draft: &Draft<'_>, parts: &[String]) -> Result<QualifiedName, BindError> {
    find(draft, parts).ok_or_else(|| BindError::new(missing(draft, parts)))
}

fn missing(draft: &Draft<'_>, parts: &[String]) -> String {
    let (_, name) = object::split(parts);
    let known = draft.catalog.types.iter().map(|t| t.name.as_str());
    let hint = object::did_you_mean(&name, known);
    format!("type \"{}\" does not exist{hint}", parts.join("."))
}

fn create(draft: &mut Draft<'_>, parts: &[String], kind: char) -> Result<QualifiedName, BindError> {
    let (schema, name) = object::split(parts);
    let schema = draft.creation_schema(&schema)?;
    let types = &mut draft.catalog.types;
    if types.iter().any(|t| t.schema == schema && t.name == name) {
        return Err(BindError::new(format!("type \"{name}\" already exists")));
    }
    types.push(UserType {
        schema: schema.clone(),
        name: name.clone(),
        kind,
        domain: None,
    });
    let name = QualifiedName::new(schema, name);
    draft.writes_object("type", &name);
    Ok(name)
}

/// CREATE TYPE … AS ENUM
pub(super) fn create_enum(
    draft: &mut Draft<'_>,
    stmt: &CreateEnumStmt,
) -> Result<Outcome, BindError> {
    let name = create(draft, &object::strings(&stmt.type_name), 'e')?;
    draft.done(vec![format!("DROP TYPE {name}")])
}

/// CREATE TYPE … AS RANGE
pub(super) fn create_range(
    draft: &mut Draft<'_>,
    stmt: &CreateRangeStmt,
) -> Result<Outcome, BindError> {
    let name = create(draft, &object::strings(&stmt.type_name), 'r')?;
    let multirange = if name.name.contains("range") {
        name.name.replacen("range", "multirange", 1)
    } else {
        format!("{}_multirange", name.name)
    };
    let constructors = [
        (name.name.clone(), 2),
        (name.name.clone(), 3),
        (multirange.clone(), 0),
        (multirange.clone(), 1),
        (multirange, 1),
    ];
    for (function, arguments) in constructors {
        let functions = draft.catalog.functions.entry(function).or_default();
        functions.push(Function {
            schema: name.schema.clone(),
            volatility: Volatility::Immutable,
            aggregate: false,
            window: false,
            returns_set: false,
            builtin: false,
            arguments,
        });
    }
    draft.done(vec![format!("DROP TYPE {name}")])
}

/// CREATE TYPE … AS (…)
pub(super) fn create_composite(
    draft: &mut Draft<'_>,
    stmt: &CompositeTypeStmt,
) -> Result<Outcome, BindError> {
    let Some(relation) = &stmt.typevar else {
        return Err(BindError::new("CREATE TYPE needs a name"));
    };
    let parts = [relation.schemaname.clone(), relation.relname.clone()];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let mut columns = Vec::new();
    for (number, node) in (1..).zip(&stmt.coldeflist) {
        if let Some(NodeEnum::ColumnDef(column)) = &node.node
            && let Some(own) = &column.type_name
        {
            let text = type_name::text(draft, own)?;
            columns.push(table_element::plain_column(number, &column.colname, &text));
        }
    }
    let name = create(draft, &parts, 'c')?;
    let mut relation = table_element::empty_relation(&name, RelationKind::CompositeType);
    relation.columns = columns;
    draft.takes_name(&name);
    draft.catalog.insert(relation);
    draft.done(vec![format!("DROP TYPE {name}")])
}

/// ALTER TYPE … ADD | DROP | ALTER ATTRIBUTE
pub(super) fn alter_composite(
    draft: &mut Draft<'_>,
    stmt: &AlterTableStmt,
) -> Result<Outcome, BindError> {
    let relation = stmt.relation.clone().unwrap_or_default();
    let id = draft.require(&relation)?;
    draft.alters(id);
    let name = draft.name(id);
    draft.writes_object("type", &name);
    let mut undo = Vec::new();
    for node in &stmt.cmds {
        let Some(NodeEnum::AlterTableCmd(command)) = &node.node else {
            continue;
        };
        let definition = command.def.as_ref().and_then(|def| def.node.as_ref());
        match (AlterTableType::try_from(command.subtype), definition) {
            (Ok(AlterTableType::AtAddColumn), Some(NodeEnum::ColumnDef(column))) => {
                let mut pending = constraint::Pending::default();
                table_element::add_column(draft, id, column, &mut pending)?;
                let attribute = ident(&column.colname);
                undo.insert(0, format!("ALTER TYPE {name} DROP ATTRIBUTE {attribute}"));
            }
            _ => draft.no_inverse("DROP or ALTER ATTRIBUTE"),
        }
    }
    draft.done(undo)
}

/// CREATE DOMAIN
pub(super) fn create_domain(
    draft: &mut Draft<'_>,
    stmt: &CreateDomainStmt,
) -> Result<Outcome, BindError> {
    let name = create(draft, &object::strings(&stmt.domainname), 'd')?;
    draft.done(vec![format!("DROP DOMAIN {name}")])
}

/// ALTER TYPE … ADD VALUE | RENAME VALUE
pub(super) fn alter_enum(
    draft: &mut Draft<'_>,
    stmt: &AlterEnumStmt,
) -> Result<Outcome, BindError> {
    let name = require(draft, &object::strings(&stmt.type_name))?;
    draft.writes_object("type", &name);
    if stmt.old_val.is_empty() {
        return draft.done_without_inverse("ALTER TYPE … ADD VALUE");
    }
    draft.done(vec![format!(
        "ALTER TYPE {name} RENAME VALUE {} TO {}",
        literal(&stmt.new_val),
        literal(&stmt.old_val)
    )])
}

/// ALTER DOMAIN: the snapshot has no domain's constraints, so only a named one can be taken back.
pub(super) fn alter_domain(
    draft: &mut Draft<'_>,
    stmt: &AlterDomainStmt,
) -> Result<Outcome, BindError> {
    let name = require(draft, &object::strings(&stmt.type_name))?;
    draft.writes_object("type", &name);
    draft.touches_everything();
    let constraint = stmt.def.as_deref().and_then(constraint::of_node);
    match (stmt.subtype.as_str(), constraint) {
        ("C", Some(constraint)) if !constraint.conname.is_empty() => {
            draft.costs("checks every column of the domain");
            draft.done(vec![format!(
                "ALTER DOMAIN {name} DROP CONSTRAINT {}",
                ident(&constraint.conname)
            )])
        }
        ("C", _) => draft.done_without_inverse("ADD CHECK without a name on a domain"),
        _ => draft.done_without_inverse("this form of ALTER DOMAIN"),
    }
}

/// DROP TYPE, DROP DOMAIN
pub(super) fn drop(
    draft: &mut Draft<'_>,
    stmt: &DropStmt,
    node: &Node,
) -> Result<Dropped, BindError> {
    let parts = object::parts(node);
    let Some(name) = find(draft, &parts) else {
        return Ok(Dropped::Missing(missing(draft, &parts)));
    };
    let kind = ObjectType::try_from(stmt.remove_type).unwrap_or(ObjectType::Undefined);
    draft.writes_object("type", &name);
    draft.frees_dependents();
    if cascades(stmt.behavior) {
        draft.no_inverse(format!("DROP {} … CASCADE", words(kind)));
    }
    let types = &mut draft.catalog.types;
    types.retain(|t| t.schema != name.schema || t.name != name.name);
    let composite = draft.catalog.find(Some(&name.schema), &name.name, &[]);
    if let Some(id) = composite.map(|relation| relation.id) {
        draft.takes_name(&name);
        draft.catalog.remove(id);
    }
    draft.hide(
        format!("DROP {} {name}", words(kind)),
        Hide::Object {
            class: words(kind).to_owned(),
            object: name.to_string(),
        },
    );
    Ok(Dropped::Yes)
}

fn relocate(draft: &mut Draft<'_>, old: &QualifiedName, new: &QualifiedName) {
    draft.writes_object("type", old);
    draft.writes_object("type", new);
    let own = draft
        .catalog
        .types
        .iter_mut()
        .find(|t| t.schema == old.schema && t.name == old.name);
    if let Some(own) = own {
        own.schema.clone_from(&new.schema);
        own.name.clone_from(&new.name);
    }
    let composite = draft.catalog.find(Some(&old.schema), &old.name, &[]);
    if let Some(id) = composite.map(|relation| relation.id) {
        draft.catalog.rename(id, &new.schema, &new.name);
    }
    // Columns have their type by its name.
    let was = format!(
        "{}.{}",
        type_name::quote_if_needed(&old.schema),
        type_name::quote_if_needed(&old.name)
    );
    let is = format!(
        "{}.{}",
        type_name::quote_if_needed(&new.schema),
        type_name::quote_if_needed(&new.name)
    );
    let users: Vec<_> = draft
        .catalog
        .relations()
        .filter(|r| r.columns.iter().any(|c| c.type_name.starts_with(&was)))
        .map(|relation| relation.id)
        .collect();
    for id in users {
        draft.alters(id);
        if let Some(relation) = draft.catalog.relation_mut(id) {
            for column in &mut relation.columns {
                if column.type_name == was || column.type_name == format!("{was}[]") {
                    column.type_name = column.type_name.replacen(&was, &is, 1);
                }
            }
        }
    }
}

/// ALTER TYPE … RENAME TO
pub(super) fn rename(
    draft: &mut Draft<'_>,
    stmt: &RenameStmt,
    kind: ObjectType,
) -> Result<Outcome, BindError> {
    let old = require(draft, &renaming::object_parts(stmt))?;
    let new = QualifiedName::new(&old.schema, &stmt.newname);
    if draft
        .catalog
        .types
        .iter()
        .any(|t| t.schema == new.schema && t.name == new.name)
    {
        return Err(BindError::new(format!(
            "type \"{}\" already exists",
            new.plain()
        )));
    }
    relocate(draft, &old, &new);
    draft.done(vec![format!(
        "ALTER {} {new} RENAME TO {}",
        words(kind),
        ident(&old.name)
    )])
}

/// RENAME ATTRIBUTE, RENAME CONSTRAINT of a domain
pub(super) fn rename_part(
    draft: &mut Draft<'_>,
    stmt: &RenameStmt,
    kind: ObjectType,
) -> Result<Outcome, BindError> {
    let (new, old) = (ident(&stmt.newname), ident(&stmt.subname));
    if kind == ObjectType::ObjectDomconstraint {
        let name = require(draft, &renaming::object_parts(stmt))?;
        draft.writes_object("type", &name);
        return draft.done(vec![format!(
            "ALTER DOMAIN {name} RENAME CONSTRAINT {new} TO {old}"
        )]);
    }
    let relation = stmt.relation.clone().unwrap_or_default();
    let id = draft.require(&relation)?;
    draft.column(id, &stmt.subname)?;
    draft.alters(id);
    if let Some(relation) = draft.catalog.relation_mut(id) {
        for column in relation
            .columns
            .iter_mut()
            .filter(|c| c.name == stmt.subname)
        {
            column.name.clone_from(&stmt.newname);
        }
    }
    draft.done(vec![format!(
        "ALTER TYPE {} RENAME ATTRIBUTE {new} TO {old}",
        draft.quoted(id)
    )])
}

/// ALTER TYPE … SET SCHEMA
pub(super) fn set_schema(
    draft: &mut Draft<'_>,
    node: &Node,
    kind: ObjectType,
    schema: &str,
) -> Result<Outcome, BindError> {
    let old = require(draft, &object::parts(node))?;
    let new = QualifiedName::new(schema, &old.name);
    relocate(draft, &old, &new);
    draft.done(vec![format!(
        "ALTER {} {new} SET SCHEMA {}",
        words(kind),
        ident(&old.schema)
    )])
}
