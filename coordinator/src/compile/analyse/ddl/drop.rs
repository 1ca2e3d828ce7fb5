//! DROP of anything: one action for each object, so that each has its own inverse.

use pg_query::{
    Node, NodeEnum,
    protobuf::{DropStmt, ObjectType},
};
use upshift_shared::{
    catalog::{ConstraintKind, RelationKind},
    ids::RelId,
    pg::ident::{QualifiedName, ident},
    plan::{Capture, Hide},
};

use super::{
    alter_index,
    alter_table::cascades,
    draft::{Draft, Outcome},
    drop_table, function, object, schema, table_element, user_type,
};
use crate::compile::error::BindError;

/// DROP
pub(super) fn bind(draft: &mut Draft<'_>, stmt: &DropStmt) -> Result<Outcome, BindError> {
    let kind = ObjectType::try_from(stmt.remove_type).unwrap_or(ObjectType::Undefined);
    match kind {
        ObjectType::ObjectTable | ObjectType::ObjectForeignTable => drop_table::tables(draft, stmt),
        ObjectType::ObjectView | ObjectType::ObjectMatview => drop_table::views(draft, stmt, kind),
        ObjectType::ObjectIndex => each(draft, stmt, index),
        ObjectType::ObjectSequence => each(draft, stmt, sequence),
        ObjectType::ObjectTrigger => each(draft, stmt, trigger),
        ObjectType::ObjectPolicy => each(draft, stmt, policy),
        ObjectType::ObjectRule => each(draft, stmt, rule),
        ObjectType::ObjectFunction
        | ObjectType::ObjectProcedure
        | ObjectType::ObjectRoutine
        | ObjectType::ObjectAggregate => each(draft, stmt, function::drop),
        ObjectType::ObjectType | ObjectType::ObjectDomain => each(draft, stmt, user_type::drop),
        ObjectType::ObjectSchema => each(draft, stmt, schema::drop),
        ObjectType::ObjectExtension => each(draft, stmt, schema::drop_extension),
        ObjectType::ObjectStatisticExt
        | ObjectType::ObjectCollation
        | ObjectType::ObjectConversion
        | ObjectType::ObjectTsconfiguration
        | ObjectType::ObjectTsdictionary
        | ObjectType::ObjectTsparser
        | ObjectType::ObjectTstemplate => each(draft, stmt, movable),
        other => {
            draft.touches_everything();
            draft.done_without_inverse(format!("DROP {}", words(other)))
        }
    }
}

/// What became of one object of a DROP.
pub(super) enum Dropped {
    /// It has its action.
    Yes,
    /// It is not there: what `psql` would say.
    Missing(String),
}

/// Binds every object, and skips the statement where IF EXISTS finds none.
fn each(
    draft: &mut Draft<'_>,
    stmt: &DropStmt,
    one: fn(&mut Draft<'_>, &DropStmt, &Node) -> Result<Dropped, BindError>,
) -> Result<Outcome, BindError> {
    let mut missing = Vec::new();
    for node in &stmt.objects {
        match one(draft, stmt, node)? {
            Dropped::Yes => {}
            Dropped::Missing(why) if stmt.missing_ok => missing.push(why),
            Dropped::Missing(why) => {
                return Err(BindError::new(format!(
                    "{why}: correct it, or say IF EXISTS"
                )));
            }
        }
    }
    if missing.len() == stmt.objects.len() {
        return Ok(Outcome::Skipped(missing.join("; ")));
    }
    if stmt.concurrent {
        return Ok(concurrently(draft));
    }
    Ok(Outcome::Done)
}

fn index(draft: &mut Draft<'_>, stmt: &DropStmt, node: &Node) -> Result<Dropped, BindError> {
    let parts = object::parts(node);
    let Some((index, table)) = alter_index::find(draft, &parts) else {
        let (_, name) = object::split(&parts);
        let names = draft.catalog.relations().flat_map(|r| r.indexes.iter());
        let hint = object::did_you_mean(&name, names.map(|index| index.name.as_str()));
        return Ok(Dropped::Missing(format!(
            "index \"{name}\" does not exist{hint}"
        )));
    };
    let relation = draft.relation(table);
    let backs = relation.constraints.iter().any(|constraint| {
        constraint.name == index.name
            && matches!(
                constraint.kind,
                ConstraintKind::PrimaryKey | ConstraintKind::Unique | ConstraintKind::Exclusion
            )
    });
    if backs {
        let table = draft.name(table);
        return Err(BindError::new(format!(
            "index \"{}\" backs a constraint: ALTER TABLE {} DROP CONSTRAINT {} drops both",
            index.name,
            table.plain(),
            ident(&index.name)
        )));
    }
    draft.alters(table);
    draft.takes_name(&index);
    if !relation_is_whole(draft, table) {
        draft.no_inverse("DROP INDEX on a partitioned table");
    }
    draft.catalog.change(table, |relation| {
        relation.indexes.retain(|known| known.name != index.name);
    });
    let cascade = if cascades(stmt.behavior) {
        " CASCADE"
    } else {
        ""
    };
    draft.capture(
        format!("DROP INDEX {index}{cascade}"),
        vec![Capture::Index {
            index: index.to_string(),
        }],
    );
    Ok(Dropped::Yes)
}

fn relation_is_whole(draft: &Draft<'_>, table: RelId) -> bool {
    draft.relation(table).kind != RelationKind::PartitionedTable
}

/// DROP INDEX CONCURRENTLY runs outside a transaction; repeating it needs IF EXISTS.
fn concurrently(draft: &mut Draft<'_>) -> Outcome {
    draft.no_inverse("DROP INDEX CONCURRENTLY");
    Outcome::Opaque {
        why: "PostgreSQL drops an index CONCURRENTLY outside a transaction".to_owned(),
        transactional: false,
        recovery: None,
        undo: None,
    }
}

fn sequence(draft: &mut Draft<'_>, stmt: &DropStmt, node: &Node) -> Result<Dropped, BindError> {
    let name = object::range_var(&object::parts(node));
    let Some(sequence) = draft.find(&name) else {
        return Ok(Dropped::Missing(object::no_relation(draft, &name)));
    };
    let quoted = draft.quoted(sequence);
    let qualified = draft.name(sequence);
    draft.alters(sequence);
    draft.frees_dependents();
    draft.takes_name(&qualified);
    let users: Vec<(RelId, String, upshift_shared::ids::ColId)> = draft
        .catalog
        .relations()
        .flat_map(|relation| {
            relation
                .columns
                .iter()
                .map(move |column| (relation, column))
        })
        .filter(|(_, column)| column.sequence == Some(sequence))
        .map(|(relation, column)| (relation.id, column.name.clone(), column.id))
        .collect();
    for (table, column, id) in users {
        if !cascades(stmt.behavior) {
            let table = draft.name(table).plain();
            return Err(BindError::new(format!(
                "sequence \"{}\" is the default of column \"{column}\" of \"{table}\": drop that first, \
                 or say CASCADE",
                qualified.plain()
            )));
        }
        draft.alters(table);
        let table_name = draft.quoted(table);
        table_element::with_column(draft, table, id, |column| {
            column.default = None;
            column.sequence = None;
        });
        draft.capture(
            format!(
                "ALTER TABLE {table_name} ALTER COLUMN {} DROP DEFAULT",
                ident(&column)
            ),
            vec![Capture::Default {
                table: table_name,
                column,
            }],
        );
    }
    disown(draft, sequence, &quoted);
    draft.catalog.remove(sequence);
    draft.hide(
        format!("DROP SEQUENCE {quoted}"),
        Hide::Object {
            class: "SEQUENCE".to_owned(),
            object: quoted,
        },
    );
    Ok(Dropped::Yes)
}

/// An owned sequence cannot be moved out of its table's schema.
fn disown(draft: &mut Draft<'_>, sequence: RelId, quoted: &str) {
    let owner = draft
        .relation(sequence)
        .owned_by
        .and_then(|(table, column)| {
            let relation = draft.catalog.relation(table)?;
            let column = relation.column_by_id(column)?;
            let table = QualifiedName::new(&relation.schema, &relation.name);
            Some(format!("{table}.{}", ident(&column.name)))
        });
    if let Some(owner) = owner {
        draft.invert(
            format!("ALTER SEQUENCE {quoted} OWNED BY NONE"),
            vec![format!("ALTER SEQUENCE {quoted} OWNED BY {owner}")],
        );
    }
}

/// The table and the name of something that lives on it.
fn on_table(draft: &Draft<'_>, node: &Node) -> Result<(RelId, String), String> {
    let mut parts = object::parts(node);
    let name = parts.pop().unwrap_or_default();
    let table = object::range_var(&parts);
    match draft.find(&table) {
        Some(table) => Ok((table, name)),
        None => Err(object::no_relation(draft, &table)),
    }
}

fn trigger(draft: &mut Draft<'_>, _: &DropStmt, node: &Node) -> Result<Dropped, BindError> {
    let (table, name) = match on_table(draft, node) {
        Ok(found) => found,
        Err(why) => return Ok(Dropped::Missing(why)),
    };
    let quoted = draft.quoted(table);
    let triggers = &draft.relation(table).triggers;
    if !triggers.iter().any(|trigger| trigger.name == name) {
        let hint = object::did_you_mean(&name, triggers.iter().map(|t| t.name.as_str()));
        let table = draft.name(table).plain();
        return Ok(Dropped::Missing(format!(
            "trigger \"{name}\" for table \"{table}\" does not exist{hint}"
        )));
    }
    draft.alters(table);
    if let Some(relation) = draft.catalog.relation_mut(table) {
        relation.triggers.retain(|trigger| trigger.name != name);
    }
    draft.capture(
        format!("DROP TRIGGER {} ON {quoted}", ident(&name)),
        vec![Capture::Trigger {
            table: quoted,
            trigger: name,
        }],
    );
    Ok(Dropped::Yes)
}

fn policy(draft: &mut Draft<'_>, stmt: &DropStmt, node: &Node) -> Result<Dropped, BindError> {
    let (table, name) = match on_table(draft, node) {
        Ok(found) => found,
        Err(why) => return Ok(Dropped::Missing(why)),
    };
    let quoted = draft.quoted(table);
    draft.alters(table);
    let if_exists = if stmt.missing_ok { "IF EXISTS " } else { "" };
    draft.capture(
        format!("DROP POLICY {if_exists}{} ON {quoted}", ident(&name)),
        vec![Capture::Policy {
            table: quoted,
            policy: name,
        }],
    );
    Ok(Dropped::Yes)
}

fn rule(draft: &mut Draft<'_>, _: &DropStmt, node: &Node) -> Result<Dropped, BindError> {
    let (table, _) = match on_table(draft, node) {
        Ok(found) => found,
        Err(why) => return Ok(Dropped::Missing(why)),
    };
    draft.alters(table);
    draft.no_inverse("DROP RULE");
    Ok(Dropped::Yes)
}

/// Objects that the snapshot does not have, but that ALTER … SET SCHEMA moves.
fn movable(draft: &mut Draft<'_>, stmt: &DropStmt, node: &Node) -> Result<Dropped, BindError> {
    let parts = object::parts(node);
    let kind = ObjectType::try_from(stmt.remove_type).unwrap_or(ObjectType::Undefined);
    let class = words(kind);
    if cascades(stmt.behavior) || stmt.missing_ok {
        // Whether it is there, and what depends on it, is not in the snapshot.
        draft.no_inverse(format!("DROP {class} with IF EXISTS or CASCADE"));
    }
    draft.frees_dependents();
    draft.writes_object(&class.to_lowercase(), &named(node));
    let object = object::quote_parts(&parts);
    draft.hide(
        format!("DROP {class} {object}"),
        Hide::Object {
            class: class.to_owned(),
            object,
        },
    );
    Ok(Dropped::Yes)
}

/// What stands behind DROP, ALTER or COMMENT ON.
pub(super) fn words(kind: ObjectType) -> &'static str {
    match kind {
        ObjectType::ObjectTable => "TABLE",
        ObjectType::ObjectForeignTable => "FOREIGN TABLE",
        ObjectType::ObjectView => "VIEW",
        ObjectType::ObjectMatview => "MATERIALIZED VIEW",
        ObjectType::ObjectIndex => "INDEX",
        ObjectType::ObjectSequence => "SEQUENCE",
        ObjectType::ObjectColumn => "COLUMN",
        ObjectType::ObjectTabconstraint => "CONSTRAINT",
        ObjectType::ObjectTrigger => "TRIGGER",
        ObjectType::ObjectPolicy => "POLICY",
        ObjectType::ObjectRule => "RULE",
        ObjectType::ObjectFunction => "FUNCTION",
        ObjectType::ObjectProcedure => "PROCEDURE",
        ObjectType::ObjectRoutine => "ROUTINE",
        ObjectType::ObjectAggregate => "AGGREGATE",
        ObjectType::ObjectType => "TYPE",
        ObjectType::ObjectDomain => "DOMAIN",
        ObjectType::ObjectSchema => "SCHEMA",
        ObjectType::ObjectExtension => "EXTENSION",
        ObjectType::ObjectStatisticExt => "STATISTICS",
        ObjectType::ObjectCollation => "COLLATION",
        ObjectType::ObjectConversion => "CONVERSION",
        ObjectType::ObjectTsconfiguration => "TEXT SEARCH CONFIGURATION",
        ObjectType::ObjectTsdictionary => "TEXT SEARCH DICTIONARY",
        ObjectType::ObjectTsparser => "TEXT SEARCH PARSER",
        ObjectType::ObjectTstemplate => "TEXT SEARCH TEMPLATE",
        ObjectType::ObjectDatabase => "DATABASE",
        ObjectType::ObjectCast => "CAST",
        ObjectType::ObjectOperator => "OPERATOR",
        ObjectType::ObjectEventTrigger => "EVENT TRIGGER",
        ObjectType::ObjectForeignServer => "SERVER",
        ObjectType::ObjectPublication => "PUBLICATION",
        _ => "of this kind of object",
    }
}

/// The schema and name of an object as the statement has them, for messages and resources.
pub(super) fn named(node: &Node) -> QualifiedName {
    let parts = match &node.node {
        Some(NodeEnum::ObjectWithArgs(object)) => object::strings(&object.objname),
        _ => object::parts(node),
    };
    let (schema, name) = object::split(&parts);
    QualifiedName::new(schema, name)
}
