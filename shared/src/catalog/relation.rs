//! A relation and what is on it: columns, constraints, indexes, triggers.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::{ColId, RelId};

/// A table, view, sequence or other row of `pg_class`, indexes apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Relation {
    /// Its number in this snapshot.
    pub id: RelId,
    /// `pg_class.oid`; `None` for one that a step creates.
    pub oid: Option<u32>,
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
    /// Whether it is UNLOGGED or a temporary one.
    pub persistence: Persistence,
    /// Columns by position; dropped ones are not listed.
    pub columns: Vec<Column>,
    /// Constraints on it, foreign keys that point *at* it not included.
    pub constraints: Vec<Constraint>,
    /// Its indexes.
    pub indexes: Vec<Index>,
    /// User triggers (internal ones of constraints not included).
    pub triggers: Vec<Trigger>,
    /// What rules other than a view's own are on, disabled ones included.
    pub rules: BTreeSet<RuleEvent>,
    /// Whether row-level security is enabled.
    pub row_security: bool,
    /// Whether it is a partitioned table, a partition, or in an inheritance tree.
    pub inheritance: Inheritance,
    /// For a view or materialized view: the relations that it reads.
    pub reads: Vec<RelId>,
    /// For a sequence: the column that owns it.
    pub owned_by: Option<(RelId, ColId)>,
    /// `pg_class.reltuples`, 0 when never analysed.
    pub rows: f64,
    /// Size of the main fork and TOAST, in bytes.
    pub bytes: u64,
    /// What hangs on a table and could not be carried over to a new one by a shadow pass.
    #[serde(default)]
    pub obstacles: Vec<String>,
    /// What depends on a table, is neither table nor view, and has to be pointed at a new one.
    #[serde(default)]
    pub dependents: Vec<Dependent>,
}

/// `pg_class.relkind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelationKind {
    /// `r`
    Table,
    /// `p`
    PartitionedTable,
    /// `v`
    View,
    /// `m`
    MaterializedView,
    /// `S`
    Sequence,
    /// `f`
    ForeignTable,
    /// `c`
    CompositeType,
}

/// `pg_class.relpersistence`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Persistence {
    /// `p`
    #[default]
    Permanent,
    /// `u`
    Unlogged,
    /// `t`
    Temporary,
}

/// `pg_rewrite.ev_type` of what is not a view's own rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleEvent {
    /// `2`
    Update,
    /// `3`
    Insert,
    /// `4`
    Delete,
}

/// What a shadow pass points at the new table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dependent {
    /// A rule of another relation that mentions the table.
    Rule {
        /// That relation.
        relation: RelId,
    },
    /// A publication that publishes the table.
    Publication {
        /// Name.
        name: String,
        /// Whether its column list or row filter names columns.
        columns: bool,
    },
    /// A partitioned table that it is a partition of.
    Parent,
    /// A function or procedure that has the row type in its signature or mentions the table in an SQL
    /// body (BEGIN ATOMIC).
    Function {
        /// Name, without its schema.
        name: String,
        /// Whether its body mentions the table.
        columns: bool,
    },
}

/// Where a table stands in inheritance or partitioning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inheritance {
    /// What it inherits from, or is a partition of.
    pub parents: Vec<RelId>,
    /// What inherits from it, or its partitions.
    pub children: Vec<RelId>,
}

/// A row of `pg_attribute`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its number: `attnum`, or the next free one for a column that a step creates.
    pub id: ColId,
    /// Name.
    pub name: String,
    /// `format_type(atttypid, atttypmod)`, such as `character varying(64)`.
    pub type_name: String,
    /// Its collation, quoted, where that is not the default one.
    #[serde(default)]
    pub collation: Option<String>,
    /// `attnotnull`.
    pub not_null: bool,
    /// `pg_get_expr` of its default.
    pub default: Option<String>,
    /// Whether it is an identity column, and which kind.
    pub identity: Option<Identity>,
    /// The expression of a stored or virtual generated column.
    pub generated: Option<String>,
    /// The sequence that its default or identity draws from.
    pub sequence: Option<RelId>,
}

/// `pg_attribute.attidentity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// `a`
    Always,
    /// `d`
    ByDefault,
}

/// A row of `pg_constraint`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Constraint {
    /// Name.
    pub name: String,
    /// What it is.
    pub kind: ConstraintKind,
    /// Its columns (`conkey`).
    pub columns: Vec<ColId>,
    /// Whether it is DEFERRABLE.
    pub deferrable: bool,
    /// Whether it is INITIALLY DEFERRED.
    pub deferred: bool,
    /// `convalidated`.
    pub validated: bool,
    /// `pg_get_constraintdef`.
    pub definition: String,
}

/// `pg_constraint.contype`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConstraintKind {
    /// `p`
    PrimaryKey,
    /// `u`
    Unique,
    /// `c`
    Check,
    /// `x`
    Exclusion,
    /// `n`, a constraint of its own from PostgreSQL 18 on.
    NotNull,
    /// `t`
    ConstraintTrigger,
    /// `f`
    ForeignKey {
        /// The table that it points at.
        table: RelId,
        /// The columns that it points at.
        columns: Vec<ColId>,
        /// ON DELETE.
        on_delete: ForeignKeyAction,
        /// ON UPDATE.
        on_update: ForeignKeyAction,
    },
}

/// `confdeltype`, `confupdtype`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForeignKeyAction {
    /// `a`
    NoAction,
    /// `r`
    Restrict,
    /// `c`
    Cascade,
    /// `n`
    SetNull,
    /// `d`
    SetDefault,
}

/// An index and its row of `pg_index`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// Name; its schema is its table's.
    pub name: String,
    /// `indisunique`
    pub unique: bool,
    /// `indisprimary`
    pub primary: bool,
    /// `indisvalid`
    pub valid: bool,
    /// `indimmediate`: uniqueness is checked row by row, not at the end.
    pub immediate: bool,
    /// Access method, such as `btree`.
    pub method: String,
    /// Key columns; `None` for an expression. INCLUDE columns are not listed.
    pub columns: Vec<Option<ColId>>,
    /// Every column that its keys, expressions, predicate or INCLUDE list mention.
    pub mentions: Vec<ColId>,
    /// The predicate of a partial index.
    pub predicate: Option<String>,
    /// `pg_get_indexdef`.
    pub definition: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// A row of `pg_trigger`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// Name.
    pub name: String,
    /// Whether it fires in an ordinary session (`tgenabled` is `O` or `A`).
    pub enabled: bool,
    /// On INSERT.
    pub insert: bool,
    /// On UPDATE.
    pub update: bool,
    /// Only on UPDATE OF these; empty for all.
    pub update_of: Vec<ColId>,
    /// On DELETE.
    pub delete: bool,
    /// On TRUNCATE.
    pub truncate: bool,
    /// FOR EACH ROW.
    pub row: bool,
    /// A partition's copy of its parent's trigger up to PostgreSQL 14 (`tgisinternal`): only a superuser
    /// can disable it.
    pub internal: bool,
}

impl Relation {
    /// The column of that name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// The column of that number.
    #[must_use]
    pub fn column_by_id(&self, id: ColId) -> Option<&Column> {
        self.columns.iter().find(|c| c.id == id)
    }

    /// The columns of the key that rows can be told apart by: the primary key, else the first valid
    /// unique index over plain NOT NULL columns without predicate that is checked at once.
    #[must_use]
    pub fn key(&self) -> Option<Vec<&Column>> {
        let usable = |index: &&Index| {
            index.unique
                && index.valid
                && index.immediate
                && index.predicate.is_none()
                && index.method == "btree"
                && index.columns.iter().all(|c| {
                    c.and_then(|c| self.column_by_id(c))
                        .is_some_and(|c| c.not_null)
                })
        };
        let mut candidates: Vec<&Index> = self.indexes.iter().filter(usable).collect();
        candidates.sort_by_key(|i| (!i.primary, i.columns.len()));
        let index = candidates.first()?;
        index
            .columns
            .iter()
            .map(|c| c.and_then(|c| self.column_by_id(c)))
            .collect()
    }
}
