//! Extended statistics objects.

use pg_query::{
    NodeEnum,
    protobuf::{AlterStatsStmt, CreateStatsStmt},
};
use upshift_shared::pg::ident::QualifiedName;

use super::{
    draft::{Draft, Outcome},
    object,
};
use crate::compile::error::BindError;

/// CREATE STATISTICS
pub(super) fn create(draft: &mut Draft<'_>, stmt: &CreateStatsStmt) -> Result<Outcome, BindError> {
    for node in &stmt.relations {
        if let Some(NodeEnum::RangeVar(table)) = &node.node {
            let table = draft.require(table)?;
            draft.alters(table);
        }
    }
    let parts = object::strings(&stmt.defnames);
    if parts.is_empty() {
        return draft.done_without_inverse("CREATE STATISTICS without a name");
    }
    if stmt.if_not_exists {
        // Whether it is there is not in the snapshot.
        return draft.done_without_inverse("CREATE STATISTICS IF NOT EXISTS");
    }
    let (schema, name) = object::split(&parts);
    let name = QualifiedName::new(draft.creation_schema(&schema)?, name);
    draft.writes_object("statistics", &name);
    draft.done(vec![format!("DROP STATISTICS {name}")])
}

/// ALTER STATISTICS … SET STATISTICS
pub(super) fn alter(draft: &mut Draft<'_>, _: &AlterStatsStmt) -> Result<Outcome, BindError> {
    draft.touches_everything();
    draft.done_without_inverse("ALTER STATISTICS … SET STATISTICS")
}
