//! DDL: what a statement does to the catalog, and how it is taken back. Binding evolves the catalog, so
//! that the next statement sees what this one leaves.
//!
//! One file per family of statements; `draft.rs` collects what they find.

mod alter_column;
mod alter_constraint;
mod alter_index;
mod alter_table;
mod comment;
mod constraint;
mod create_table;
mod draft;
mod drop;
mod drop_table;
mod expression;
mod function;
mod generated_name;
mod index;
mod maintenance;
mod named;
mod object;
mod owner;
mod partition;
mod policy;
mod privilege;
mod query_columns;
mod rename;
mod schema;
mod sequence;
mod set_schema;
mod statistics;
mod table_element;
#[cfg(test)]
mod tests;
mod trigger;
mod type_name;
mod user_type;
mod view;

use pg_query::{Node, NodeEnum};
use upshift_shared::{catalog::Catalog, pack::Directives};

use crate::compile::{error::BindError, model::Binding};
use draft::{Draft, Outcome};

/// Binds one statement that is not DML, and evolves the catalog.
///
/// # Errors
/// What `psql` would stop at (objects that are missing or there already), and statements without a way
/// back that the author has not marked.
pub fn bind(
    statement: &Node,
    text: &str,
    directives: &Directives,
    catalog: &mut Catalog,
    search_path: &[String],
) -> Result<Binding, BindError> {
    let Some(node) = &statement.node else {
        return Err(BindError::new("there is no statement here"));
    };
    let mut draft = Draft::new(text, directives, catalog, search_path);
    let outcome = dispatch(&mut draft, node)?;
    draft.finish(outcome)
}

fn dispatch(draft: &mut Draft<'_>, node: &NodeEnum) -> Result<Outcome, BindError> {
    match node {
        NodeEnum::AlterTableStmt(s) => alter_table::bind(draft, s),
        NodeEnum::CreateStmt(s) => create_table::bind(draft, s),
        NodeEnum::CreateTableAsStmt(s) => view::create_as(draft, s),
        NodeEnum::SelectStmt(s) => view::select_into(draft, s),
        NodeEnum::ViewStmt(s) => view::create_view(draft, s),
        NodeEnum::IndexStmt(s) => index::create(draft, s),
        NodeEnum::RenameStmt(s) => rename::bind(draft, s),
        NodeEnum::DropStmt(s) => drop::bind(draft, s),
        NodeEnum::CreateSeqStmt(s) => sequence::create(draft, s),
        NodeEnum::AlterSeqStmt(s) => sequence::alter(draft, s),
        NodeEnum::CreateTrigStmt(s) => trigger::create(draft, s),
        NodeEnum::RuleStmt(s) => trigger::create_rule(draft, s),
        NodeEnum::CommentStmt(s) => comment::bind(draft, s),
        NodeEnum::GrantStmt(s) => privilege::grant(draft, s),
        NodeEnum::AlterOwnerStmt(s) => owner::bind(draft, s),
        NodeEnum::AlterObjectSchemaStmt(s) => set_schema::bind(draft, s),
        NodeEnum::CreatePolicyStmt(s) => policy::create(draft, s),
        NodeEnum::AlterPolicyStmt(s) => policy::alter(draft, s),
        NodeEnum::CreateFunctionStmt(s) => function::create(draft, s),
        NodeEnum::AlterFunctionStmt(s) => function::alter(draft, s),
        NodeEnum::CreateEnumStmt(s) => user_type::create_enum(draft, s),
        NodeEnum::AlterEnumStmt(s) => user_type::alter_enum(draft, s),
        NodeEnum::CompositeTypeStmt(s) => user_type::create_composite(draft, s),
        NodeEnum::CreateRangeStmt(s) => user_type::create_range(draft, s),
        NodeEnum::CreateDomainStmt(s) => user_type::create_domain(draft, s),
        NodeEnum::AlterDomainStmt(s) => user_type::alter_domain(draft, s),
        NodeEnum::CreateSchemaStmt(s) => schema::create(draft, s),
        NodeEnum::CreateExtensionStmt(s) => schema::create_extension(draft, s),
        NodeEnum::CreateStatsStmt(s) => statistics::create(draft, s),
        NodeEnum::AlterStatsStmt(s) => statistics::alter(draft, s),
        NodeEnum::VacuumStmt(s) => maintenance::vacuum(draft, s),
        NodeEnum::ReindexStmt(s) => maintenance::reindex(draft, s),
        NodeEnum::ClusterStmt(s) => maintenance::cluster(draft, s),
        NodeEnum::RefreshMatViewStmt(s) => maintenance::refresh(draft, s),
        other => maintenance::other(draft, other),
    }
}
