//! ALTER INDEX, and finding the index that a statement names.

use pg_query::protobuf::{AlterTableStmt, AlterTableType as Type};
use upshift_shared::{ids::RelId, pg::ident::QualifiedName, plan::Capture};

use super::{
    alter_table::{commands, kind},
    draft::{Draft, Outcome},
    object,
};
use crate::compile::error::BindError;

/// An index by name parts, and the table that has it.
pub(super) fn find(draft: &Draft<'_>, parts: &[String]) -> Option<(QualifiedName, RelId)> {
    let (schema, name) = object::split(parts);
    let schemas: Vec<&str> = if schema.is_empty() {
        draft.path.iter().map(String::as_str).collect()
    } else {
        vec![&schema]
    };
    schemas.into_iter().find_map(|schema| {
        let table = draft.catalog.index_owner(schema, &name)?;
        Some((QualifiedName::new(schema, &name), table))
    })
}

/// ALTER INDEX … SET (…), and whatever else an index may be told.
pub(super) fn bind(
    draft: &mut Draft<'_>,
    stmt: &AlterTableStmt,
    table: RelId,
    index: &QualifiedName,
) -> Result<Outcome, BindError> {
    draft.alters(table);
    for command in commands(stmt) {
        match kind(command) {
            Type::AtSetRelOptions | Type::AtResetRelOptions | Type::AtReplaceRelOptions => {}
            Type::AtAttachPartition => {
                return draft.done_without_inverse("ATTACH PARTITION of an index");
            }
            _ => return draft.done_without_inverse("this form of ALTER INDEX"),
        }
    }
    draft.done_captured(vec![Capture::Options {
        object: index.to_string(),
    }])
}
