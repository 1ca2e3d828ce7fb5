//! OWNER TO.

use pg_query::protobuf::{AlterOwnerStmt, ObjectType};
use upshift_shared::{ids::RelId, plan::Capture};

use super::{
    alter_table::Effect,
    draft::{Draft, Outcome},
    drop::words,
    function,
};
use crate::compile::error::BindError;

/// ALTER TABLE … OWNER TO: sequences that the table owns go along, both ways.
pub(super) fn relation(draft: &mut Draft<'_>, table: RelId) -> Result<Effect, BindError> {
    Effect::capture(vec![Capture::Owner {
        object: draft.quoted(table),
    }])
}

/// ALTER … OWNER TO of what is not a relation.
pub(super) fn bind(draft: &mut Draft<'_>, stmt: &AlterOwnerStmt) -> Result<Outcome, BindError> {
    let kind = ObjectType::try_from(stmt.object_type).unwrap_or(ObjectType::Undefined);
    let signature = match kind {
        ObjectType::ObjectFunction | ObjectType::ObjectProcedure | ObjectType::ObjectRoutine => {
            let node = stmt.object.as_deref();
            node.and_then(|node| function::signature_of(draft, node))
        }
        _ => None,
    };
    match signature {
        Some(function) => draft.done_captured(vec![Capture::Function { function }]),
        None => {
            draft.touches_everything();
            draft.done_without_inverse(format!("ALTER {} … OWNER TO", words(kind)))
        }
    }
}
