//! CREATE SEQUENCE and ALTER SEQUENCE.

use pg_query::{
    Node, NodeEnum,
    protobuf::{AlterSeqStmt, CreateSeqStmt},
};
use upshift_shared::{
    catalog::RelationKind,
    ids::{ColId, RelId},
    pg::ident::ident,
    plan::{Capture, DdlEffect},
};

use super::{
    draft::{Draft, Outcome, deparse},
    object, table_element,
};
use crate::compile::error::BindError;

/// CREATE SEQUENCE
pub(super) fn create(draft: &mut Draft<'_>, stmt: &CreateSeqStmt) -> Result<Outcome, BindError> {
    let Some(name) = &stmt.sequence else {
        return Err(BindError::new("CREATE SEQUENCE needs a name"));
    };
    let schema = object::creation_schema(draft, name)?;
    if stmt.if_not_exists && object::is_taken(draft, &schema, &name.relname) {
        return Ok(Outcome::Skipped(format!(
            "relation \"{}\" already exists",
            name.relname
        )));
    }
    let name = object::free_relation_name(draft, name)?;
    let owner = match owned_by(&stmt.options) {
        Some(parts) => owner(draft, &parts)?,
        None => None,
    };
    draft.takes_name(&name);
    let mut relation = table_element::empty_relation(&name, RelationKind::Sequence);
    relation.owned_by = owner;
    let id = draft.catalog.insert(relation);
    draft.alters(id);
    if let Some((table, _)) = owner {
        draft.alters(table);
    }
    draft.done(vec![format!("DROP SEQUENCE {name}")])
}

/// The name behind OWNED BY.
fn owned_by(options: &[Node]) -> Option<Vec<String>> {
    options.iter().find_map(|option| match &option.node {
        Some(NodeEnum::DefElem(option)) if option.defname == "owned_by" => {
            option.arg.as_deref().map(object::parts)
        }
        _ => None,
    })
}

/// The column that a name means; `None` for OWNED BY NONE.
fn owner(draft: &Draft<'_>, parts: &[String]) -> Result<Option<(RelId, ColId)>, BindError> {
    let [table @ .., column] = parts else {
        return Ok(None);
    };
    if table.is_empty() {
        return Ok(None);
    }
    let table = draft.require(&object::range_var(table))?;
    Ok(Some((table, draft.column(table, column)?.id)))
}

/// ALTER SEQUENCE: parameters are read from the catalog before; the owner is known here.
pub(super) fn alter(draft: &mut Draft<'_>, stmt: &AlterSeqStmt) -> Result<Outcome, BindError> {
    let Some(name) = &stmt.sequence else {
        return Err(BindError::new("ALTER SEQUENCE needs a name"));
    };
    let Some(sequence) = draft.find(name) else {
        let message = object::no_relation(draft, name);
        return match stmt.missing_ok {
            true => Ok(Outcome::Skipped(message)),
            false => Err(BindError::at(name.location, message)),
        };
    };
    draft.alters(sequence);
    draft.writes_sequence(sequence);
    let quoted = draft.quoted(sequence);
    let captured = DdlEffect::Capture {
        objects: vec![Capture::Sequence {
            sequence: quoted.clone(),
        }],
    };
    let Some(parts) = owned_by(&stmt.options) else {
        draft.push(draft.text.to_owned(), captured);
        return Ok(Outcome::Done);
    };
    let new = owner(draft, &parts)?;
    let old = draft.relation(sequence).owned_by;
    for (table, _) in [old, new].into_iter().flatten() {
        draft.alters(table);
    }
    let undo = format!("ALTER SEQUENCE {quoted} OWNED BY {}", describe(draft, old));
    let to = describe(draft, new);
    if let Some(relation) = draft.catalog.relation_mut(sequence) {
        relation.owned_by = new;
    }
    if stmt.options.len() == 1 {
        return draft.done(vec![undo]);
    }
    let mut rest = stmt.clone();
    rest.options.retain(
        |option| !matches!(&option.node, Some(NodeEnum::DefElem(o)) if o.defname == "owned_by"),
    );
    draft.push(deparse(NodeEnum::AlterSeqStmt(rest))?, captured);
    draft.invert(format!("ALTER SEQUENCE {quoted} OWNED BY {to}"), vec![undo]);
    Ok(Outcome::Done)
}

fn describe(draft: &Draft<'_>, owner: Option<(RelId, ColId)>) -> String {
    owner
        .and_then(|(table, column)| {
            let column = draft.relation(table).column_by_id(column)?;
            Some(format!("{}.{}", draft.quoted(table), ident(&column.name)))
        })
        .unwrap_or_else(|| "NONE".to_owned())
}
