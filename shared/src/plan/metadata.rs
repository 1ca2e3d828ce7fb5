//! Short DDL and how it is taken back: the metadata operator.

use serde::{Deserialize, Serialize};

/// Short DDL: actions run in order in one transaction, each undone in reverse order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// In order.
    pub actions: Vec<DdlAction>,
}

/// One piece of DDL and how it is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DdlAction {
    /// What `psql` would run. Where `effect` is [`DdlEffect::Hide`], it runs only inside a savepoint
    /// that is rolled back, so that PostgreSQL itself says whether it may.
    pub sql: String,
    /// What is done with it.
    pub effect: DdlEffect,
}

/// What running a piece of DDL means, and its inverse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "effect")]
pub enum DdlEffect {
    /// Run `sql`. Its inverse is known beforehand.
    Invert {
        /// Statements that take it back, in order.
        undo: Vec<String>,
    },
    /// Run `sql`. Before it, the definitions of these are read from the live catalog; restoring them
    /// is the inverse.
    Capture {
        /// What to read.
        objects: Vec<Capture>,
    },
    /// Run `sql`. The type change loses information, so the old values are kept in a hidden column
    /// until commit; its inverse puts them back.
    KeepColumn {
        /// Quoted, qualified table.
        table: String,
        /// Column name, not quoted.
        column: String,
    },
    /// Do not run `sql`: move its object out of sight until commit.
    Hide(Hide),
    /// Run `sql`; there is no way back (the author said so).
    Irreversible,
}

/// Something whose definition is read before DDL changes or drops it. Names are not quoted, except
/// `table` and `object`, which are quoted and qualified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "capture")]
#[expect(missing_docs, reason = "table, column and the like say what they are")]
pub enum Capture {
    /// DEFAULT of a column.
    Default { table: String, column: String },
    /// NOT NULL of a column.
    NotNull { table: String, column: String },
    /// Type and collation of a column, where the inverse cast is exact.
    Type { table: String, column: String },
    /// Identity of a column and its sequence's options.
    Identity { table: String, column: String },
    /// Storage, compression, statistics target and options of a column.
    ColumnAttributes { table: String, column: String },
    /// A constraint, with its comment.
    Constraint { table: String, constraint: String },
    /// An index, with its comment, clustering and replica identity marks.
    Index { index: String },
    /// A trigger, with its comment and enabled state.
    Trigger { table: String, trigger: String },
    /// Whether each trigger of a table is enabled.
    TriggerStates { table: String },
    /// A row-level security policy, with its comment.
    Policy { table: String, policy: String },
    /// Row-level security flags of a table.
    RowSecurity { table: String },
    /// Storage parameters of a table or index.
    Options { object: String },
    /// Owner of a table, view or sequence.
    Owner { object: String },
    /// Privileges on a relation and its columns.
    Privileges { object: String },
    /// The comment on an object: `object` is what stands between COMMENT ON and IS; `class` is its
    /// `pg_description.classoid` as a regclass name, and `identity` how to find it.
    Comment {
        /// For example `TABLE public.t`.
        object: String,
        /// The query that returns the current comment as text (one column, at most one row).
        query: String,
    },
    /// A view: definition, options, owner, privileges, comments.
    View { view: String },
    /// A function or procedure, by its `regprocedure` text: definition, owner, privileges, comment.
    Function { function: String },
    /// Parameters and state of a sequence.
    Sequence { sequence: String },
}

/// A DROP that is deferred: the object goes out of sight and is destroyed by `commit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "hide")]
pub enum Hide {
    /// A column: renamed, without NOT NULL, default, and whatever else hangs on it.
    Column {
        /// Quoted, qualified table.
        table: String,
        /// Column name, not quoted.
        column: String,
        /// Whether DROP said CASCADE.
        cascade: bool,
    },
    /// A table: moved to the schema of kept objects, without its foreign keys both ways.
    Table {
        /// Quoted, qualified table.
        table: String,
        /// Whether DROP said CASCADE.
        cascade: bool,
    },
    /// A sequence, type or function: moved to the schema of kept objects.
    Object {
        /// `SEQUENCE`, `TYPE`, `FUNCTION`, …: what stands behind ALTER.
        class: String,
        /// Quoted, qualified name (with argument types for a function).
        object: String,
    },
}
