//! ALTER … RENAME, whose inverse is to rename back.

use pg_query::{
    NodeEnum,
    protobuf::{ObjectType, RenameStmt},
};
use upshift_shared::{
    catalog::RelationKind,
    ids::RelId,
    pg::ident::{QualifiedName, ident},
};

use super::{
    alter_constraint, alter_index, constraint,
    draft::{Draft, Outcome},
    function, object, user_type,
};
use crate::compile::error::BindError;

/// ALTER … RENAME
pub(super) fn bind(draft: &mut Draft<'_>, stmt: &RenameStmt) -> Result<Outcome, BindError> {
    let kind = ObjectType::try_from(stmt.rename_type).unwrap_or(ObjectType::Undefined);
    match kind {
        ObjectType::ObjectTable
        | ObjectType::ObjectView
        | ObjectType::ObjectMatview
        | ObjectType::ObjectSequence
        | ObjectType::ObjectForeignTable
        | ObjectType::ObjectIndex => relation_or_index(draft, stmt),
        ObjectType::ObjectColumn => column(draft, stmt),
        ObjectType::ObjectTabconstraint => table_constraint(draft, stmt),
        ObjectType::ObjectTrigger | ObjectType::ObjectPolicy | ObjectType::ObjectRule => {
            on_table(draft, stmt, kind)
        }
        ObjectType::ObjectSchema => schema(draft, stmt),
        ObjectType::ObjectFunction
        | ObjectType::ObjectProcedure
        | ObjectType::ObjectRoutine
        | ObjectType::ObjectAggregate => function::rename(draft, stmt, kind),
        ObjectType::ObjectType | ObjectType::ObjectDomain => user_type::rename(draft, stmt, kind),
        ObjectType::ObjectAttribute | ObjectType::ObjectDomconstraint => {
            user_type::rename_part(draft, stmt, kind)
        }
        ObjectType::ObjectStatisticExt => {
            let parts = stmt.object.as_deref().map(object::parts);
            let mut back = parts.unwrap_or_default();
            let old = back.pop().unwrap_or_default();
            back.push(stmt.newname.clone());
            draft.writes_object("statistics", &QualifiedName::new("", &old));
            draft.done(vec![format!(
                "ALTER STATISTICS {} RENAME TO {}",
                object::quote_parts(&back),
                ident(&old)
            )])
        }
        _ => {
            draft.touches_everything();
            draft.done_without_inverse("this form of RENAME")
        }
    }
}

fn missing(draft: &Draft<'_>, stmt: &RenameStmt) -> Result<Outcome, BindError> {
    let name = stmt.relation.clone().unwrap_or_default();
    let message = object::no_relation(draft, &name);
    if stmt.missing_ok {
        return Ok(Outcome::Skipped(message));
    }
    Err(BindError::at(name.location, message))
}

fn relation_or_index(draft: &mut Draft<'_>, stmt: &RenameStmt) -> Result<Outcome, BindError> {
    let name = stmt.relation.clone().unwrap_or_default();
    if let Some(id) = draft.find(&name) {
        return relation(draft, stmt, id);
    }
    let parts: Vec<String> = [name.schemaname, name.relname]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    match alter_index::find(draft, &parts) {
        Some((index, table)) => rename_index(draft, stmt, &index, table),
        None => missing(draft, stmt),
    }
}

/// The new name must be free.
fn refuse_taken(draft: &Draft<'_>, new: &QualifiedName) -> Result<(), BindError> {
    if object::is_taken(draft, &new.schema, &new.name) {
        return Err(BindError::new(format!(
            "relation \"{}\" already exists",
            new.plain()
        )));
    }
    Ok(())
}

fn relation(draft: &mut Draft<'_>, stmt: &RenameStmt, id: RelId) -> Result<Outcome, BindError> {
    let old = draft.name(id);
    let new = QualifiedName::new(&old.schema, &stmt.newname);
    refuse_taken(draft, &new)?;
    let word = match draft.relation(id).kind {
        RelationKind::View => "VIEW",
        RelationKind::MaterializedView => "MATERIALIZED VIEW",
        RelationKind::Sequence => "SEQUENCE",
        RelationKind::ForeignTable => "FOREIGN TABLE",
        RelationKind::CompositeType => "TYPE",
        RelationKind::Table | RelationKind::PartitionedTable => "TABLE",
    };
    draft.alters(id);
    draft.takes_name(&old);
    draft.takes_name(&new);
    draft.catalog.rename(id, &new.schema, &new.name);
    draft.done(vec![format!(
        "ALTER {word} {new} RENAME TO {}",
        ident(&old.name)
    )])
}

/// An index takes the constraint that it backs along.
fn rename_index(
    draft: &mut Draft<'_>,
    stmt: &RenameStmt,
    old: &QualifiedName,
    table: RelId,
) -> Result<Outcome, BindError> {
    let new = QualifiedName::new(&old.schema, &stmt.newname);
    refuse_taken(draft, &new)?;
    draft.alters(table);
    draft.takes_name(old);
    draft.takes_name(&new);
    rename_both(draft, table, &old.name, &new.name);
    draft.done(vec![format!(
        "ALTER INDEX {new} RENAME TO {}",
        ident(&old.name)
    )])
}

fn rename_both(draft: &mut Draft<'_>, table: RelId, old: &str, new: &str) {
    let schema = draft.name(table).schema;
    draft.takes_constraint_name(&schema, old);
    draft.takes_constraint_name(&schema, new);
    draft.catalog.change(table, |relation| {
        let mut backs = false;
        for index in relation.indexes.iter_mut().filter(|i| i.name == old) {
            new.clone_into(&mut index.name);
            // What the name stood in is no longer its definition.
            index.definition.clear();
            backs = true;
        }
        for constraint in relation.constraints.iter_mut().filter(|c| c.name == old) {
            if backs || !has_index(&constraint.kind) {
                new.clone_into(&mut constraint.name);
            }
        }
    });
}

fn has_index(kind: &upshift_shared::catalog::ConstraintKind) -> bool {
    use upshift_shared::catalog::ConstraintKind as Kind;
    matches!(kind, Kind::PrimaryKey | Kind::Unique | Kind::Exclusion)
}

fn column(draft: &mut Draft<'_>, stmt: &RenameStmt) -> Result<Outcome, BindError> {
    let name = stmt.relation.clone().unwrap_or_default();
    let Some(table) = draft.find(&name) else {
        return missing(draft, stmt);
    };
    draft.column(table, &stmt.subname)?;
    if draft.relation(table).column(&stmt.newname).is_some() {
        let table = draft.name(table).plain();
        return Err(BindError::new(format!(
            "column \"{}\" of relation \"{table}\" already exists",
            stmt.newname
        )));
    }
    for member in constraint::family(draft, table) {
        draft.alters(member);
        if let Some(relation) = draft.catalog.relation_mut(member) {
            let columns = relation.columns.iter_mut();
            for column in columns.filter(|column| column.name == stmt.subname) {
                column.name.clone_from(&stmt.newname);
            }
        }
    }
    let word = match draft.relation(table).kind {
        RelationKind::View => "VIEW",
        RelationKind::MaterializedView => "MATERIALIZED VIEW",
        RelationKind::ForeignTable => "FOREIGN TABLE",
        _ => "TABLE",
    };
    draft.done(vec![format!(
        "ALTER {word} {} RENAME COLUMN {} TO {}",
        draft.quoted(table),
        ident(&stmt.newname),
        ident(&stmt.subname)
    )])
}

fn table_constraint(draft: &mut Draft<'_>, stmt: &RenameStmt) -> Result<Outcome, BindError> {
    let name = stmt.relation.clone().unwrap_or_default();
    let Some(table) = draft.find(&name) else {
        return missing(draft, stmt);
    };
    let old = alter_constraint::find(draft, table, &stmt.subname)?;
    let relation = draft.relation(table);
    if relation.constraints.iter().any(|c| c.name == stmt.newname) {
        return Err(BindError::new(format!(
            "constraint \"{}\" for relation \"{}\" already exists",
            stmt.newname, relation.name
        )));
    }
    if has_index(&old.kind) {
        let schema = relation.schema.clone();
        let new = QualifiedName::new(&schema, &stmt.newname);
        refuse_taken(draft, &new)?;
        draft.takes_name(&QualifiedName::new(&schema, &old.name));
        draft.takes_name(&new);
    }
    for member in constraint::family(draft, table) {
        draft.alters(member);
        if member == table || !has_index(&old.kind) {
            rename_both(draft, member, &old.name, &stmt.newname);
        }
    }
    draft.done(vec![format!(
        "ALTER TABLE {} RENAME CONSTRAINT {} TO {}",
        draft.quoted(table),
        ident(&stmt.newname),
        ident(&stmt.subname)
    )])
}

fn on_table(
    draft: &mut Draft<'_>,
    stmt: &RenameStmt,
    kind: ObjectType,
) -> Result<Outcome, BindError> {
    let name = stmt.relation.clone().unwrap_or_default();
    let Some(table) = draft.find(&name) else {
        return missing(draft, stmt);
    };
    draft.alters(table);
    if let Some(relation) = draft.catalog.relation_mut(table) {
        let triggers = relation.triggers.iter_mut();
        for trigger in
            triggers.filter(|t| kind == ObjectType::ObjectTrigger && t.name == stmt.subname)
        {
            trigger.name.clone_from(&stmt.newname);
        }
    }
    draft.done(vec![format!(
        "ALTER {} {} ON {} RENAME TO {}",
        super::drop::words(kind),
        ident(&stmt.newname),
        draft.quoted(table),
        ident(&stmt.subname)
    )])
}

fn schema(draft: &mut Draft<'_>, stmt: &RenameStmt) -> Result<Outcome, BindError> {
    let (old, new) = (&stmt.subname, &stmt.newname);
    if !draft.catalog.schemas.contains(old) {
        let known = draft.catalog.schemas.iter().map(String::as_str);
        let hint = object::did_you_mean(old, known);
        return Err(BindError::new(format!(
            "schema \"{old}\" does not exist{hint}"
        )));
    }
    if draft.catalog.schemas.contains(new) {
        return Err(BindError::new(format!("schema \"{new}\" already exists")));
    }
    // Everything in it has another name from here on, functions in expressions included.
    draft.touches_everything();
    let inside: Vec<(RelId, String)> = draft
        .catalog
        .relations()
        .filter(|relation| relation.schema == *old)
        .map(|relation| (relation.id, relation.name.clone()))
        .collect();
    for (id, name) in inside {
        draft.catalog.rename(id, new, &name);
    }
    for schema in &mut draft.catalog.schemas {
        if schema == old {
            schema.clone_from(new);
        }
    }
    for own in &mut draft.catalog.types {
        if own.schema == *old {
            own.schema.clone_from(new);
        }
    }
    for function in draft.catalog.functions.values_mut().flatten() {
        if function.schema == *old {
            function.schema.clone_from(new);
        }
    }
    draft.done(vec![format!(
        "ALTER SCHEMA {} RENAME TO {}",
        ident(new),
        ident(old)
    )])
}

/// The object of a RENAME that is not about a relation.
pub(super) fn object_parts(stmt: &RenameStmt) -> Vec<String> {
    match stmt.object.as_deref() {
        Some(node) => match &node.node {
            Some(NodeEnum::ObjectWithArgs(function)) => object::strings(&function.objname),
            _ => object::parts(node),
        },
        None => Vec::new(),
    }
}
