//! What the stages hand to each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use upshift_shared::{
    catalog::{Column, Constraint, Dependent, Domain, Relation},
    ids::{ColId, RelId, StepId},
    pack::{Directives, Location, Phase, StepKind, Version},
    pg::ident::QualifiedName,
    plan::{
        CopiedTable, DdlAction, EdgeReason, KeyColumn, Rates, Sequences, SkippedStep, SnapshotKind,
        Strategy, UndoKind, Warning, WrittenTable,
    },
};

/// What the compiler is asked for, beside the pack and the catalog.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// How steps are ordered.
    pub strategy: Strategy,
    /// How it is chosen whether a table's statements become one pass.
    pub passes: Passes,
    /// Bytes of disk that new tables may take beside the old ones, in all.
    pub disk_budget: Option<u64>,
    /// PostgreSQL's own estimates of the rows that steps touch, where it was asked.
    pub estimates: BTreeMap<StepId, u64>,
    /// What work costs on the server.
    pub rates: Rates,
    /// Steps that are fused with no other: of a run whose pack was edited, those that have begun.
    pub apart: BTreeSet<StepId>,
    /// Snapshots of the whole database before what cannot be undone, where they were asked for.
    pub snapshot: Option<SnapshotRequest>,
}

/// What is asked for where something cannot be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotRequest {
    /// How snapshots are taken.
    pub kind: SnapshotKind,
    /// The size of the database, in bytes.
    pub bytes: u64,
}

impl From<Strategy> for Options {
    fn from(strategy: Strategy) -> Self {
        Self {
            strategy,
            ..Self::default()
        }
    }
}

/// Whether statements on a table are fused into a pass that builds it anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Passes {
    /// Where that is cheaper.
    #[default]
    ByCost,
    /// Wherever it can be done.
    Shadow,
    /// Nowhere.
    InPlace,
}

/// Result of `resolve`: the modules to upgrade and their steps in sequential order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Resolved {
    /// In sequential order: every module after those that it depends on.
    pub modules: Vec<ResolvedModule>,
    /// In sequential order: what `psql` would run. `steps[i].id == StepId(i)`.
    pub steps: Vec<ResolvedStep>,
    /// Modules of the pack that are left alone, and why (not installed, already there).
    pub skipped: Vec<(String, String)>,
    /// Which modules are installed, for `when = module_installed(…)`.
    pub installed: BTreeSet<String>,
}

/// A module to upgrade.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResolvedModule {
    /// Its name in the pack.
    pub name: String,
    /// The version that the database has.
    pub from: Version,
    /// The version that the pack brings it to.
    pub to: Version,
    /// Places in [`Resolved::modules`] of the modules it depends on.
    pub depends: Vec<u32>,
}

/// A step of a migration that runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResolvedStep {
    /// Its place in the sequential order.
    pub id: StepId,
    /// Place in [`Resolved::modules`].
    pub module: u32,
    /// The migration's version.
    pub version: Version,
    /// The script's phase.
    pub phase: Phase,
    /// Where it begins.
    pub location: Location,
    /// What it is.
    pub kind: StepKind,
    /// What the author said.
    pub directives: Directives,
    /// `SET` statements before it in its file.
    pub settings: Vec<(String, String)>,
}

/// Result of `analyse`.
#[derive(Debug, Clone, Serialize)]
pub struct Analysis {
    /// By [`StepId`], skipped ones left out.
    pub steps: Vec<AnalysedStep>,
    /// Steps that will not run.
    pub skipped: Vec<SkippedStep>,
    /// What the reader should know.
    pub warnings: Vec<Warning>,
    /// User-defined types before the first step.
    #[serde(skip)]
    pub types: UserTypes,
    /// For [`upshift_shared::plan::Plan::written`].
    #[serde(skip)]
    pub written: Option<Vec<WrittenTable>>,
}

/// User-defined types whose casts are known, by the names that `format_type` prints.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UserTypes {
    /// Enums: casts to them are assignments.
    pub enums: BTreeSet<String>,
    /// Domains.
    pub domains: BTreeMap<String, Domain>,
    /// Domains that a step makes or changes: nothing is known of them.
    pub changing: BTreeSet<String>,
}

/// A step, bound against the catalog as it is when its turn comes.
#[derive(Debug, Clone, Serialize)]
pub struct AnalysedStep {
    /// The step as resolved.
    #[serde(flatten)]
    pub step: ResolvedStep,
    /// What the binder found.
    pub bound: Bound,
    /// The parsed statement, for `physical`; `None` for typed steps and what does not parse into
    /// one statement.
    #[serde(skip)]
    pub parsed: Option<Arc<pg_query::protobuf::Node>>,
    /// Its table around it, where a pass over the table may be worth while.
    #[serde(skip)]
    pub around: Option<Arc<Around>>,
}

/// The one table that a step changes, as the step finds and leaves it.
#[derive(Debug, Clone)]
pub struct Around {
    /// Before the step.
    pub before: Arc<Relation>,
    /// After it.
    pub after: Arc<Relation>,
    /// Foreign keys of other tables that point at it: the table and its name, the constraint.
    pub incoming: Vec<(RelId, QualifiedName, Constraint)>,
    /// Rows of those tables, in the same order.
    pub incoming_rows: Vec<f64>,
    /// Names of the tables that its own foreign keys point at.
    pub parents: Vec<(RelId, QualifiedName)>,
    /// Names of the columns of those.
    pub parent_columns: Vec<(RelId, BTreeMap<ColId, String>)>,
    /// Views that read it directly.
    pub views: Vec<RelId>,
    /// What it inherits from or is a partition of, directly or not.
    pub ancestors: BTreeSet<RelId>,
}

impl Around {
    /// What on the table names its columns, constraints and indexes apart.
    #[must_use]
    pub fn named_by(&self) -> Option<&'static str> {
        let names_columns = |dependent: &Dependent| match dependent {
            Dependent::Rule { .. } => true,
            Dependent::Parent => false,
            Dependent::Publication { columns, .. } | Dependent::Function { columns, .. } => {
                *columns
            }
        };
        let table = &self.before;
        if !self.views.is_empty() {
            Some("views")
        } else if !table.triggers.is_empty() {
            Some("triggers")
        } else if !table.rules.is_empty() || table.dependents.iter().any(names_columns) {
            Some("rules, publications or functions that name columns")
        } else {
            None
        }
    }
}

/// What the binder found out about one statement.
#[derive(Debug, Clone, Serialize)]
pub struct Bound {
    /// What it is.
    pub class: Class,
    /// What it reads.
    pub reads: BTreeSet<Resource>,
    /// What it writes.
    pub writes: BTreeSet<Resource>,
    /// What it adds to, beside others that do: of these, none waits for another, but for whoever
    /// reads or writes it.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub shares: BTreeSet<Resource>,
    /// For messages: the names of the resources above, as they are at this step.
    #[serde(skip)]
    pub names: Vec<(Resource, String)>,
    /// Tables that it touches, as they are called at this step: (relation, name, written).
    pub tables: Vec<(RelId, QualifiedName, bool)>,
    /// Sequences that it may draw from.
    pub sequences: Sequences,
    /// Byte ranges in the statement's text of `now()` and its kin, each with the SQL that replaces
    /// it (`$1` stands for the pinned instant, as timestamptz). Empty where there are none.
    pub now_calls: Vec<NowCall>,
    /// Estimated rows that it touches.
    pub rows: u64,
    /// Things to tell the reader.
    pub warnings: Vec<String>,
}

/// A call of `now()` or its kin in a statement's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NowCall {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// What to write there, such as `(($1)::text::timestamptz)` or `(($1)::text::timestamptz)::date`.
    pub replacement: String,
}

/// Something that statements read or write. Hazards are overlaps of these.
///
/// DDL on a table writes `Table`; every statement that mentions the table reads it. So DDL is ordered
/// against everything on its table, while DML on different columns is not ordered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Resource {
    /// The definition of a relation: its name, columns, constraints, indexes.
    Table(RelId),
    /// The values of a column in existing rows.
    Column(RelId, ColId),
    /// Which rows exist. INSERT, DELETE and TRUNCATE write it; whatever scans the table reads it.
    Rows(RelId),
    /// Values that a sequence gives out.
    Sequence(RelId),
    /// A schema-level object by class and name: a function, type, schema, extension; also a name that
    /// a CREATE takes or a DROP frees, so that both are ordered.
    Object(String, String),
    /// Anything: opaque statements read and write it, and everything else is ordered against them.
    Everything,
}

/// What a statement is.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case", tag = "class")]
pub enum Class {
    /// DDL that Upshift knows how to take back (or the author marked).
    Ddl(BoundDdl),
    /// UPDATE.
    Update(BoundDml),
    /// DELETE.
    Delete(BoundDml),
    /// Typed step `transform`.
    Transform(BoundTransform),
    /// INSERT.
    Insert(BoundInsert),
    /// Writes tables that are known, but in a way that rows cannot be foreseen (MERGE, ON CONFLICT DO
    /// UPDATE, TRUNCATE, writable CTEs, cascading DELETE): a copy of each is kept.
    Copying {
        /// What is copied before.
        tables: Vec<CopiedTable>,
        /// Why it is not in-place.
        why: String,
    },
    /// A query without effect on the database beyond sequences (`SELECT setval(…)`).
    Query,
    /// What cannot be understood: it reads and writes everything, and runs as one statement.
    Opaque {
        /// Why.
        why: String,
        /// Whether PostgreSQL allows it inside a transaction block.
        transactional: bool,
        /// For one that may not be: what clears away a broken first attempt.
        recovery: Option<String>,
        /// An inverse that the compiler knows (CREATE INDEX CONCURRENTLY); the `undo` directive wins.
        undo: Option<Vec<String>>,
    },
    /// Typed step `check`.
    Check,
    /// Typed step `exec`.
    Exec,
}

/// DDL, with what `physical` needs.
#[derive(Debug, Clone, Serialize)]
pub struct BoundDdl {
    /// In order, all in one transaction.
    pub actions: Vec<DdlAction>,
    /// For people: the strongest of the actions' undo kinds.
    pub undo: UndoKind,
    /// Why metadata, or what it costs ("rewrites the table", "scans the table under a lock").
    pub why: String,
    /// `true` where it rewrites or scans the table, so that the estimate can tell.
    pub heavy: bool,
}

/// UPDATE or DELETE, bound.
#[derive(Debug, Clone, Serialize)]
pub struct BoundDml {
    /// The target.
    pub relation: RelId,
    /// Its name at this step.
    pub table: QualifiedName,
    /// What the statement calls it (alias, else its name), not quoted.
    pub alias: String,
    /// For UPDATE: the columns assigned, in order, not quoted.
    pub assigned: Vec<String>,
    /// All columns of the target that hold data of their own (generated ones left out), with their
    /// types: for the before-images of DELETE.
    pub columns: Vec<KeyColumn>,
    /// The target's key; `None` where it has none, and a copy of the table is kept instead.
    pub key: Option<Vec<KeyColumn>>,
    /// Whether it may be cut by the key, and why (not).
    pub chunk: Chunk,
    /// What a pass over the table has to know.
    #[serde(skip)]
    pub joins: Joins,
}

/// How a bound UPDATE or DELETE meets rows of its own target and of others.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Joins {
    /// What FROM calls the row at hand again: self-joins on the key.
    pub at_hand: Vec<String>,
    /// Whether it looks at other rows of the target, were it only to see that they are there.
    pub looks_around: bool,
    /// Columns that it reads of them.
    pub others: BTreeSet<ColId>,
    /// Every source of FROM has at most one row for the row at hand.
    pub single: bool,
    /// The columns that it reads of FROM, by alias and name; `None` where FROM has something else than
    /// tables.
    #[serde(skip)]
    pub from: Option<BTreeMap<(String, String), Column>>,
    /// Of tables of FROM that may have several rows for the row at hand: the keys of their indexes.
    #[serde(skip)]
    pub lookups: BTreeMap<String, Vec<Vec<String>>>,
    /// Volatile functions that it calls for each row.
    pub volatile: BTreeSet<String>,
    /// Functions of its author's that it calls, IMMUTABLE by his word.
    pub promises: BTreeSet<String>,
    /// The queries of its WITH clauses.
    pub with: Vec<WithQuery>,
    /// FROM names a view, a WITH query or something else without rows of its own.
    pub rowless: Vec<String>,
    /// Why the names in it forbid to compose it with others.
    pub unfit: Option<&'static str>,
}

/// A query of a WITH clause.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct WithQuery {
    /// What it is called.
    pub name: String,
    /// Rows of the tables that it reads.
    pub rows: f64,
    /// How often the statement mentions it.
    pub mentions: u32,
}

/// A transform, bound as the UPDATE that reads and writes the same.
#[derive(Debug, Clone, Serialize)]
pub struct BoundTransform {
    /// The UPDATE.
    pub dml: BoundDml,
    /// The type that a new value is cast to; `None` where text is assigned as it is.
    pub cast: Option<String>,
    /// Characters that the target takes at most.
    pub longest: Option<u32>,
    /// Whether another text may be the same value of the target's type.
    pub distinct: bool,
    /// Whether the function is applied to each text of a JSON object.
    pub translated: bool,
}

/// INSERT, bound.
#[derive(Debug, Clone, Serialize)]
pub struct BoundInsert {
    /// The target.
    pub relation: RelId,
    /// Its name at this step.
    pub table: QualifiedName,
    /// The target's data columns with their types.
    pub columns: Vec<KeyColumn>,
    /// The target's key; `None`: a copy of the table is kept instead.
    pub key: Option<Vec<KeyColumn>>,
    /// The table whose key may cut the SELECT.
    pub driving: Option<Driving>,
    /// Whether it may be cut, and why (not).
    pub chunk: Chunk,
}

/// The table that drives an INSERT … SELECT.
#[derive(Debug, Clone, Serialize)]
pub struct Driving {
    /// The relation.
    pub relation: RelId,
    /// Its name at this step.
    pub table: QualifiedName,
    /// What the SELECT calls it, not quoted.
    pub alias: String,
    /// Its key.
    pub key: Vec<KeyColumn>,
}

/// Whether a statement may be cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "chunk", content = "why")]
pub enum Chunk {
    /// By the key; why that is the same.
    ByKey(String),
    /// It runs whole; why.
    Whole(String),
}

/// Result of `order`: edges between analysed steps, by their place in [`Analysis::steps`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ordered {
    /// Transitively reduced where that is cheap; `from < to` always.
    pub edges: Vec<OrderEdge>,
}

/// An edge between two steps.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OrderEdge {
    /// Place in [`Analysis::steps`].
    pub from: u32,
    /// Place in [`Analysis::steps`].
    pub to: u32,
    /// Why.
    pub reason: EdgeReason,
}

/// What binding one statement gives.
#[derive(Debug, Clone, Serialize)]
pub enum Binding {
    /// It runs.
    Bound(Box<Bound>),
    /// It has no effect here (IF EXISTS, IF NOT EXISTS): why.
    Skipped(String),
}
