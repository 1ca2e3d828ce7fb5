//! VACUUM, ANALYZE, REINDEX, CLUSTER, REFRESH MATERIALIZED VIEW, and whatever is not known at all.

use pg_query::{
    Node, NodeEnum,
    protobuf::{ClusterStmt, RefreshMatViewStmt, ReindexObjectType, ReindexStmt, VacuumStmt},
};

use super::{
    alter_index,
    draft::{Draft, Outcome},
};
use crate::compile::error::BindError;

/// Runs as one statement and leaves nothing to take back.
fn nothing_to_undo(why: &str, transactional: bool) -> Outcome {
    Outcome::Opaque {
        why: why.to_owned(),
        transactional,
        recovery: None,
        undo: Some(Vec::new()),
    }
}

/// VACUUM, ANALYZE
pub(super) fn vacuum(draft: &mut Draft<'_>, stmt: &VacuumStmt) -> Result<Outcome, BindError> {
    for node in &stmt.rels {
        if let Some(NodeEnum::VacuumRelation(target)) = &node.node
            && let Some(table) = &target.relation
        {
            let table = draft.require(table)?;
            draft.scans_all(table);
        }
    }
    if stmt.rels.is_empty() {
        let tables: Vec<_> = draft
            .catalog
            .relations()
            .map(|relation| relation.id)
            .collect();
        for table in tables {
            draft.scans_all(table);
        }
    }
    Ok(if stmt.is_vacuumcmd {
        nothing_to_undo("PostgreSQL runs VACUUM outside a transaction", false)
    } else {
        nothing_to_undo("ANALYZE changes only statistics", true)
    })
}

fn is_concurrent(params: &[Node]) -> bool {
    params.iter().any(
        |param| matches!(&param.node, Some(NodeEnum::DefElem(o)) if o.defname == "concurrently"),
    )
}

/// REINDEX
pub(super) fn reindex(draft: &mut Draft<'_>, stmt: &ReindexStmt) -> Result<Outcome, BindError> {
    let concurrent = is_concurrent(&stmt.params);
    let kind = ReindexObjectType::try_from(stmt.kind).unwrap_or(ReindexObjectType::Undefined);
    let relation = stmt.relation.clone().unwrap_or_default();
    match kind {
        ReindexObjectType::ReindexObjectTable => {
            let table = draft.require(&relation)?;
            draft.alters(table);
            draft.scans_all(table);
            Ok(nothing_to_undo("rebuilds indexes", !concurrent))
        }
        ReindexObjectType::ReindexObjectIndex => {
            let parts: Vec<String> = [relation.schemaname, relation.relname]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect();
            let found = alter_index::find(draft, &parts);
            let (_, table) = found.ok_or_else(|| {
                BindError::at(
                    relation.location,
                    format!("index \"{}\" does not exist", parts.join(".")),
                )
            })?;
            draft.alters(table);
            draft.scans_all(table);
            Ok(nothing_to_undo("rebuilds an index", !concurrent))
        }
        _ => {
            draft.touches_everything();
            Ok(nothing_to_undo(
                "PostgreSQL rebuilds the indexes of a schema or database outside a transaction",
                false,
            ))
        }
    }
}

/// CLUSTER
pub(super) fn cluster(draft: &mut Draft<'_>, stmt: &ClusterStmt) -> Result<Outcome, BindError> {
    let Some(relation) = &stmt.relation else {
        draft.touches_everything();
        return Ok(nothing_to_undo(
            "PostgreSQL clusters all tables outside a transaction",
            false,
        ));
    };
    let table = draft.require(relation)?;
    draft.alters(table);
    draft.scans_all(table);
    draft.costs("rewrites the table");
    if stmt.indexname.is_empty() {
        return Ok(nothing_to_undo(
            "changes only the order of rows on disk",
            true,
        ));
    }
    draft.done_without_inverse("CLUSTER … USING, which marks the index,")
}

/// REFRESH MATERIALIZED VIEW
pub(super) fn refresh(
    draft: &mut Draft<'_>,
    stmt: &RefreshMatViewStmt,
) -> Result<Outcome, BindError> {
    let Some(name) = &stmt.relation else {
        return Err(BindError::new("REFRESH needs a materialized view"));
    };
    let view = draft.require(name)?;
    draft.alters(view);
    draft.writes_rows(view);
    // Views in between read tables of their own.
    let mut wanted = vec![view];
    let mut seen = Vec::new();
    while let Some(id) = wanted.pop() {
        if seen.contains(&id) || draft.catalog.relation(id).is_none() {
            continue;
        }
        seen.push(id);
        if id != view {
            draft.scans_all(id);
        }
        wanted.extend(draft.relation(id).reads.clone());
    }
    draft.costs("runs the view's query");
    draft.done_without_inverse("REFRESH MATERIALIZED VIEW")
}

/// What this file's siblings do not know.
pub(super) fn other(draft: &mut Draft<'_>, node: &NodeEnum) -> Result<Outcome, BindError> {
    match node {
        NodeEnum::TransactionStmt(_) => Err(BindError::new(
            "a pack has no BEGIN, COMMIT or SAVEPOINT: every step is a transaction of its own, and \
             rollback takes back all of them; leave it out",
        )),
        NodeEnum::CopyStmt(_) => Err(BindError::new(
            "COPY reads or writes a file of the server or of psql: load the data with INSERT",
        )),
        NodeEnum::VariableSetStmt(_) | NodeEnum::VariableShowStmt(_) | NodeEnum::DiscardStmt(_) => {
            Ok(Outcome::Skipped(
                "it changes nothing beyond its own session".to_owned(),
            ))
        }
        NodeEnum::ExplainStmt(_) | NodeEnum::LockStmt(_) | NodeEnum::ConstraintsSetStmt(_) => Ok(
            Outcome::Skipped("it has no effect beyond its own transaction".to_owned()),
        ),
        NodeEnum::PrepareStmt(_) | NodeEnum::ExecuteStmt(_) | NodeEnum::DeallocateStmt(_) => {
            Err(BindError::new(
                "a prepared statement lives in one session, but steps run in many: write the statement \
                 itself",
            ))
        }
        NodeEnum::AlterDefaultPrivilegesStmt(_) => {
            draft.touches_everything();
            draft.done_without_inverse("ALTER DEFAULT PRIVILEGES")
        }
        NodeEnum::CreatedbStmt(_) | NodeEnum::DropdbStmt(_) | NodeEnum::AlterSystemStmt(_) => {
            Err(BindError::new(
                "this is about the server, not about the database that is upgraded: do it apart",
            ))
        }
        _ => {
            draft.touches_everything();
            Ok(Outcome::Opaque {
                why: "upshift does not know this kind of statement".to_owned(),
                transactional: true,
                recovery: None,
                undo: None,
            })
        }
    }
}
