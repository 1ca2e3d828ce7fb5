//! DROP TABLE (deferred until commit) and DROP VIEW (re-created from its definition).

use pg_query::protobuf::{DropStmt, ObjectType};
use upshift_shared::{
    catalog::{ConstraintKind, RelationKind},
    ids::RelId,
    pg::ident::{QualifiedName, ident},
    plan::{Capture, Hide},
};

use super::{
    alter_constraint,
    alter_table::cascades,
    constraint,
    draft::{Draft, Outcome},
    drop::words,
    object, partition,
};
use crate::compile::error::BindError;

/// The relations of a DROP that are there, and what to say about those that are not.
fn found(draft: &Draft<'_>, stmt: &DropStmt) -> Result<(Vec<RelId>, Vec<String>), BindError> {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for node in &stmt.objects {
        let name = object::range_var(&object::parts(node));
        match draft.find(&name) {
            Some(id) if !found.contains(&id) => found.push(id),
            Some(_) => {}
            None if stmt.missing_ok => missing.push(object::no_relation(draft, &name)),
            None => {
                let message = object::no_relation(draft, &name);
                return Err(BindError::new(format!(
                    "{message}: correct it, or say IF EXISTS"
                )));
            }
        }
    }
    Ok((found, missing))
}

/// DROP TABLE, DROP FOREIGN TABLE
pub(super) fn tables(draft: &mut Draft<'_>, stmt: &DropStmt) -> Result<Outcome, BindError> {
    let (listed, missing) = found(draft, stmt)?;
    if listed.is_empty() {
        return Ok(Outcome::Skipped(missing.join("; ")));
    }
    let cascade = cascades(stmt.behavior);
    // Partitions go before what they belong to, because a parent that moves leaves them behind.
    let mut dropped = Vec::new();
    for table in &listed {
        require_kind(draft, *table)?;
        let mut family = constraint::family(draft, *table);
        let partitioned = draft.relation(*table).kind == RelationKind::PartitionedTable;
        if family.len() > 1 && !partitioned && !cascade {
            let name = draft.name(*table).plain();
            return Err(BindError::new(format!(
                "table \"{name}\" has tables that inherit from it: drop them first, or say CASCADE"
            )));
        }
        family.reverse();
        family.retain(|member| !dropped.contains(member));
        dropped.extend(family);
    }
    refuse_dependents(draft, &dropped, cascade)?;
    // PostgreSQL is asked about the statement as a whole: tables may depend on each other.
    let mut sql = draft.text.to_owned();
    let cascade_word = if cascade { " CASCADE" } else { "" };
    for (place, table) in dropped.iter().enumerate() {
        let quoted = draft.quoted(*table);
        if place > 0 {
            sql = format!("DROP TABLE {quoted}{cascade_word}");
        }
        let relation = draft.relation(*table);
        let inheritance = &relation.inheritance;
        if relation.kind == RelationKind::PartitionedTable
            || !inheritance.parents.is_empty()
            || !inheritance.children.is_empty()
        {
            draft.no_inverse("DROP of a table with partitions, children or parents");
        }
        let hide = Hide::Table {
            table: quoted,
            cascade,
        };
        draft.hide(sql.clone(), hide);
    }
    for table in &dropped {
        touch(draft, *table);
    }
    if cascade {
        for view in dependent_views(draft, &dropped) {
            forget(draft, view);
        }
    }
    for table in dropped {
        forget(draft, table);
    }
    Ok(Outcome::Done)
}

fn require_kind(draft: &Draft<'_>, table: RelId) -> Result<(), BindError> {
    let word = match draft.relation(table).kind {
        RelationKind::View => "VIEW",
        RelationKind::MaterializedView => "MATERIALIZED VIEW",
        RelationKind::Sequence => "SEQUENCE",
        RelationKind::CompositeType => "TYPE",
        _ => return Ok(()),
    };
    let name = draft.name(table).plain();
    Err(BindError::new(format!(
        "\"{name}\" is not a table: use DROP {word}"
    )))
}

fn refuse_dependents(draft: &Draft<'_>, dropped: &[RelId], cascade: bool) -> Result<(), BindError> {
    if cascade {
        return Ok(());
    }
    for table in dropped {
        let name = draft.name(*table).plain();
        let mut incoming = draft.catalog.incoming(*table);
        if let Some((other, foreign_key)) = incoming.find(|(other, _)| !dropped.contains(&other.id))
        {
            return Err(BindError::new(format!(
                "table \"{name}\" cannot be dropped because constraint \"{}\" on table \"{}\" depends on \
                 it: drop that first, or say CASCADE",
                foreign_key.name,
                draft.name(other.id).plain()
            )));
        }
    }
    if let Some(view) = dependent_views(draft, dropped).first() {
        return Err(BindError::new(format!(
            "the table cannot be dropped because view \"{}\" depends on it: drop that first, or say \
             CASCADE",
            draft.name(*view).plain()
        )));
    }
    Ok(())
}

/// Views that read any of these relations, and views that read those, each before what it reads.
fn dependent_views(draft: &Draft<'_>, of: &[RelId]) -> Vec<RelId> {
    let mut found: Vec<RelId> = Vec::new();
    let mut wanted: Vec<RelId> = of.to_vec();
    while let Some(id) = wanted.pop() {
        for relation in draft.catalog.relations() {
            if relation.reads.contains(&id) && !of.contains(&relation.id) {
                found.retain(|known| *known != relation.id);
                found.insert(0, relation.id);
                wanted.push(relation.id);
            }
        }
    }
    found
}

/// Names and tables that a DROP is ordered against.
fn touch(draft: &mut Draft<'_>, table: RelId) {
    draft.alters(table);
    draft.writes_rows(table);
    let name = draft.name(table);
    draft.takes_name(&name);
    for index in draft.relation(table).indexes.clone() {
        draft.takes_name(&QualifiedName::new(&name.schema, &index.name));
    }
    for constraint in draft.relation(table).constraints.clone() {
        draft.takes_constraint_name(&name.schema, &constraint.name);
    }
    let targets: Vec<RelId> = draft
        .relation(table)
        .constraints
        .iter()
        .filter_map(|constraint| match &constraint.kind {
            ConstraintKind::ForeignKey { table, .. } => Some(*table),
            _ => None,
        })
        .collect();
    for target in targets {
        if draft.catalog.relation(target).is_some() {
            draft.alters(target);
        }
    }
}

/// Takes a relation out of the catalog, with its sequences and the foreign keys that point at it.
fn forget(draft: &mut Draft<'_>, table: RelId) {
    if draft.catalog.relation(table).is_none() {
        return;
    }
    draft.alters(table);
    let incoming: Vec<(RelId, String)> = draft
        .catalog
        .incoming(table)
        .map(|(other, foreign_key)| (other.id, foreign_key.name.clone()))
        .collect();
    for (other, foreign_key) in incoming {
        draft.alters(other);
        alter_constraint::forget(draft, other, &foreign_key);
    }
    let sequences: Vec<RelId> = draft
        .catalog
        .relations()
        .filter(|relation| relation.owned_by.is_some_and(|(owner, _)| owner == table))
        .map(|relation| relation.id)
        .collect();
    for sequence in sequences {
        let name = draft.name(sequence);
        draft.takes_name(&name);
        draft.alters(sequence);
        draft.catalog.remove(sequence);
    }
    for parent in draft.relation(table).inheritance.parents.clone() {
        if draft.catalog.relation(parent).is_some() {
            draft.alters(parent);
            partition::unlink(draft, parent, table);
        }
    }
    let name = draft.name(table);
    draft.takes_name(&name);
    draft.catalog.remove(table);
}

/// DROP VIEW, DROP MATERIALIZED VIEW
pub(super) fn views(
    draft: &mut Draft<'_>,
    stmt: &DropStmt,
    kind: ObjectType,
) -> Result<Outcome, BindError> {
    let (listed, missing) = found(draft, stmt)?;
    if listed.is_empty() {
        return Ok(Outcome::Skipped(missing.join("; ")));
    }
    let wanted = match kind {
        ObjectType::ObjectView => RelationKind::View,
        _ => RelationKind::MaterializedView,
    };
    for view in &listed {
        if draft.relation(*view).kind != wanted {
            let name = draft.name(*view).plain();
            return Err(BindError::new(format!(
                "\"{name}\" is not a {}",
                words(kind).to_lowercase()
            )));
        }
    }
    let dependents = dependent_views(draft, &listed);
    if let (Some(view), false) = (dependents.first(), cascades(stmt.behavior)) {
        return Err(BindError::new(format!(
            "the view cannot be dropped because view \"{}\" depends on it: drop that first, or say CASCADE",
            draft.name(*view).plain()
        )));
    }
    for view in dependents.into_iter().chain(readers_first(draft, &listed)) {
        drop_view(draft, view);
    }
    Ok(Outcome::Done)
}

/// Of these views, those that read others of them come first.
fn readers_first(draft: &Draft<'_>, views: &[RelId]) -> Vec<RelId> {
    let mut left = views.to_vec();
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let is_read = |id: RelId| {
            left.iter()
                .any(|other| *other != id && draft.relation(*other).reads.contains(&id))
        };
        let place = left.iter().position(|id| !is_read(*id)).unwrap_or(0);
        ordered.push(left.remove(place));
    }
    ordered
}

fn drop_view(draft: &mut Draft<'_>, view: RelId) {
    draft.alters(view);
    let name = draft.name(view);
    draft.takes_name(&name);
    for read in draft.relation(view).reads.clone() {
        if draft.catalog.relation(read).is_some() {
            draft.mentions(read);
        }
    }
    let quoted = name.to_string();
    if draft.relation(view).kind == RelationKind::MaterializedView {
        for index in draft.relation(view).indexes.clone() {
            draft.takes_name(&QualifiedName::new(&name.schema, &index.name));
        }
        draft.hide(
            format!("DROP MATERIALIZED VIEW {quoted}"),
            Hide::Object {
                class: "MATERIALIZED VIEW".to_owned(),
                object: quoted,
            },
        );
    } else {
        let sql = format!("DROP VIEW {}.{}", ident(&name.schema), ident(&name.name));
        draft.capture(sql, vec![Capture::View { view: quoted }]);
    }
    draft.catalog.remove(view);
}
