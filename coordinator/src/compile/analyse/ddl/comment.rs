//! COMMENT ON: its inverse is the comment that was there.

use pg_query::{
    Node, NodeEnum,
    protobuf::{CommentStmt, ObjectType},
};
use upshift_shared::{
    ids::RelId,
    pg::ident::{QualifiedName, ident, literal},
    plan::Capture,
};

use super::{
    alter_index,
    draft::{Draft, Outcome},
    drop::words,
    function, object, user_type,
};
use crate::compile::error::BindError;

/// COMMENT ON
pub(super) fn bind(draft: &mut Draft<'_>, stmt: &CommentStmt) -> Result<Outcome, BindError> {
    let kind = ObjectType::try_from(stmt.objtype).unwrap_or(ObjectType::Undefined);
    let Some(node) = &stmt.object else {
        return Err(BindError::new("COMMENT ON needs an object"));
    };
    let parts = object::parts(node);
    let captured = match kind {
        ObjectType::ObjectTable
        | ObjectType::ObjectView
        | ObjectType::ObjectMatview
        | ObjectType::ObjectSequence
        | ObjectType::ObjectForeignTable => {
            let table = require(draft, &parts)?;
            Some(on_relation(kind, &draft.quoted(table)))
        }
        ObjectType::ObjectIndex => {
            let (index, table) = alter_index::find(draft, &parts).ok_or_else(|| {
                BindError::new(format!("index \"{}\" does not exist", parts.join(".")))
            })?;
            draft.alters(table);
            Some(on_relation(kind, &index.to_string()))
        }
        ObjectType::ObjectColumn => Some(on_column(draft, parts)?),
        ObjectType::ObjectTabconstraint
        | ObjectType::ObjectTrigger
        | ObjectType::ObjectPolicy
        | ObjectType::ObjectRule => Some(on_part(draft, kind, parts)?),
        ObjectType::ObjectFunction
        | ObjectType::ObjectProcedure
        | ObjectType::ObjectRoutine
        | ObjectType::ObjectAggregate => function::signature_of(draft, node).map(|signature| {
            let by = format!("pg_catalog.to_regprocedure({})", literal(&signature));
            described(kind, &signature, &by, "pg_proc")
        }),
        ObjectType::ObjectType | ObjectType::ObjectDomain => {
            let name = user_type::require(draft, &parts)?;
            draft.writes_object("type", &name);
            let quoted = name.to_string();
            let by = format!("pg_catalog.to_regtype({})", literal(&quoted));
            Some(described(kind, &quoted, &by, "pg_type"))
        }
        ObjectType::ObjectSchema | ObjectType::ObjectExtension => on_named(draft, kind, node),
        _ => None,
    };
    match captured {
        Some(captured) => draft.done_captured(vec![captured]),
        None => {
            draft.touches_everything();
            draft.done_without_inverse(format!("COMMENT ON {}", words(kind)))
        }
    }
}

fn require(draft: &mut Draft<'_>, parts: &[String]) -> Result<RelId, BindError> {
    let table = draft.require(&object::range_var(parts))?;
    draft.alters(table);
    Ok(table)
}

/// A comment that `obj_description` finds by an expression for the oid.
fn described(kind: ObjectType, object: &str, oid: &str, class: &str) -> Capture {
    Capture::Comment {
        object: format!("{} {object}", words(kind)),
        query: format!(
            "/* upshift: read the comment */ SELECT pg_catalog.obj_description({oid}, '{class}')"
        ),
    }
}

fn on_relation(kind: ObjectType, quoted: &str) -> Capture {
    let oid = format!("pg_catalog.to_regclass({})", literal(quoted));
    described(kind, quoted, &oid, "pg_class")
}

fn on_column(draft: &mut Draft<'_>, mut parts: Vec<String>) -> Result<Capture, BindError> {
    let column = parts.pop().unwrap_or_default();
    let table = require(draft, &parts)?;
    draft.column(table, &column)?;
    let quoted = draft.quoted(table);
    Ok(Capture::Comment {
        object: format!("COLUMN {quoted}.{}", ident(&column)),
        query: format!(
            "/* upshift: read the comment */ SELECT pg_catalog.col_description(a.attrelid, a.attnum) \
             FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = pg_catalog.to_regclass({}) \
             AND a.attname = {} AND NOT a.attisdropped",
            literal(&quoted),
            literal(&column)
        ),
    })
}

/// A comment on something that lives on a table.
fn on_part(
    draft: &mut Draft<'_>,
    kind: ObjectType,
    mut parts: Vec<String>,
) -> Result<Capture, BindError> {
    let name = parts.pop().unwrap_or_default();
    let table = require(draft, &parts)?;
    let quoted = draft.quoted(table);
    let (class, relation, own) = match kind {
        ObjectType::ObjectTrigger => ("pg_trigger", "tgrelid", "tgname"),
        ObjectType::ObjectPolicy => ("pg_policy", "polrelid", "polname"),
        ObjectType::ObjectRule => ("pg_rewrite", "ev_class", "rulename"),
        _ => ("pg_constraint", "conrelid", "conname"),
    };
    Ok(Capture::Comment {
        object: format!("{} {} ON {quoted}", words(kind), ident(&name)),
        query: format!(
            "/* upshift: read the comment */ SELECT pg_catalog.obj_description(o.oid, '{class}') \
             FROM pg_catalog.{class} AS o WHERE o.{relation} = pg_catalog.to_regclass({}) \
             AND o.{own} = {}",
            literal(&quoted),
            literal(&name)
        ),
    })
}

/// A comment on something without a schema.
fn on_named(draft: &mut Draft<'_>, kind: ObjectType, node: &Node) -> Option<Capture> {
    let Some(NodeEnum::String(name)) = &node.node else {
        return None;
    };
    let name = &name.sval;
    let (class, own) = match kind {
        ObjectType::ObjectSchema => ("pg_namespace", "nspname"),
        _ => ("pg_extension", "extname"),
    };
    let word = words(kind).to_lowercase();
    draft.writes_object(&word, &QualifiedName::new("", name));
    Some(Capture::Comment {
        object: format!("{} {}", words(kind), ident(name)),
        query: format!(
            "/* upshift: read the comment */ SELECT pg_catalog.obj_description(o.oid, '{class}') \
             FROM pg_catalog.{class} AS o WHERE o.{own} = {}",
            literal(name)
        ),
    })
}
