//! The walker: it goes through one statement and notes what it finds.

use std::collections::{BTreeMap, BTreeSet};

use upshift_shared::{catalog::Catalog, ids::RelId};

use super::{
    instant::Instant,
    scope::Frame,
    select::Cte,
    source::{Equality, Level, LevelId, Output, Place, Shape, Source, SourceId},
};
use crate::compile::{
    analyse::dml::Effects,
    model::{Resource, WithQuery},
};

/// Goes through one statement.
pub(crate) struct Walker<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) path: &'a [String],
    /// The statement's text, which locations point into.
    pub(crate) text: &'a str,
    pub(crate) sources: Vec<Source<'a>>,
    pub(crate) levels: Vec<Level>,
    pub(crate) equalities: Vec<Equality>,
    /// Sources in the order in which expressions mention them: a caller that wants to know what one
    /// expression depends on looks at what was added meanwhile.
    pub(crate) mentioned: Vec<SourceId>,
    pub(crate) found: Findings,
    pub(super) frames: Vec<Frame>,
    pub(super) ctes: Vec<Cte>,
    pub(super) level: LevelId,
    /// Inside a function in FROM, which is called once, not once for each row.
    pub(super) in_from: bool,
    /// Inside an unnamed item of a select list, whose name follows from the expression.
    pub(super) names_column: bool,
}

/// What a walk finds apart from sources.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Why the statement cannot be understood: the first reason.
    pub(crate) opaque: Option<String>,
    /// Why it may read anything: what describes the database itself, functions with a body of their
    /// own.
    pub(crate) reads_anything: Option<String>,
    /// Resources that are read otherwise than through a source: types, functions, `'t'::regclass`.
    pub(crate) reads: BTreeSet<Resource>,
    /// Sequences that it draws from or sets.
    pub(crate) sequences: BTreeSet<RelId>,
    /// The first function that draws from or sets a sequence.
    pub(crate) draws: Option<String>,
    /// `currval` of these, which only makes sense after a draw in the same statement.
    pub(crate) currval: BTreeMap<RelId, i32>,
    /// Calls of `now()` and its kin.
    pub(crate) instants: Vec<Instant>,
    /// Reads the clock in a way that cannot be pinned: how.
    pub(crate) clock: Option<String>,
    /// Volatile functions that are called for each row.
    pub(crate) volatile: BTreeSet<String>,
    /// User-defined functions that are taken at their author's word (IMMUTABLE).
    pub(crate) promises: BTreeSet<String>,
    /// FOR UPDATE and its like.
    pub(crate) locks_rows: bool,
    /// What data-modifying CTEs do.
    pub(crate) modifying: Option<Effects>,
    /// Why the statement cannot be part of a pass, as far as the names in it go: the first reason.
    pub(crate) unfit: Option<&'static str>,
    /// The queries of WITH clauses, outer ones first.
    pub(crate) with: Vec<WithQuery>,
    /// Things to tell the reader.
    pub(crate) warnings: Vec<String>,
}

impl Findings {
    /// Notes the first reason why the statement cannot be part of a pass.
    pub(crate) fn note_unfit(&mut self, why: &'static str) {
        self.unfit.get_or_insert(why);
    }

    /// Notes the first reason why the statement is opaque.
    pub(crate) fn make_opaque(&mut self, why: impl Into<String>) {
        self.opaque.get_or_insert_with(|| why.into());
    }
}

impl<'a> Walker<'a> {
    /// At the statement's own level.
    pub(crate) fn new(catalog: &'a Catalog, path: &'a [String], text: &'a str) -> Self {
        Self {
            catalog,
            path,
            text,
            sources: Vec::new(),
            levels: vec![Level::new(None, Place::Statement)],
            equalities: Vec::new(),
            mentioned: Vec::new(),
            found: Findings::default(),
            frames: Vec::new(),
            ctes: Vec::new(),
            level: 0,
            in_from: false,
            names_column: false,
        }
    }

    /// Runs `walk` at a level of its own.
    pub(crate) fn nested<T>(&mut self, place: Place, walk: impl FnOnce(&mut Self) -> T) -> T {
        let parent = self.level;
        self.levels.push(Level::new(Some(parent), place));
        self.level = self.levels.len() - 1;
        let (in_from, names_column) = (self.in_from, self.names_column);
        (self.in_from, self.names_column) = (false, false);
        let result = walk(self);
        (self.in_from, self.names_column) = (in_from, names_column);
        self.level = parent;
        result
    }

    /// The level that is being walked.
    pub(super) fn here(&mut self) -> &mut Level {
        &mut self.levels[self.level]
    }

    /// The level that is being walked.
    pub(crate) fn level_id(&self) -> LevelId {
        self.level
    }

    /// Adds a source at the current level.
    pub(crate) fn add_source(
        &mut self,
        alias: String,
        shape: Shape<'a>,
        renamed: Vec<String>,
    ) -> SourceId {
        self.sources.push(Source {
            alias,
            level: self.level,
            shape,
            renamed,
            read: BTreeSet::new(),
            system_columns: false,
            optional: false,
            target: false,
        });
        self.sources.len() - 1
    }

    /// Adds a subquery, function or the like.
    pub(crate) fn add_derived(
        &mut self,
        alias: String,
        output: Output,
        renamed: Vec<String>,
    ) -> SourceId {
        self.add_source(alias, Shape::Derived(output), renamed)
    }

    /// Whether a level is another or stands, however deep, inside it.
    pub(crate) fn is_within(&self, mut level: LevelId, outer: LevelId) -> bool {
        loop {
            if level == outer {
                return true;
            }
            match self.levels[level].parent {
                Some(parent) => level = parent,
                None => return false,
            }
        }
    }
}

impl Level {
    fn new(parent: Option<LevelId>, place: Place) -> Self {
        Self {
            parent,
            place,
            correlated: false,
            spans: BTreeSet::new(),
            volatile: None,
            volatile_in_from: None,
            multiplies: false,
        }
    }
}
