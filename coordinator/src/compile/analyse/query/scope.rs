//! Which source a column reference means.
//!
//! PostgreSQL looks from the innermost query outwards; at each level an unqualified name must be a
//! column of one source only. What no level knows as a column may be the name of a source: its whole
//! row.

use pg_query::{NodeEnum, protobuf::ColumnRef};

use super::{
    naming::strings,
    source::{ColumnAt, Shape, SourceId},
    suggest::did_you_mean,
    walker::Walker,
};
use crate::compile::error::BindError;

/// Sources whose names may be used at one place of one query.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) items: Vec<Item>,
}

/// A source that may be mentioned.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) source: SourceId,
    /// Columns that USING or NATURAL merged into those of another source: not found unqualified.
    pub(crate) merged: Vec<String>,
    /// Only `source.column` finds its columns, such as those of `excluded`.
    pub(crate) qualified_only: bool,
    /// Only the unqualified names find its columns: the merged columns of a FULL JOIN.
    pub(crate) nameless: bool,
}

impl Item {
    /// A source whose columns are found with and without its name.
    pub(crate) fn plain(source: SourceId) -> Self {
        Self {
            source,
            merged: Vec::new(),
            qualified_only: false,
            nameless: false,
        }
    }
}

/// Columns that every table has.
const SYSTEM_COLUMNS: [&str; 6] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];

/// What a name turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Column(ColumnAt),
    /// A whole row, or a column of a source whose columns are not known.
    Row(SourceId),
    /// A system column.
    System(SourceId),
}

impl Walker<'_> {
    /// Runs `walk` where these sources may be mentioned.
    pub(crate) fn seeing<T>(&mut self, items: Vec<Item>, walk: impl FnOnce(&mut Self) -> T) -> T {
        self.frames.push(Frame { items });
        let result = walk(self);
        self.frames.pop();
        result
    }

    /// Resolves a reference and notes what it reads. Stars are the select list's business.
    pub(super) fn column_ref(&mut self, reference: &ColumnRef) -> Result<(), BindError> {
        let meaning = self.meaning(reference)?;
        if matches!(meaning, Meaning::Row(_)) {
            self.found
                .note_unfit("it mentions a whole row, whose type is the table's own");
        } else if reference.fields.len() > 2 {
            self.found
                .note_unfit("it mentions a column with its schema");
        }
        match meaning {
            Meaning::Column(at) => self.mark(at),
            Meaning::Row(source) => self.mark_row(source),
            Meaning::System(source) => self.mark_system(source, reference),
        }
        Ok(())
    }

    /// What a reference means, nothing noted.
    pub(super) fn meaning(&self, reference: &ColumnRef) -> Result<Meaning, BindError> {
        let fields = strings(&reference.fields);
        let star = matches!(
            reference
                .fields
                .last()
                .and_then(|field| field.node.as_ref()),
            Some(NodeEnum::AStar(_))
        );
        match (fields.as_slice(), star) {
            ([table], true) => self.row(None, table, reference.location),
            ([schema, table], true) => self.row(Some(schema), table, reference.location),
            ([column], false) => self.unqualified(column, reference.location),
            ([table, column], false) => self.qualified(None, table, column, reference.location),
            ([schema, table, column] | [_, schema, table, column], false) => {
                self.qualified(Some(schema), table, column, reference.location)
            }
            _ => Err(BindError::at(
                reference.location,
                "this is not a column: write column, table.column or schema.table.column",
            )),
        }
    }

    fn unqualified(&self, name: &str, location: i32) -> Result<Meaning, BindError> {
        for frame in self.frames.iter().rev() {
            let mut found: Option<Meaning> = None;
            for item in &frame.items {
                if item.qualified_only || item.merged.iter().any(|merged| merged == name) {
                    continue;
                }
                if let Some(meaning) = self.in_source(item.source, name)
                    && found.replace(meaning).is_some()
                {
                    return Err(BindError::at(
                        location,
                        format!(
                            "column \"{name}\" is ambiguous: several tables have it, so write which \
                             one is meant"
                        ),
                    ));
                }
            }
            if let Some(found) = found {
                return Ok(found);
            }
        }
        if let Some(source) = self.named(None, name) {
            return Ok(Meaning::Row(source));
        }
        if let Some(open) = self
            .visible()
            .find(|source| self.sources[*source].is_open())
        {
            return Ok(Meaning::Row(open));
        }
        Err(self.unknown_column(name, location))
    }

    fn qualified(
        &self,
        schema: Option<&str>,
        table: &str,
        column: &str,
        location: i32,
    ) -> Result<Meaning, BindError> {
        let source = match self.named(schema, table) {
            Some(source) => source,
            // `(schema.table).column` may as well be a column of a composite column.
            None if schema.is_none() && self.unqualified(table, location).is_ok() => {
                return self.unqualified(table, location);
            }
            None => return Err(self.unknown_source(table, location)),
        };
        if let Some(meaning) = self.in_source(source, column) {
            return Ok(meaning);
        }
        if self.sources[source].is_open() {
            return Ok(Meaning::Row(source));
        }
        let known = &self.sources[source];
        let hint = did_you_mean(column, (0..known.width()).map(|i| known.column_name(i)));
        Err(BindError::at(
            location,
            format!("\"{table}\" has no column \"{column}\"{hint}"),
        ))
    }

    fn row(&self, schema: Option<&str>, table: &str, location: i32) -> Result<Meaning, BindError> {
        self.named(schema, table)
            .map(Meaning::Row)
            .ok_or_else(|| self.unknown_source(table, location))
    }

    /// The innermost source of that name.
    fn named(&self, schema: Option<&str>, name: &str) -> Option<SourceId> {
        let matches = |source: SourceId| {
            let source = &self.sources[source];
            source.alias == name
                && schema.is_none_or(|schema| {
                    source
                        .relation()
                        .is_some_and(|r| r.schema == schema && r.name == name)
                })
        };
        self.frames.iter().rev().find_map(|frame| {
            frame
                .items
                .iter()
                .find(|item| !item.nameless && matches(item.source))
                .map(|item| item.source)
        })
    }

    fn in_source(&self, source: SourceId, name: &str) -> Option<Meaning> {
        if let Some(column) = self.sources[source].places(name).next() {
            return Some(Meaning::Column(ColumnAt { source, column }));
        }
        let system = matches!(self.sources[source].shape, Shape::Relation { .. })
            && SYSTEM_COLUMNS.contains(&name);
        system.then_some(Meaning::System(source))
    }

    /// All sources that may be mentioned, innermost first.
    fn visible(&self) -> impl Iterator<Item = SourceId> {
        let frames = self.frames.iter().rev();
        frames.flat_map(|frame| frame.items.iter().map(|item| item.source))
    }

    fn unknown_column(&self, name: &str, location: i32) -> BindError {
        let known = self.visible().flat_map(|source| {
            let source = &self.sources[source];
            (0..source.width()).map(|place| source.column_name(place))
        });
        let hint = did_you_mean(name, known);
        BindError::at(location, format!("column \"{name}\" does not exist{hint}"))
    }

    fn unknown_source(&self, name: &str, location: i32) -> BindError {
        let known = self
            .visible()
            .map(|source| self.sources[source].alias.as_str());
        let hint = did_you_mean(name, known);
        BindError::at(
            location,
            format!("\"{name}\" is not a table of this query, or cannot be mentioned here{hint}"),
        )
    }

    /// Notes that a column is read.
    pub(super) fn mark(&mut self, at: ColumnAt) {
        self.mention(at.source);
        let source = &mut self.sources[at.source];
        match &source.shape {
            Shape::Relation { relation, .. } => {
                source.read.insert(relation.columns[at.column].id);
            }
            Shape::Derived(output) => {
                // An alias over a join passes the columns of its sides on.
                if let Some(passed) = output.columns[at.column].passes
                    && self.sources[passed.source].level == self.sources[at.source].level
                {
                    self.mark(passed);
                }
            }
        }
    }

    /// Notes that all columns of a source are read.
    pub(super) fn mark_row(&mut self, source: SourceId) {
        self.mention(source);
        for column in 0..self.sources[source].width() {
            self.mark(ColumnAt { source, column });
        }
    }

    /// `tableoid` says what row it is; the others change with any write to the row.
    fn mark_system(&mut self, source: SourceId, reference: &ColumnRef) {
        self.mention(source);
        if strings(&reference.fields).last() != Some(&"tableoid") {
            self.mark_row(source);
            self.sources[source].system_columns = true;
        }
    }

    /// Notes the source as mentioned, and the queries between it and here as correlated.
    fn mention(&mut self, source: SourceId) {
        self.mentioned.push(source);
        let home = self.sources[source].level;
        let mut level = self.level;
        while level != home {
            self.levels[level].correlated = true;
            match self.levels[level].parent {
                Some(parent) => level = parent,
                None => break,
            }
        }
    }
}
