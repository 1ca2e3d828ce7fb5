//! What a query is made of, once its names are resolved: sources, levels, equalities.

use std::collections::BTreeSet;

use upshift_shared::{catalog::Relation, ids::ColId};

/// Place of a [`Source`] in [`super::Walker::sources`].
pub(crate) type SourceId = usize;
/// Place of a [`Level`] in [`super::Walker::levels`].
pub(crate) type LevelId = usize;

/// One occurrence of something that rows come from: a table under an alias, a subquery, a function.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    /// What the statement calls it.
    pub(crate) alias: String,
    /// The query that it stands in.
    pub(crate) level: LevelId,
    /// What it is.
    pub(crate) shape: Shape<'a>,
    /// Names that an alias list gives to its first columns.
    pub(crate) renamed: Vec<String>,
    /// Columns of the relation that the statement reads through it.
    pub(crate) read: BTreeSet<ColId>,
    /// `ctid`, `xmin` and their like are read, which any write changes.
    pub(crate) system_columns: bool,
    /// It is on the side of an outer join that is filled up with NULLs.
    pub(crate) optional: bool,
    /// It is the target of an INSERT, UPDATE, DELETE or MERGE, not something read besides.
    pub(crate) target: bool,
}

/// What a source is.
#[derive(Debug)]
pub(crate) enum Shape<'a> {
    /// A relation of the catalog.
    Relation {
        /// It.
        relation: &'a Relation,
        /// `ONLY`: without what inherits from it.
        only: bool,
    },
    /// A subquery, CTE, VALUES list or function.
    Derived(Output),
}

/// The columns that a query returns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Output {
    /// In order.
    pub(crate) columns: Vec<OutputColumn>,
    /// There may be more columns than those listed: nobody knows their names.
    pub(crate) open: bool,
    /// Sets of columns (by place) no two rows agree in; an empty set says that there is at most one
    /// row.
    pub(crate) unique: Vec<Vec<usize>>,
}

/// A column that a query returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutputColumn {
    /// Its name, by PostgreSQL's rules (`?column?` where it has none).
    pub(crate) name: String,
    /// The column that it passes on as it is, where it does.
    pub(crate) passes: Option<ColumnAt>,
    /// Its type, where it can be told without knowing every operator and function.
    pub(crate) type_name: Option<String>,
}

/// A column of a source, by its place in the source's list of columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ColumnAt {
    /// The source.
    pub(crate) source: SourceId,
    /// Place in it.
    pub(crate) column: usize,
}

/// A SELECT within the statement, or the statement itself (level 0).
#[derive(Debug)]
pub(crate) struct Level {
    /// The query that it stands in.
    pub(crate) parent: Option<LevelId>,
    /// Where it stands there.
    pub(crate) place: Place,
    /// It, or a query in it, mentions a column of a query around it: it is computed row by row.
    pub(crate) correlated: bool,
    /// What in it looks at several rows together.
    pub(crate) spans: BTreeSet<Span>,
    /// A volatile function that is called in it.
    pub(crate) volatile: Option<String>,
    /// A volatile function in its FROM, which is called once and not for each row.
    pub(crate) volatile_in_from: Option<String>,
    /// A function in its select list returns several rows.
    pub(crate) multiplies: bool,
}

/// Where a query stands in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The statement itself.
    Statement,
    /// The query of an INSERT, which gives it its rows.
    Rows,
    /// A subquery in FROM.
    From,
    /// WITH.
    Cte,
    /// A subquery in an expression.
    Expression,
    /// A side of UNION, INTERSECT or EXCEPT.
    Arm,
}

/// What looks at several rows together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Span {
    Aggregate,
    GroupBy,
    Window,
    Distinct,
    DistinctOn,
    Limit,
    SetOperation,
    UnionAll,
    Recursion,
    Sample,
    OrderBy,
}

impl Span {
    /// As people write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Aggregate => "an aggregate",
            Self::GroupBy => "GROUP BY",
            Self::Window => "a window function",
            Self::Distinct => "DISTINCT",
            Self::DistinctOn => "DISTINCT ON",
            Self::Limit => "LIMIT or OFFSET",
            Self::SetOperation => "UNION, INTERSECT or EXCEPT",
            Self::UnionAll => "UNION ALL",
            Self::Recursion => "WITH RECURSIVE",
            Self::Sample => "TABLESAMPLE",
            Self::OrderBy => "ORDER BY",
        }
    }
}

/// `left = right` in a condition that rows must meet.
#[derive(Debug)]
pub(crate) struct Equality {
    pub(crate) left: Operand,
    pub(crate) right: Operand,
    /// The sources that it restricts: an outer join's condition restricts only the side that is
    /// filled up with NULLs.
    pub(crate) restricts: Vec<SourceId>,
}

/// A side of an equality.
#[derive(Debug, Clone)]
pub(crate) enum Operand {
    /// A column.
    Column(ColumnAt),
    /// An integer column plus or minus an integer: as telling as the column, but not equal to it.
    Shifted(ColumnAt),
    /// A constant without a type of its own, or of the integer kind.
    Constant,
    /// Anything else, computed from these sources.
    Computed(Vec<SourceId>),
}

impl Source<'_> {
    /// How many columns it is known to have.
    pub(crate) fn width(&self) -> usize {
        match &self.shape {
            Shape::Relation { relation, .. } => relation.columns.len(),
            Shape::Derived(output) => output.columns.len(),
        }
    }

    /// The name of the column at that place.
    pub(crate) fn column_name(&self, place: usize) -> &str {
        if let Some(name) = self.renamed.get(place) {
            return name;
        }
        match &self.shape {
            Shape::Relation { relation, .. } => &relation.columns[place].name,
            Shape::Derived(output) => &output.columns[place].name,
        }
    }

    /// The type of the column at that place, where it is known.
    pub(crate) fn column_type(&self, place: usize) -> Option<&str> {
        match &self.shape {
            Shape::Relation { relation, .. } => Some(&relation.columns[place].type_name),
            Shape::Derived(output) => output.columns[place].type_name.as_deref(),
        }
    }

    /// The places of columns of that name.
    pub(crate) fn places(&self, name: &str) -> impl Iterator<Item = usize> {
        (0..self.width()).filter(move |place| self.column_name(*place) == name)
    }

    /// Whether it may have columns that are not listed.
    pub(crate) fn is_open(&self) -> bool {
        matches!(&self.shape, Shape::Derived(output) if output.open)
    }

    /// The relation, where it is one.
    pub(crate) fn relation(&self) -> Option<&Relation> {
        match &self.shape {
            Shape::Relation { relation, .. } => Some(relation),
            Shape::Derived(_) => None,
        }
    }
}
