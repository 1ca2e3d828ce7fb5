//! GRANT and REVOKE on relations: the inverse is the privileges that were there.

use pg_query::protobuf::{GrantStmt, GrantTargetType, ObjectType};
use pg_query::{Node, NodeEnum};
use upshift_shared::{catalog::RelationKind, ids::RelId, plan::Capture};

use super::{
    draft::{Draft, Outcome},
    drop::words,
    object,
};
use crate::compile::error::BindError;

/// GRANT, REVOKE
pub(super) fn grant(draft: &mut Draft<'_>, stmt: &GrantStmt) -> Result<Outcome, BindError> {
    let verb = if stmt.is_grant { "GRANT" } else { "REVOKE" };
    let kind = ObjectType::try_from(stmt.objtype).unwrap_or(ObjectType::Undefined);
    let relations = match kind {
        ObjectType::ObjectTable | ObjectType::ObjectSequence => relations(draft, stmt, kind)?,
        _ => {
            draft.touches_everything();
            return draft.done_without_inverse(format!("{verb} on {}", words(kind)));
        }
    };
    let mut objects = Vec::new();
    for id in relations {
        draft.alters(id);
        objects.push(Capture::Privileges {
            object: draft.quoted(id),
        });
    }
    if objects.is_empty() {
        return Ok(Outcome::Skipped("there is no such relation".to_owned()));
    }
    draft.done_captured(objects)
}

fn relations(
    draft: &Draft<'_>,
    stmt: &GrantStmt,
    kind: ObjectType,
) -> Result<Vec<RelId>, BindError> {
    if stmt.targtype == GrantTargetType::AclTargetAllInSchema as i32 {
        let schemas: Vec<String> = stmt.objects.iter().flat_map(object::parts).collect();
        let is_kind = |relation: RelationKind| match kind {
            ObjectType::ObjectSequence => relation == RelationKind::Sequence,
            _ => !matches!(
                relation,
                RelationKind::Sequence | RelationKind::CompositeType
            ),
        };
        let relations = draft.catalog.relations();
        return Ok(relations
            .filter(|relation| schemas.contains(&relation.schema) && is_kind(relation.kind))
            .map(|relation| relation.id)
            .collect());
    }
    let names = stmt.objects.iter().filter_map(range_var);
    names.map(|name| draft.require(name)).collect()
}

fn range_var(node: &Node) -> Option<&pg_query::protobuf::RangeVar> {
    match &node.node {
        Some(NodeEnum::RangeVar(name)) => Some(name),
        _ => None,
    }
}
