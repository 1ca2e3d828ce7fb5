//! What binding one statement collects: actions with their inverses, what is read and written, and the
//! lookups that every family of statements needs.

use std::collections::BTreeSet;

use pg_query::{NodeEnum, protobuf::RangeVar};
use upshift_shared::{
    catalog::{Catalog, Column, Constraint, Relation},
    ids::{ColId, RelId},
    pack::Directives,
    pg::ident::QualifiedName,
    plan::{Capture, DdlAction, DdlEffect, Hide, Sequences, UndoKind},
};

use super::{expression, object};
use crate::compile::{
    analyse::query::ReadSet,
    error::BindError,
    model::{Binding, Bound, BoundDdl, Class, Resource},
};

/// How the binding of a statement ended.
pub(super) enum Outcome {
    /// The draft has its actions.
    Done,
    /// It has no effect here: why.
    Skipped(String),
    /// It runs as one statement.
    Opaque {
        /// Why.
        why: String,
        /// Whether PostgreSQL allows it inside a transaction block.
        transactional: bool,
        /// What clears away a broken first attempt.
        recovery: Option<String>,
        /// Its inverse, where one is known; empty for nothing to take back.
        undo: Option<Vec<String>>,
    },
}

/// A statement's binding in the making.
pub(super) struct Draft<'a> {
    /// The statement as written.
    pub(super) text: &'a str,
    /// The catalog, which the statement evolves.
    pub(super) catalog: &'a mut Catalog,
    /// Where unqualified names are looked up.
    pub(super) path: &'a [String],
    /// What it costs beyond a change of the catalog: set with [`Self::costs`].
    why: Option<String>,
    directives: &'a Directives,
    actions: Vec<DdlAction>,
    reads: BTreeSet<Resource>,
    writes: BTreeSet<Resource>,
    shares: BTreeSet<Resource>,
    names: Vec<(Resource, String)>,
    tables: Vec<(RelId, QualifiedName, bool)>,
    warnings: Vec<String>,
    rows: u64,
    sequences: Sequences,
    lost: Option<String>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(
        text: &'a str,
        directives: &'a Directives,
        catalog: &'a mut Catalog,
        path: &'a [String],
    ) -> Self {
        Self {
            text,
            catalog,
            path,
            why: None,
            directives,
            actions: Vec::new(),
            reads: BTreeSet::new(),
            writes: BTreeSet::new(),
            shares: BTreeSet::new(),
            names: Vec::new(),
            tables: Vec::new(),
            warnings: Vec::new(),
            rows: 0,
            sequences: Sequences::None,
            lost: None,
        }
    }

    // Lookups.

    /// A relation that the draft has found before.
    pub(super) fn relation(&self, id: RelId) -> &Relation {
        self.catalog
            .relation(id)
            .expect("a relation that was looked up in this statement is still in the catalog")
    }

    /// Its name at this point.
    pub(super) fn name(&self, id: RelId) -> QualifiedName {
        let relation = self.relation(id);
        QualifiedName::new(&relation.schema, &relation.name)
    }

    /// Its quoted, qualified name at this point.
    pub(super) fn quoted(&self, id: RelId) -> String {
        self.name(id).to_string()
    }

    /// The relation that a name in the statement means.
    pub(super) fn find(&self, name: &RangeVar) -> Option<RelId> {
        let schema = (!name.schemaname.is_empty()).then_some(name.schemaname.as_str());
        let found = self.catalog.find(schema, &name.relname, self.path);
        found.map(|relation| relation.id)
    }

    /// The relation that a name in the statement means, or what `psql` would say.
    pub(super) fn require(&self, name: &RangeVar) -> Result<RelId, BindError> {
        self.find(name)
            .ok_or_else(|| BindError::at(name.location, object::no_relation(self, name)))
    }

    /// A column by name, or what `psql` would say.
    pub(super) fn column(&self, table: RelId, name: &str) -> Result<&Column, BindError> {
        let relation = self.relation(table);
        relation.column(name).ok_or_else(|| {
            let known = relation.columns.iter().map(|column| column.name.as_str());
            let hint = object::did_you_mean(name, known);
            let table = self.name(table).plain();
            BindError::new(format!(
                "column \"{name}\" of relation \"{table}\" does not exist{hint}"
            ))
        })
    }

    /// The schema that an unqualified CREATE goes to: the first of the path that is not PostgreSQL's
    /// own.
    pub(super) fn creation_schema(&self, named: &str) -> Result<String, BindError> {
        if !named.is_empty() {
            if self.catalog.schemas.iter().any(|schema| schema == named) {
                return Ok(named.to_owned());
            }
            let known = self.catalog.schemas.iter().map(String::as_str);
            let hint = object::did_you_mean(named, known);
            return Err(BindError::new(format!(
                "schema \"{named}\" does not exist{hint}"
            )));
        }
        let mut path = self.path.iter();
        path.find(|schema| {
            !schema.starts_with("pg_") && self.catalog.schemas.iter().any(|known| known == *schema)
        })
        .cloned()
        .ok_or_else(|| {
            BindError::new("no schema to create in: qualify the name, or set search_path before")
        })
    }

    // What is read and written.

    /// DDL on a relation: ordered against everything that mentions it.
    pub(super) fn alters(&mut self, id: RelId) {
        self.touch(id, true);
        self.writes.insert(Resource::Table(id));
        self.reads.insert(Resource::Table(id));
    }

    /// DDL that adds something to a relation that others of its kind can add to at the same time:
    /// ordered against everything that mentions it, but for those.
    pub(super) fn adds_to(&mut self, id: RelId) {
        self.touch(id, false);
        self.reads.remove(&Resource::Table(id));
        self.shares.insert(Resource::Table(id));
    }

    /// Mentions a relation.
    pub(super) fn mentions(&mut self, id: RelId) {
        self.touch(id, false);
        self.reads.insert(Resource::Table(id));
    }

    fn touch(&mut self, id: RelId, written: bool) {
        let name = self.name(id);
        match self.tables.iter_mut().find(|(other, ..)| *other == id) {
            Some((_, _, write)) => *write |= written,
            None => {
                self.names.push((Resource::Table(id), name.plain()));
                self.names
                    .push((Resource::Rows(id), format!("rows of {}", name.plain())));
                self.tables.push((id, name, written));
            }
        }
    }

    /// Reads every row, of these columns.
    pub(super) fn scans(&mut self, id: RelId, columns: &[ColId]) {
        self.mentions(id);
        self.reads.insert(Resource::Rows(id));
        for column in columns {
            let resource = self.column_resource(id, *column);
            self.reads.insert(resource);
        }
        self.add_rows(id);
    }

    /// Reads every row and column.
    pub(super) fn scans_all(&mut self, id: RelId) {
        let columns: Vec<ColId> = self.relation(id).columns.iter().map(|c| c.id).collect();
        self.scans(id, &columns);
    }

    /// Writes a column of every row.
    pub(super) fn writes_column(&mut self, id: RelId, column: ColId) {
        let resource = self.column_resource(id, column);
        self.writes.insert(resource);
    }

    /// Writes which rows exist.
    pub(super) fn writes_rows(&mut self, id: RelId) {
        self.writes.insert(Resource::Rows(id));
        let columns: Vec<ColId> = self.relation(id).columns.iter().map(|c| c.id).collect();
        for column in columns {
            self.writes_column(id, column);
        }
    }

    fn column_resource(&mut self, id: RelId, column: ColId) -> Resource {
        let resource = Resource::Column(id, column);
        let name = self.relation(id).column_by_id(column).map(|column| {
            let table = self.name(id).plain();
            format!("{table}.{}", column.name)
        });
        if let Some(name) = name {
            self.names.push((resource.clone(), name));
        }
        resource
    }

    /// Changes the values that a sequence gives out.
    pub(super) fn writes_sequence(&mut self, id: RelId) {
        let name = self.name(id).plain();
        let resource = Resource::Sequence(id);
        self.names
            .push((resource.clone(), format!("sequence {name}")));
        self.writes.insert(resource);
    }

    /// Creates, drops or changes a schema-level object.
    pub(super) fn writes_object(&mut self, class: &str, name: &QualifiedName) {
        let resource = Resource::Object(class.to_owned(), name.to_string());
        self.names
            .push((resource.clone(), format!("{class} {}", name.plain())));
        self.writes.insert(resource);
        // It lives in a schema that an earlier step may have made.
        if !name.schema.is_empty() {
            self.reads_object("schema", &QualifiedName::new("", &name.schema));
        }
    }

    /// Uses a schema-level object.
    pub(super) fn reads_object(&mut self, class: &str, name: &QualifiedName) {
        let resource = Resource::Object(class.to_owned(), name.to_string());
        self.names
            .push((resource.clone(), format!("{class} {}", name.plain())));
        self.reads.insert(resource);
    }

    /// A name of a table, view, sequence or index is taken or freed.
    pub(super) fn takes_name(&mut self, name: &QualifiedName) {
        self.writes_object("relation", name);
        self.reads_object("schema", &QualifiedName::new("", &name.schema));
    }

    /// Drops something that other objects may depend on in ways that the catalog does not have (a
    /// function that a trigger calls, a type in a signature): it comes behind all DDL before it, which
    /// may have dropped those.
    pub(super) fn frees_dependents(&mut self) {
        self.writes.insert(dependents());
    }

    /// What a bound query reads, and the sequences that it draws from.
    pub(super) fn runs_query(&mut self, query: ReadSet) {
        self.reads.extend(query.reads);
        self.writes.extend(query.writes);
        self.names.extend(query.names);
        self.warnings.extend(query.warnings);
        self.sequences = query.sequences;
        for (id, ..) in query.tables {
            self.touch(id, false);
            self.add_rows(id);
        }
        if query.opaque.is_some() || !query.volatile.is_empty() {
            self.touches_everything();
        }
    }

    /// Adds a constraint to the catalog, whose name other statements may have to go round.
    pub(super) fn add_constraint(&mut self, table: RelId, constraint: Constraint) {
        let schema = self.name(table).schema;
        self.takes_constraint_name(&schema, &constraint.name);
        self.catalog.add_constraint(table, constraint);
    }

    /// A name of a constraint is taken or freed.
    pub(super) fn takes_constraint_name(&mut self, schema: &str, name: &str) {
        self.writes_object("constraint", &QualifiedName::new(schema, name));
    }

    /// Nothing is known about what it reads and writes.
    pub(super) fn touches_everything(&mut self) {
        self.reads.insert(Resource::Everything);
        self.writes.insert(Resource::Everything);
    }

    fn add_rows(&mut self, id: RelId) {
        let rows = self.relation(id).rows;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an estimate, never negative"
        )]
        let rows = rows as u64;
        self.rows = self.rows.max(rows);
    }

    // Actions.

    /// What it costs beyond a change of the catalog.
    pub(super) fn costs(&mut self, why: impl Into<String>) {
        self.why.get_or_insert(why.into());
    }

    /// Something to tell the reader.
    pub(super) fn warn(&mut self, message: impl Into<String>) {
        self.warnings.push(message.into());
    }

    /// DDL with a known inverse.
    pub(super) fn invert(&mut self, sql: impl Into<String>, undo: Vec<String>) {
        self.push(sql.into(), DdlEffect::Invert { undo });
    }

    /// DDL whose inverse is what the catalog says before it.
    pub(super) fn capture(&mut self, sql: impl Into<String>, objects: Vec<Capture>) {
        self.push(sql.into(), DdlEffect::Capture { objects });
    }

    /// A deferred DROP.
    pub(super) fn hide(&mut self, sql: impl Into<String>, hide: Hide) {
        self.push(sql.into(), DdlEffect::Hide(hide));
    }

    /// Any other effect.
    pub(super) fn push(&mut self, sql: String, effect: DdlEffect) {
        self.actions.push(DdlAction { sql, effect });
    }

    /// The statement has no inverse; `what` is how a person calls it.
    pub(super) fn no_inverse(&mut self, what: impl Into<String>) {
        self.lost.get_or_insert(what.into());
    }

    /// [`Self::no_inverse`] as the end of a binding.
    pub(super) fn done_without_inverse(
        &mut self,
        what: impl Into<String>,
    ) -> Result<Outcome, BindError> {
        self.no_inverse(what);
        Ok(Outcome::Done)
    }

    /// The statement as written, with a known inverse.
    pub(super) fn done(&mut self, undo: Vec<String>) -> Result<Outcome, BindError> {
        self.invert(self.text, undo);
        Ok(Outcome::Done)
    }

    /// The statement as written, whose inverse is what the catalog says before it.
    pub(super) fn done_captured(&mut self, objects: Vec<Capture>) -> Result<Outcome, BindError> {
        self.capture(self.text, objects);
        Ok(Outcome::Done)
    }

    // The end.

    /// The binding.
    pub(super) fn finish(mut self, outcome: Outcome) -> Result<Binding, BindError> {
        let class = match outcome {
            Outcome::Skipped(why) => return Ok(Binding::Skipped(why)),
            Outcome::Opaque {
                why,
                transactional,
                recovery,
                undo,
            } => Class::Opaque {
                why,
                transactional,
                recovery,
                undo,
            },
            Outcome::Done => Class::Ddl(self.ddl()?),
        };
        self.reads.insert(dependents());
        self.names
            .push((dependents(), "what depends on other objects".to_owned()));
        let everything = self.writes.contains(&Resource::Everything);
        Ok(Binding::Bound(Box::new(Bound {
            class,
            reads: self.reads,
            writes: self.writes,
            names: self.names,
            tables: self.tables,
            sequences: if everything {
                Sequences::All
            } else {
                self.sequences
            },
            shares: self.shares,
            now_calls: Vec::new(),
            rows: self.rows,
            warnings: self.warnings,
        })))
    }

    /// The author's `undo` wins, then `irreversible`, then what was found.
    fn ddl(&mut self) -> Result<BoundDdl, BindError> {
        let whole = |effect| {
            vec![DdlAction {
                sql: self.text.to_owned(),
                effect,
            }]
        };
        let (actions, undo) = if let Some(undo) = &self.directives.undo {
            let undo = vec![undo.clone()];
            (whole(DdlEffect::Invert { undo }), UndoKind::Directive)
        } else if self.directives.irreversible {
            (whole(DdlEffect::Irreversible), UndoKind::Irreversible)
        } else if let Some(what) = &self.lost {
            return Err(BindError::new(format!(
                "{what} has no inverse: add -- upshift: undo = \"…\", or mark it -- upshift: irreversible"
            )));
        } else {
            let actions = std::mem::take(&mut self.actions);
            let hides = actions.iter().any(|action| {
                matches!(
                    action.effect,
                    DdlEffect::Hide(_) | DdlEffect::KeepColumn { .. }
                )
            });
            let undo = if hides {
                UndoKind::Hidden
            } else {
                UndoKind::InverseDdl
            };
            (actions, undo)
        };
        let heavy = self.why.is_some();
        let why = self.why.take();
        Ok(BoundDdl {
            actions,
            undo,
            why: why.unwrap_or_else(|| "changes only the catalog".to_owned()),
            heavy,
        })
    }
}

/// Whatever depends on functions, types and sequences.
fn dependents() -> Resource {
    Resource::Object("dependents".to_owned(), String::new())
}

/// Writes a parse tree out as SQL.
pub(super) fn deparse(node: NodeEnum) -> Result<String, BindError> {
    expression::deparse(node)
}
