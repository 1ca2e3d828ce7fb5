//! DML bound: UPDATE, DELETE, INSERT, MERGE, TRUNCATE, queries, and what cannot be understood.

mod chunk;
mod copy;
mod effect;
mod insert;
mod lookup;
mod other;
mod truncate;
mod walk;

use pg_query::{
    Node, NodeEnum,
    protobuf::{DeleteStmt, InsertStmt, MergeStmt, OnConflictAction, SelectStmt, UpdateStmt},
};
use upshift_shared::{
    catalog::{Catalog, Column, Relation, RelationKind},
    ids::ColId,
    pack::{ChunkDirective, Directives},
    plan::{KeyColumn, Sequences},
};

use self::{
    chunk::{Case, Verb},
    copy::{copying, data_columns, key_columns, opaque},
    walk::Walked,
};
use super::query::{Place, Uses, Walker, named_sequences, qualified};
use crate::compile::{
    error::BindError,
    model::{Bound, BoundDml, BoundInsert, Chunk, Class, Driving, Resource},
};

pub(crate) use effect::Effects;
pub(crate) use walk::modifying_cte;

/// Binds one statement that is not DDL.
///
/// # Errors
/// Names that the catalog does not have and what PostgreSQL or Upshift would refuse, with the place in
/// `text`.
pub fn bind(
    statement: &Node,
    text: &str,
    directives: &Directives,
    catalog: &Catalog,
    search_path: &[String],
) -> Result<Bound, BindError> {
    let binder = Binder {
        walker: Walker::new(catalog, search_path, text),
        directives,
    };
    match &statement.node {
        Some(NodeEnum::UpdateStmt(statement)) => binder.update(statement),
        Some(NodeEnum::DeleteStmt(statement)) => binder.delete(statement),
        Some(NodeEnum::InsertStmt(statement)) => binder.insert(statement),
        Some(NodeEnum::MergeStmt(statement)) => binder.merge(statement),
        Some(NodeEnum::SelectStmt(statement)) => binder.query(statement),
        Some(NodeEnum::TruncateStmt(statement)) => {
            let mut binder = binder;
            let (effects, class) = truncate::bind(&mut binder.walker, statement)?;
            let rows = binder.rows_of(&effects);
            binder.conclude(effects, class, rows)
        }
        Some(other) => other::bind(other),
        None => Err(BindError::new("there is no statement here")),
    }
}

struct Binder<'a> {
    walker: Walker<'a>,
    directives: &'a Directives,
}

impl Binder<'_> {
    fn update(mut self, statement: &UpdateStmt) -> Result<Bound, BindError> {
        let walked = walk::update(&mut self.walker, statement)?;
        let class = match self.not_in_place(&walked, Verb::Update)? {
            Some(class) => class,
            None => Class::Update(self.in_place(&walked, Verb::Update)?),
        };
        let rows = self.rows_touched(walked.relation, statement.where_clause.is_some());
        self.conclude(walked.effects, class, rows)
    }

    fn delete(mut self, statement: &DeleteStmt) -> Result<Bound, BindError> {
        let walked = walk::delete(&mut self.walker, statement)?;
        let class = match self.not_in_place(&walked, Verb::Delete)? {
            Some(class) => class,
            None => Class::Delete(self.in_place(&walked, Verb::Delete)?),
        };
        let rows = self.rows_touched(walked.relation, statement.where_clause.is_some());
        self.conclude(walked.effects, class, rows)
    }

    fn insert(mut self, statement: &InsertStmt) -> Result<Bound, BindError> {
        let inserted = insert::walk(&mut self.walker, statement)?;
        let drawn = !inserted.walked.effects.sequences.is_empty();
        let several = inserted.listed.is_none_or(|rows| rows > 1);
        let ordered = sorted(statement) || inserted.listed.is_some();
        if drawn && several && !ordered {
            self.walker.found.warnings.push(format!(
                "ids of {} are drawn in whatever order the SELECT returns its rows: ORDER BY would \
                 make them come out the same every time",
                inserted.walked.relation.name
            ));
        }
        let class = if inserted.on_conflict == OnConflictAction::OnconflictUpdate {
            let why = "ON CONFLICT DO UPDATE: which rows change cannot be foreseen";
            match self.not_in_place(&inserted.walked, Verb::Insert)? {
                Some(class) => class,
                None => self.copying(&inserted.walked.effects, why.to_owned()),
            }
        } else {
            match self.not_in_place(&inserted.walked, Verb::Insert)? {
                Some(class) => class,
                None => Class::Insert(self.append(statement, &inserted)?),
            }
        };
        let rows = self.rows_inserted(&inserted);
        self.conclude(inserted.walked.effects, class, rows)
    }

    fn merge(mut self, statement: &MergeStmt) -> Result<Bound, BindError> {
        let walked = walk::merge(&mut self.walker, statement)?;
        let class = match self.opaque(&walked.effects) {
            Some(why) => opaque(why),
            None => {
                let why = "MERGE: which rows change cannot be foreseen";
                self.copying(&walked.effects, why.to_owned())
            }
        };
        let rows = self.rows_of(&walked.effects);
        self.conclude(walked.effects, class, rows)
    }

    fn query(mut self, statement: &SelectStmt) -> Result<Bound, BindError> {
        self.walker
            .nested(Place::Rows, |walker| walker.select(statement, false))?;
        let effects = Effects::default();
        let class = match self.opaque(&effects) {
            Some(why) => opaque(why),
            None if self.walker.found.modifying.is_some() => {
                self.copying(&effects, "a WITH query in it changes data".to_owned())
            }
            None => Class::Query,
        };
        let read = self
            .walker
            .sources
            .iter()
            .filter_map(|source| source.relation());
        let rows = read.map(estimated_rows).max().unwrap_or(1);
        self.conclude(effects, class, rows)
    }

    /// Why nobody can tell what the statement does.
    fn opaque(&self, effects: &Effects) -> Option<String> {
        let found = &self.walker.found;
        let modifying = found.modifying.as_ref().and_then(|m| m.opaque.as_ref());
        let why = found
            .opaque
            .as_ref()
            .or(effects.opaque.as_ref())
            .or(modifying);
        why.cloned()
    }

    /// The class, where before-images or recorded keys cannot be the way back.
    fn not_in_place(&self, walked: &Walked<'_>, verb: Verb) -> Result<Option<Class>, BindError> {
        let relation = walked.relation;
        if let Some(why) = self.opaque(&walked.effects) {
            return Ok(Some(opaque(why)));
        }
        let tree = relation.kind != RelationKind::PartitionedTable
            && !relation.inheritance.children.is_empty();
        if tree && verb != Verb::Insert {
            return Ok(Some(opaque(format!(
                "other tables inherit from {}, and its key does not tell their rows apart",
                relation.name
            ))));
        }
        let key = match verb {
            Verb::Insert => key_columns(relation),
            Verb::Update | Verb::Delete => self.key(relation)?,
        };
        let assigned_key = key.iter().flatten().find(|column| {
            let id = relation.column(&column.name).map(|c| c.id);
            id.is_some_and(|id| walked.assigned.contains(&id))
        });
        let why = if self.walker.found.modifying.is_some() {
            "a WITH query in it changes data too".to_owned()
        } else if !walked.effects.cascades.is_empty() {
            walked.effects.cascades.join("; ")
        } else if key.is_none() {
            format!(
                "{} has no key that rows could be told apart by",
                relation.name
            )
        } else if let (Some(column), Verb::Update) = (assigned_key, verb) {
            format!("it assigns {}, which is the key", column.name)
        } else if verb == Verb::Update && stored(walked).next().is_none() {
            "it assigns nothing but generated columns".to_owned()
        } else {
            return Ok(None);
        };
        Ok(Some(self.copying(&walked.effects, why)))
    }

    fn copying(&self, effects: &Effects, why: String) -> Class {
        let mut written = effects.written.clone();
        if let Some(modifying) = &self.walker.found.modifying {
            written.extend(
                modifying
                    .written
                    .iter()
                    .filter(|id| !effects.written.contains(id)),
            );
        }
        copying(self.walker.catalog, &written, why)
    }

    /// The key that tells rows apart: what `chunk = by(…)` names, else the table's own.
    fn key(&self, relation: &Relation) -> Result<Option<Vec<KeyColumn>>, BindError> {
        match &self.directives.chunk {
            Some(ChunkDirective::By(column)) => by_column(relation, column).map(Some),
            _ => Ok(key_columns(relation)),
        }
    }

    fn in_place(&self, walked: &Walked<'_>, verb: Verb) -> Result<BoundDml, BindError> {
        let case = Case {
            walker: &self.walker,
            walked,
            verb,
            rows: 0,
        };
        let relation = walked.relation;
        let names = stored(walked);
        Ok(BoundDml {
            relation: relation.id,
            table: qualified(relation),
            alias: self.walker.sources[walked.target].alias.clone(),
            assigned: names.map(|column| column.name.clone()).collect(),
            columns: data_columns(relation),
            key: self.key(relation)?,
            chunk: self.directed(case.verdict(self.directives.parallel_filter)),
            joins: case.joins(),
        })
    }

    fn append(
        &self,
        statement: &InsertStmt,
        inserted: &insert::Inserted<'_>,
    ) -> Result<BoundInsert, BindError> {
        let relation = inserted.walked.relation;
        let (driving, verdict) = self.cut_of_insert(statement, inserted)?;
        Ok(BoundInsert {
            relation: relation.id,
            table: qualified(relation),
            columns: data_columns(relation),
            key: key_columns(relation),
            driving: driving.filter(|_| verdict.is_ok()),
            chunk: self.directed(verdict),
        })
    }

    fn cut_of_insert(
        &self,
        statement: &InsertStmt,
        inserted: &insert::Inserted<'_>,
    ) -> Result<(Option<Driving>, Result<String, String>), BindError> {
        let by = match &self.directives.chunk {
            Some(ChunkDirective::By(column)) => Some(column.as_str()),
            _ => None,
        };
        let whole = |why: &str| Ok((None, Err(why.to_owned())));
        let Some(rows) = inserted.rows.filter(|_| inserted.listed.is_none()) else {
            return whole("its rows are listed in the statement");
        };
        if inserted.on_conflict == OnConflictAction::OnconflictNothing {
            return whole("ON CONFLICT DO NOTHING: which of two rows stays depends on their order");
        }
        let case = Case {
            walker: &self.walker,
            walked: &inserted.walked,
            verb: Verb::Insert,
            rows,
        };
        let verdict = case.verdict(self.directives.parallel_filter);
        match (insert::driving(&self.walker, statement, rows, by), by) {
            (Ok(driving), _) => Ok((Some(driving), verdict)),
            (Err(why), Some(column)) if verdict.is_ok() => Err(BindError::new(format!(
                "chunk = by({column}): {why}, or not one with a unique index that begins with \
                 {column} and has no column that may be NULL"
            ))),
            (Err(why), _) => Ok((None, verdict.and(Err(why)))),
        }
    }

    /// The verdict under the author's `chunk` directive.
    fn directed(&self, verdict: Result<String, String>) -> Chunk {
        if self.directives.chunk == Some(ChunkDirective::None) {
            return Chunk::Whole("the author said chunk = none".to_owned());
        }
        match verdict {
            Ok(why) => Chunk::ByKey(why),
            Err(why) => Chunk::Whole(why),
        }
    }

    fn rows_touched(&self, relation: &Relation, filtered: bool) -> u64 {
        let rows = estimated_rows(relation);
        // PostgreSQL's own guess for a condition that it knows nothing about.
        if filtered { rows.div_ceil(3) } else { rows }
    }

    fn rows_inserted(&self, inserted: &insert::Inserted<'_>) -> u64 {
        if let Some(rows) = inserted.listed {
            return rows as u64;
        }
        let read = self.walker.sources.iter().filter(|source| !source.target);
        let largest = read
            .filter_map(|source| source.relation())
            .map(estimated_rows);
        largest.max().unwrap_or(1)
    }

    fn rows_of(&self, effects: &Effects) -> u64 {
        let relations = effects
            .written
            .iter()
            .filter_map(|id| self.walker.catalog.relation(*id));
        relations.map(estimated_rows).sum()
    }

    fn conclude(mut self, effects: Effects, class: Class, rows: u64) -> Result<Bound, BindError> {
        let catalog = self.walker.catalog;
        let mut uses = Uses::of(&self.walker);
        effects.add_to(&mut uses);
        let mut sequences = self.walker.found.sequences.clone();
        sequences.extend(&effects.sequences);
        if let Some(modifying) = &self.walker.found.modifying {
            modifying.add_to(&mut uses);
            sequences.extend(&modifying.sequences);
        }
        self.refuse_currval(&sequences)?;
        let is_opaque = matches!(class, Class::Opaque { .. });
        if is_opaque {
            uses.reads.insert(Resource::Everything);
            uses.writes.insert(Resource::Everything);
        }
        if let Some(why) = &self.walker.found.reads_anything {
            let warning =
                format!("{why}: it waits for everything before it, and what follows waits");
            self.walker.found.warnings.push(warning);
        }
        let mut warnings = std::mem::take(&mut self.walker.found.warnings);
        warnings.dedup();
        warnings.extend(self.idle_directive(&class));
        let mut names = uses.names(catalog);
        if let Some(why) = &self.walker.found.reads_anything {
            names.retain(|(resource, _)| *resource != Resource::Everything);
            names.push((Resource::Everything, why.clone()));
        }
        Ok(Bound {
            names,
            tables: uses.named_tables(catalog),
            sequences: if is_opaque {
                Sequences::All
            } else {
                named_sequences(sequences.iter(), catalog)
            },
            shares: std::collections::BTreeSet::new(),
            now_calls: self.walker.now_calls().unwrap_or_default(),
            class,
            reads: uses.reads,
            writes: uses.writes,
            rows,
            warnings,
        })
    }

    /// A directive about chunks on a statement that has none.
    fn idle_directive(&self, class: &Class) -> Option<String> {
        let directive = match &self.directives.chunk {
            Some(ChunkDirective::By(column)) => format!("chunk = by({column})"),
            _ if self.directives.parallel_filter => "{parallel_filter}".to_owned(),
            _ => return None,
        };
        match class {
            Class::Copying { why, .. } | Class::Opaque { why, .. } => {
                Some(format!("{directive} has no effect here: {why}"))
            }
            _ => None,
        }
    }

    /// `currval` is what the same session drew before, and each step has a session of its own.
    fn refuse_currval(
        &self,
        drawn: &std::collections::BTreeSet<upshift_shared::ids::RelId>,
    ) -> Result<(), BindError> {
        match self
            .walker
            .found
            .currval
            .iter()
            .find(|(s, _)| !drawn.contains(s))
        {
            Some((_, location)) => Err(BindError::at(
                *location,
                "currval() is what an earlier statement of the same session drew, but each step has a \
                 session of its own: use RETURNING in a WITH query, or read the sequence's last_value",
            )),
            None => Ok(()),
        }
    }
}

/// `pg_class.reltuples` as a count.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate: negative and huge values are clamped by the cast"
)]
fn estimated_rows(relation: &Relation) -> u64 {
    relation.rows as u64
}

/// The columns assigned whose old values say how to get back. A generated one follows from others, and may
/// be assigned to DEFAULT only.
fn stored<'w>(walked: &'w Walked<'_>) -> impl Iterator<Item = &'w Column> {
    let columns = walked.assigned.iter();
    columns
        .filter_map(|column| walked.relation.column_by_id(*column))
        .filter(|column| column.generated.is_none())
}

fn sorted(statement: &InsertStmt) -> bool {
    match statement
        .select_stmt
        .as_ref()
        .and_then(|node| node.node.as_ref())
    {
        Some(NodeEnum::SelectStmt(select)) => !select.sort_clause.is_empty(),
        _ => true,
    }
}

/// The unique index over NOT NULL columns that a column leads.
fn by_column(relation: &Relation, name: &str) -> Result<Vec<KeyColumn>, BindError> {
    let column = walk::column(relation, name, -1)?;
    let not_null = |id: &Option<ColId>| {
        id.and_then(|id| relation.column_by_id(id))
            .filter(|column| column.not_null)
    };
    let index = relation.indexes.iter().find(|index| {
        index.columns.first() == Some(&Some(column.id))
            && index.unique
            && index.valid
            && index.immediate
            && index.predicate.is_none()
            && index.method == "btree"
            && index.columns.iter().all(|id| not_null(id).is_some())
    });
    let index = index.ok_or_else(|| {
        BindError::new(format!(
            "chunk = by({name}) needs a unique index on {} that begins with {name} and has no column \
             that may be NULL",
            relation.name
        ))
    })?;
    let columns = index.columns.iter().filter_map(not_null);
    Ok(columns
        .map(|column| KeyColumn {
            name: column.name.clone(),
            type_name: column.type_name.clone(),
        })
        .collect())
}

#[cfg(test)]
mod tests;
