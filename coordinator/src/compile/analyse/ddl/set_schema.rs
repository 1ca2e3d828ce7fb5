//! ALTER … SET SCHEMA, whose inverse is to move back.

use pg_query::protobuf::{AlterObjectSchemaStmt, ObjectType};
use upshift_shared::{
    catalog::RelationKind,
    ids::RelId,
    pg::ident::{QualifiedName, ident},
};

use super::{
    draft::{Draft, Outcome},
    drop::words,
    function, object, user_type,
};
use crate::compile::error::BindError;

/// ALTER … SET SCHEMA
pub(super) fn bind(
    draft: &mut Draft<'_>,
    stmt: &AlterObjectSchemaStmt,
) -> Result<Outcome, BindError> {
    let kind = ObjectType::try_from(stmt.object_type).unwrap_or(ObjectType::Undefined);
    let schema = draft.creation_schema(&stmt.newschema)?;
    if let Some(name) = &stmt.relation {
        return match draft.find(name) {
            Some(id) => relation(draft, id, &schema),
            None if stmt.missing_ok => Ok(Outcome::Skipped(object::no_relation(draft, name))),
            None => Err(BindError::at(
                name.location,
                object::no_relation(draft, name),
            )),
        };
    }
    let Some(node) = stmt.object.as_deref() else {
        return Err(BindError::new("SET SCHEMA needs an object"));
    };
    match kind {
        ObjectType::ObjectFunction
        | ObjectType::ObjectProcedure
        | ObjectType::ObjectRoutine
        | ObjectType::ObjectAggregate => function::set_schema(draft, node, kind, &schema),
        ObjectType::ObjectType | ObjectType::ObjectDomain => {
            user_type::set_schema(draft, node, kind, &schema)
        }
        _ => {
            draft.touches_everything();
            draft.done_without_inverse(format!("ALTER {} … SET SCHEMA", words(kind)))
        }
    }
}

fn relation(draft: &mut Draft<'_>, id: RelId, schema: &str) -> Result<Outcome, BindError> {
    let old = draft.name(id);
    let new = QualifiedName::new(schema, &old.name);
    if old.schema == schema {
        return Ok(Outcome::Skipped(format!(
            "\"{}\" is in schema \"{schema}\" already",
            old.name
        )));
    }
    if object::is_taken(draft, schema, &old.name) {
        return Err(BindError::new(format!(
            "relation \"{}\" already exists in schema \"{schema}\"",
            old.name
        )));
    }
    let word = match draft.relation(id).kind {
        RelationKind::View => "VIEW",
        RelationKind::MaterializedView => "MATERIALIZED VIEW",
        RelationKind::Sequence => "SEQUENCE",
        RelationKind::ForeignTable => "FOREIGN TABLE",
        RelationKind::CompositeType => "TYPE",
        RelationKind::Table | RelationKind::PartitionedTable => "TABLE",
    };
    // Indexes and owned sequences go along.
    let owned = draft
        .catalog
        .relations()
        .filter(|relation| relation.owned_by.is_some_and(|(table, _)| table == id));
    let moved: Vec<(RelId, String)> = owned
        .map(|relation| (relation.id, relation.name.clone()))
        .chain([(id, old.name.clone())])
        .collect();
    let indexes = draft.relation(id).indexes.clone();
    for name in moved
        .iter()
        .map(|(_, name)| name)
        .chain(indexes.iter().map(|index| &index.name))
    {
        draft.takes_name(&QualifiedName::new(&old.schema, name));
        draft.takes_name(&QualifiedName::new(schema, name));
    }
    for constraint in draft.relation(id).constraints.clone() {
        draft.takes_constraint_name(&old.schema, &constraint.name);
        draft.takes_constraint_name(schema, &constraint.name);
    }
    for (member, name) in moved {
        draft.alters(member);
        draft.catalog.rename(member, schema, &name);
    }
    draft.done(vec![format!(
        "ALTER {word} {new} SET SCHEMA {}",
        ident(&old.schema)
    )])
}
