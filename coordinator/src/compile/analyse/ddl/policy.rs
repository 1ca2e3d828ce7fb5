//! CREATE POLICY and ALTER POLICY.

use pg_query::protobuf::{AlterPolicyStmt, CreatePolicyStmt};
use upshift_shared::{pg::ident::ident, plan::Capture};

use super::{
    draft::{Draft, Outcome},
    table_element,
};
use crate::compile::error::BindError;

/// CREATE POLICY
pub(super) fn create(draft: &mut Draft<'_>, stmt: &CreatePolicyStmt) -> Result<Outcome, BindError> {
    let Some(table) = &stmt.table else {
        return Err(BindError::new("CREATE POLICY needs a table"));
    };
    let table = draft.require(table)?;
    draft.alters(table);
    for expression in [&stmt.qual, &stmt.with_check].into_iter().flatten() {
        table_element::use_functions(draft, expression);
    }
    draft.done(vec![format!(
        "DROP POLICY {} ON {}",
        ident(&stmt.policy_name),
        draft.quoted(table)
    )])
}

/// ALTER POLICY
pub(super) fn alter(draft: &mut Draft<'_>, stmt: &AlterPolicyStmt) -> Result<Outcome, BindError> {
    let Some(table) = &stmt.table else {
        return Err(BindError::new("ALTER POLICY needs a table"));
    };
    let table = draft.require(table)?;
    draft.alters(table);
    for expression in [&stmt.qual, &stmt.with_check].into_iter().flatten() {
        table_element::use_functions(draft, expression);
    }
    draft.done_captured(vec![Capture::Policy {
        table: draft.quoted(table),
        policy: stmt.policy_name.clone(),
    }])
}
