//! CREATE VIEW, CREATE MATERIALIZED VIEW, CREATE TABLE AS and SELECT INTO: relations made from a query.

use pg_query::{
    Node, NodeEnum,
    protobuf::{CreateTableAsStmt, IntoClause, ObjectType, SelectStmt, ViewStmt},
};
use upshift_shared::{
    catalog::{Persistence, RelationKind},
    ids::RelId,
    pg::ident::QualifiedName,
    plan::Capture,
};

use super::{
    draft::{Draft, Outcome},
    object,
    query_columns::{self, Columns},
    table_element,
};
use crate::compile::{
    analyse::query::{ReadSet, read_set},
    error::BindError,
};

/// The query, bound.
fn read(draft: &Draft<'_>, query: &Node) -> Result<ReadSet, BindError> {
    read_set(query, draft.text, draft.catalog, draft.path)
}

fn columns(
    draft: &Draft<'_>,
    query: &Node,
    bound: &ReadSet,
    aliases: &[Node],
) -> Result<Option<Columns>, BindError> {
    let plain = query_columns::of(draft, query);
    let found = plain.or_else(|| {
        let columns = bound.columns.as_ref()?.iter();
        let named = columns.map(|c| (c.name.clone(), c.type_name.clone().unwrap_or_default()));
        Some(named.collect())
    });
    let Some(mut columns) = found else {
        return Ok(None);
    };
    for ((name, _), alias) in columns.iter_mut().zip(object::strings(aliases)) {
        *name = alias;
    }
    for (place, (name, _)) in columns.iter().enumerate() {
        if columns[..place].iter().any(|(other, _)| other == name) {
            return Err(BindError::new(format!(
                "column \"{name}\" specified more than once: give one of them another name"
            )));
        }
    }
    Ok(Some(columns))
}

fn set_columns(draft: &mut Draft<'_>, id: RelId, columns: &Columns) {
    if let Some(relation) = draft.catalog.relation_mut(id) {
        relation.columns = (1..)
            .zip(columns)
            .map(|(number, (name, type_name))| table_element::plain_column(number, name, type_name))
            .collect();
    }
}

/// CREATE [OR REPLACE] VIEW
pub(super) fn create_view(draft: &mut Draft<'_>, stmt: &ViewStmt) -> Result<Outcome, BindError> {
    let (Some(name), Some(query)) = (&stmt.view, &stmt.query) else {
        return Err(BindError::new("CREATE VIEW needs a name and a query"));
    };
    let schema = object::creation_schema(draft, name)?;
    let bound = read(draft, query)?;
    let columns = columns(draft, query, &bound, &stmt.aliases)?;
    let read = bound.relations;
    for source in &read {
        draft.mentions(*source);
    }
    table_element::use_functions(draft, query);
    let known = draft.catalog.find(Some(&schema), &name.relname, &[]);
    if let (true, Some(known)) = (stmt.replace, known) {
        let id = known.id;
        if known.kind != RelationKind::View {
            return Err(BindError::at(
                name.location,
                format!("\"{}\" is not a view", name.relname),
            ));
        }
        draft.alters(id);
        if let Some(relation) = draft.catalog.relation_mut(id) {
            relation.reads = read;
        }
        match columns {
            Some(columns) => set_columns(draft, id, &columns),
            None => draft.warn(
                "the view's new columns cannot be told from its query: it is taken to have those that \
                 it had",
            ),
        }
        return draft.done_captured(vec![Capture::View {
            view: draft.quoted(id),
        }]);
    }
    let name = object::free_relation_name(draft, name)?;
    let mut relation = table_element::empty_relation(&name, RelationKind::View);
    relation.reads = read;
    add(draft, relation, &name, columns, "VIEW")
}

/// Adds the relation. Where its columns are not known, the statement is opaque, so that what follows
/// is not refused for columns that it may well have.
fn add(
    draft: &mut Draft<'_>,
    relation: upshift_shared::catalog::Relation,
    name: &QualifiedName,
    columns: Option<Columns>,
    word: &str,
) -> Result<Outcome, BindError> {
    draft.takes_name(name);
    let id = draft.catalog.insert(relation);
    draft.alters(id);
    let undo = vec![format!("DROP {word} {name}")];
    match columns {
        Some(columns) => {
            set_columns(draft, id, &columns);
            draft.done(undo)
        }
        None => {
            draft.touches_everything();
            Ok(Outcome::Opaque {
                why: "the columns that its query gives cannot be told beforehand".to_owned(),
                transactional: true,
                recovery: None,
                undo: Some(undo),
            })
        }
    }
}

/// CREATE TABLE AS, CREATE MATERIALIZED VIEW
pub(super) fn create_as(
    draft: &mut Draft<'_>,
    stmt: &CreateTableAsStmt,
) -> Result<Outcome, BindError> {
    let (Some(into), Some(query)) = (&stmt.into, &stmt.query) else {
        return Err(BindError::new("CREATE TABLE AS needs a name and a query"));
    };
    let (kind, word) = match ObjectType::try_from(stmt.objtype) {
        Ok(ObjectType::ObjectMatview) => (RelationKind::MaterializedView, "MATERIALIZED VIEW"),
        _ => (RelationKind::Table, "TABLE"),
    };
    from_query(draft, into, query, kind, word, stmt.if_not_exists)
}

/// SELECT … INTO
pub(super) fn select_into(draft: &mut Draft<'_>, stmt: &SelectStmt) -> Result<Outcome, BindError> {
    let Some(into) = &stmt.into_clause else {
        return Err(BindError::new("a SELECT without INTO is not DDL"));
    };
    let mut query = stmt.clone();
    query.into_clause = None;
    let query = Node {
        node: Some(NodeEnum::SelectStmt(Box::new(query))),
    };
    from_query(draft, into, &query, RelationKind::Table, "TABLE", false)
}

fn from_query(
    draft: &mut Draft<'_>,
    into: &IntoClause,
    query: &Node,
    kind: RelationKind,
    word: &str,
    if_not_exists: bool,
) -> Result<Outcome, BindError> {
    let Some(relation) = &into.rel else {
        return Err(BindError::new("CREATE TABLE AS needs a name"));
    };
    let schema = object::creation_schema(draft, relation)?;
    if if_not_exists && object::is_taken(draft, &schema, &relation.relname) {
        return Ok(Outcome::Skipped(format!(
            "relation \"{}\" already exists",
            relation.relname
        )));
    }
    let name = object::free_relation_name(draft, relation)?;
    let bound = read(draft, query)?;
    let columns = columns(draft, query, &bound, &into.col_names)?;
    let read = bound.relations.clone();
    draft.runs_query(bound);
    table_element::use_functions(draft, query);
    draft.costs("writes the result of its query");
    let mut relation_ = table_element::empty_relation(&name, kind);
    if relation.relpersistence == "u" {
        relation_.persistence = Persistence::Unlogged;
    }
    if kind == RelationKind::MaterializedView {
        relation_.reads = read;
    }
    add(draft, relation_, &name, columns, word)
}
