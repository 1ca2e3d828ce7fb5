//! Schemas and extensions.

use pg_query::{
    Node, NodeEnum,
    protobuf::{CreateExtensionStmt, CreateSchemaStmt, DropStmt},
};
use upshift_shared::pg::ident::{QualifiedName, ident};

use super::{
    draft::{Draft, Outcome},
    drop::{Dropped, named},
    object,
};
use crate::compile::error::BindError;

/// CREATE SCHEMA
pub(super) fn create(draft: &mut Draft<'_>, stmt: &CreateSchemaStmt) -> Result<Outcome, BindError> {
    let name = match (&stmt.authrole, stmt.schemaname.is_empty()) {
        (Some(role), true) => role.rolename.clone(),
        _ => stmt.schemaname.clone(),
    };
    if draft.catalog.schemas.contains(&name) {
        let why = format!("schema \"{name}\" already exists");
        return match stmt.if_not_exists {
            true => Ok(Outcome::Skipped(why)),
            false => Err(BindError::new(format!("{why}: say IF NOT EXISTS"))),
        };
    }
    if !stmt.schema_elts.is_empty() {
        return Err(BindError::new(
            "CREATE SCHEMA with objects in one statement: create the schema first, then each object in \
             a statement of its own",
        ));
    }
    draft.writes_object("schema", &QualifiedName::new("", &name));
    draft.catalog.schemas.push(name.clone());
    draft.done(vec![format!("DROP SCHEMA {}", ident(&name))])
}

/// DROP SCHEMA: its owner, privileges and what the snapshot does not list would be lost.
pub(super) fn drop(draft: &mut Draft<'_>, _: &DropStmt, node: &Node) -> Result<Dropped, BindError> {
    let name = named(node).name;
    if !draft.catalog.schemas.contains(&name) {
        let known = draft.catalog.schemas.iter().map(String::as_str);
        let hint = object::did_you_mean(&name, known);
        return Ok(Dropped::Missing(format!(
            "schema \"{name}\" does not exist{hint}"
        )));
    }
    draft.touches_everything();
    let inside: Vec<_> = draft
        .catalog
        .relations()
        .filter(|relation| relation.schema == name)
        .map(|relation| relation.id)
        .collect();
    for id in inside {
        draft.catalog.remove(id);
    }
    draft.catalog.schemas.retain(|schema| *schema != name);
    draft.no_inverse("DROP SCHEMA");
    Ok(Dropped::Yes)
}

/// CREATE EXTENSION
pub(super) fn create_extension(
    draft: &mut Draft<'_>,
    stmt: &CreateExtensionStmt,
) -> Result<Outcome, BindError> {
    let name = &stmt.extname;
    if draft.catalog.extensions.contains(name) {
        let why = format!("extension \"{name}\" already exists");
        return match stmt.if_not_exists {
            true => Ok(Outcome::Skipped(why)),
            false => Err(BindError::new(format!("{why}: say IF NOT EXISTS"))),
        };
    }
    // It brings types, functions and operators that are not known here.
    draft.touches_everything();
    draft.catalog.extensions.push(name.clone());
    let cascades = stmt.options.iter().any(|option| {
        matches!(&option.node, Some(NodeEnum::DefElem(option)) if option.defname == "cascade")
    });
    if cascades {
        return draft.done_without_inverse("CREATE EXTENSION … CASCADE");
    }
    draft.done(vec![format!("DROP EXTENSION {}", ident(name))])
}

/// DROP EXTENSION
pub(super) fn drop_extension(
    draft: &mut Draft<'_>,
    _: &DropStmt,
    node: &Node,
) -> Result<Dropped, BindError> {
    let name = named(node).name;
    if !draft.catalog.extensions.contains(&name) {
        return Ok(Dropped::Missing(format!(
            "extension \"{name}\" does not exist"
        )));
    }
    draft.touches_everything();
    draft
        .catalog
        .extensions
        .retain(|extension| *extension != name);
    draft.no_inverse("DROP EXTENSION");
    Ok(Dropped::Yes)
}
