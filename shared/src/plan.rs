//! The plan: the compiled DAG of tasks for one database. Plain data: printable, diffable, stored in
//! the ledger as JSON, and sent to workers task by task.
//!
//! SQL in a plan is complete: identifiers are quoted by the compiler, and what differs from unit to
//! unit is bound as text parameters, never spliced in. The parameters of a template are, in order:
//! see [`InPlace::sql`].

mod checkpoint;
mod key_range;
mod kind;
mod metadata;
mod rates;
mod renumber;
mod shadow;
mod snapshot;
mod transform;

use serde::{Deserialize, Serialize};

use crate::{
    ids::{StepId, TaskId},
    pack::{Location, Phase, Version},
    pg::ident::QualifiedName,
};

pub use checkpoint::PlannedCheckpoint;
pub use key_range::key_range;
pub use metadata::{Capture, DdlAction, DdlEffect, Hide, Metadata};
pub use rates::Rates;
pub use shadow::{
    AddedKey, AssignedColumn, Carried, JoinedTransform, Shadow, ShadowStage, TableKeys,
};
pub use snapshot::{PlannedSnapshot, SnapshotKind};
pub use transform::{TRANSFORMED_ROWS, Transform};

/// The version of this format. A reader refuses a newer one; older ones stay readable.
pub const PLAN_FORMAT: u32 = 4;

/// The compiled DAG of tasks for one database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`PLAN_FORMAT`] of the writer.
    pub format: u32,
    /// The pack's name.
    pub pack: String,
    /// The version that the pack leads to, where it names one.
    pub target_version: Option<Version>,
    /// The database's own name (never its address or credentials).
    pub database: String,
    /// `server_version_num` of the server that it was compiled against.
    pub server_version: u32,
    /// How it was ordered and which operators were allowed.
    pub strategy: Strategy,
    /// The modules that have work, in sequential order; a checkpoint follows each.
    pub modules: Vec<PlannedModule>,
    /// The checkpoints, in the order of what they cover. (Plans of older programs have none of these:
    /// see [`Plan::completed`].)
    #[serde(default)]
    pub checkpoints: Vec<PlannedCheckpoint>,
    /// Every task, `tasks[i].id == TaskId(i)`, each after all that it depends on.
    pub tasks: Vec<Task>,
    /// What must be done before what, and why.
    pub edges: Vec<Edge>,
    /// Steps that will not run, and why.
    pub skipped: Vec<SkippedStep>,
    /// What the reader should know before running it.
    pub warnings: Vec<Warning>,
    /// How far back one can come.
    pub way_back: WayBack,
    /// Tables that the run writes or makes, as they are called after it; `None` where a step is opaque
    /// and may write any, or where an older program made the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Vec<WrittenTable>>,
    /// Snapshots that are taken before what cannot be undone, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<PlannedSnapshot>,
}

/// A table that a run writes, as it is called after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenTable {
    /// Quoted and qualified.
    pub table: String,
    /// The number that [`TableUse::relation`] gives it.
    pub relation: u32,
}

/// How a plan was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Edges only where a hazard, an opaque step or an explicit dependency needs them.
    #[default]
    Dataflow,
    /// All edges of the module rules as well.
    Strict,
    /// Every statement as written, one after another, as `psql` would: nothing is kept for a way
    /// back.
    Sequential,
}

/// A module with work to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedModule {
    /// Its name.
    pub name: String,
    /// The version that the database has.
    pub from: Version,
    /// The version that the pack brings it to.
    pub to: Version,
    /// The modules it depends on that have work too.
    pub depends: Vec<String>,
    /// A later module whose statements share a pass over a table with this one's, or with one before
    /// it: there is no coming back to between the two, so this module has no checkpoint of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined_with: Option<String>,
}

/// One node of the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its number: its place in [`Plan::tasks`].
    pub id: TaskId,
    /// The module, by its place in [`Plan::modules`].
    pub module: u32,
    /// The version of the migration it comes from.
    pub version: Version,
    /// The phase it comes from.
    pub phase: Phase,
    /// The steps that went into it.
    pub steps: Vec<StepId>,
    /// Where they stand.
    pub sources: Vec<Location>,
    /// What a person calls it: the directive's label, or the statement's first words.
    pub label: String,
    /// What is done.
    pub operator: Operator,
    /// Why this operator, and why it is or is not cut, in words.
    pub why: String,
    /// Rows that it is expected to touch.
    pub rows: u64,
    /// Expected seconds on one worker.
    pub seconds: f64,
    /// How it is taken back, in words for people; the operator carries the means.
    pub undo: UndoKind,
    /// The tables it reads or writes, for the engine's caps: at most one task that writes a table
    /// runs at a time.
    pub tables: Vec<TableUse>,
    /// `SET LOCAL` settings (name, SQL text of the value) of the script, such as `search_path`.
    pub settings: Vec<(String, String)>,
    /// Sequences that it may draw from. `nextval` does not roll back: before a unit is tried again
    /// they are set to what they were before the first attempt, so that ids come out the same.
    pub sequences: Sequences,
    /// Whether the SQL of the operator has `now()` and its kin replaced by the first parameter, one
    /// instant per task that the ledger records.
    pub pinned_now: bool,
    /// More that a person may want to know: what other ways there were and what they would cost, and
    /// which statements on the table were left out, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The first checkpoint that covers it, by its place in [`Plan::checkpoints`].
    #[serde(default)]
    pub checkpoint: u32,
    /// The pack was edited and no longer has it: its number stays taken, and it is never run.
    #[serde(default, skip_serializing_if = "is_false")]
    pub superseded: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands the field over by reference"
)]
fn is_false(truth: &bool) -> bool {
    !truth
}

/// Sequences that a task may draw from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sequences {
    /// It draws from none.
    #[default]
    None,
    /// These, as quoted, qualified names.
    Named(Vec<String>),
    /// Any: the step is opaque.
    All,
}

/// A table and how a task uses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableUse {
    /// Quoted and qualified, as it is called when the task's turn comes.
    pub table: String,
    /// A number that stays the same when the table is renamed.
    pub relation: u32,
    /// Whether it is written.
    pub write: bool,
    /// Whether nobody may even read it meanwhile: it is locked in ACCESS EXCLUSIVE mode, for a moment, and a
    /// task that reads it would keep that waiting.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alone: bool,
}

/// A physical operator with all that a worker needs. One file each in `worker/src/unit/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Operator {
    /// Short DDL in one transaction under a lock timeout.
    Metadata(Metadata),
    /// UPDATE or DELETE with before-images, by key ranges where it may be cut.
    InPlace(InPlace),
    /// Values out by COPY, changed by a function, and in again, with before-images.
    Transform(Transform),
    /// INSERT with the keys of what it inserted, by ranges of the driving table where it may be cut.
    Append(Append),
    /// One statement in one transaction.
    Statement(Statement),
    /// A query that must return no row.
    Check(Check),
    /// An external program.
    Exec(Exec),
    /// A stage of a pass that builds a table anew.
    Shadow(Shadow),
}

impl Operator {
    /// The operator's name, as people see it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Metadata(_) => "metadata",
            Self::InPlace(_) => "in-place",
            Self::Transform(_) => "transform",
            Self::Append(_) => "append",
            Self::Statement(_) => "statement",
            Self::Check(_) => "check",
            Self::Exec(_) => "exec",
            Self::Shadow(op) => op.stage.name(),
        }
    }

    /// How it is cut into units; `None` for operators of one unit.
    #[must_use]
    pub fn cut(&self) -> Option<&Cut> {
        match self {
            Self::InPlace(op) => op.cut.as_ref(),
            Self::Transform(op) => op.write.cut.as_ref(),
            Self::Append(op) => op.cut.as_ref(),
            Self::Shadow(op) => op.stage.cut(),
            _ => None,
        }
    }
}

/// How a task is cut into units: by ranges of a unique key, or of pages. Unit bounds are
/// `(lower, upper]` in key order; the first has no lower bound and the last no upper one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Quoted, qualified table whose key is cut.
    pub table: String,
    /// The key's columns, in index order.
    pub key: Vec<KeyColumn>,
}

impl Cut {
    /// By pages: the key is `ctid`, whose ranges PostgreSQL scans directly (TID range scans, from
    /// version 14 on). Only for a table that nobody writes meanwhile: a row that is written moves.
    #[must_use]
    pub fn pages(table: String) -> Self {
        let key = vec![KeyColumn {
            name: "ctid".to_owned(),
            type_name: "tid".to_owned(),
        }];
        Self { table, key }
    }

    /// Whether it is cut by pages.
    #[must_use]
    pub fn is_by_pages(&self) -> bool {
        matches!(self.key.as_slice(), [only] if only.name == "ctid")
    }
}

/// A column of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyColumn {
    /// Column name, not quoted.
    pub name: String,
    /// `format_type` of its type.
    pub type_name: String,
}

/// UPDATE or DELETE with before-images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InPlace {
    /// Quoted, qualified target.
    pub table: String,
    /// What it does.
    pub action: InPlaceAction,
    /// The statement as a template. It ends by inserting the before-images (a writable CTE whose
    /// outer INSERT reads the target under the statement's own snapshot, and so sees the old rows),
    /// and its command tag counts the rows. Text parameters, in order: the instant of `now()` where
    /// the task has `pinned_now`; the unit's number; where `cut` is set, the lower bound (one
    /// parameter per key column, NULL for none), then the upper bound likewise.
    pub sql: Template,
    /// The target's key, by which before-images are put back.
    pub key: Vec<KeyColumn>,
    /// Where the before-images go: created by the task's preparation, dropped by commit.
    pub before_images: KeptTable,
    /// How it is cut; `None` for one unit, and the task's `why` says why.
    pub cut: Option<Cut>,
    /// Where `cut` is `None`: how it could be cut all the same, for rows that it cannot work on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spare: Option<Spare>,
}

/// How a task of one unit could be cut: its rows do not depend on each other, there are only few.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spare {
    /// By this key.
    pub cut: Cut,
    /// What the statement calls the table, not quoted.
    pub alias: String,
}

/// What an in-place task does to rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InPlaceAction {
    /// Assigns these columns (not quoted).
    Update(Vec<String>),
    /// Deletes rows.
    Delete,
}

/// A table in the schema of kept objects that keeps what undo needs: a column `upshift_unit integer`,
/// then columns of the table that it is about, with its types and nothing else of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptTable {
    /// Its name, not quoted. `{run}` in it stands for [`crate::ids::RunId::short`].
    pub name: String,
    /// The table that it is about, quoted and qualified.
    pub table: String,
    /// The columns of that table that it keeps, not quoted; `None` for whole rows, with whatever this
    /// run has hidden in them: who deletes a row must be able to bring all of it back.
    pub columns: Option<Vec<String>>,
}

/// SQL with places that are filled in when the unit runs. What the author wrote stands in `Text` and
/// is never searched for placeholders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Template(pub Vec<Fragment>);

/// A piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fragment {
    /// SQL as it stands.
    Text(String),
    /// The task's kept table, quoted and qualified.
    Kept,
}

impl Template {
    /// The SQL for a kept table.
    #[must_use]
    pub fn render(&self, kept: &QualifiedName) -> String {
        let fragment = |fragment: &Fragment| match fragment {
            Fragment::Text(text) => text.clone(),
            Fragment::Kept => kept.to_string(),
        };
        self.0.iter().map(fragment).collect()
    }
}

/// INSERT … SELECT, INSERT … VALUES.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Append {
    /// Quoted, qualified target.
    pub table: String,
    /// The statement as a template; parameters as in [`InPlace::sql`]. It ends by inserting the keys
    /// of the new rows into `recorded`.
    pub sql: Template,
    /// The target's key, by which the new rows are found again.
    pub key: Vec<KeyColumn>,
    /// Where the keys of the new rows go.
    pub recorded: KeptTable,
    /// How the driving table is cut; `None` for one unit.
    pub cut: Option<Cut>,
    /// Where `cut` is `None`: how it could be cut all the same, for rows that it cannot work on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spare: Option<Spare>,
}

/// One statement in one transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// As written, or with `now()` replaced by the first parameter.
    pub sql: String,
    /// How it is taken back.
    pub undo: StatementUndo,
    /// Whether PostgreSQL allows it inside a transaction block (not so for CONCURRENTLY, VACUUM,
    /// …). Where it does not, the ledger says `started` before and `done` after, and `recovery` runs
    /// before a second attempt.
    pub transactional: bool,
    /// For a statement outside a transaction: what clears away a broken first attempt, such as
    /// DROP INDEX IF EXISTS for an invalid index.
    pub recovery: Option<String>,
}

/// How a statement is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "undo")]
pub enum StatementUndo {
    /// The author's `undo` directive, or an inverse that the compiler knows.
    Sql {
        /// In order.
        statements: Vec<String>,
    },
    /// A copy of every table that it writes, made before it; undo restores the difference.
    Copy {
        /// What is copied.
        tables: Vec<CopiedTable>,
    },
    /// Nothing to take back.
    Nothing,
    /// There is no way back.
    Irreversible,
}

/// A table that is copied whole before a statement writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiedTable {
    /// Quoted, qualified table.
    pub table: String,
    /// Its key; empty for a table without one, which is emptied and filled again.
    pub key: Vec<KeyColumn>,
    /// Columns to copy, not quoted; generated ones not included.
    pub columns: Vec<String>,
    /// Where the copy goes.
    pub kept: KeptTable,
}

/// A query that must return no row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The query.
    pub query: String,
    /// What it means when there is a row.
    pub message: String,
    /// Whether it also holds after the whole run: it is asked again before `prepared`, and by
    /// `upshift verify`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lasting: bool,
}

/// An external program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// Program and arguments; `{database}` stands for the database's name.
    pub command: Vec<String>,
    /// How to take it back; `None` where it is irreversible.
    pub undo: Option<Vec<String>>,
    /// Seconds after which it is ended.
    pub timeout_seconds: u64,
}

/// How a task is taken back, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoKind {
    /// Inverse DDL.
    InverseDdl,
    /// Inverse DDL; what was dropped is hidden until commit.
    Hidden,
    /// Before-images.
    BeforeImages,
    /// Recorded keys.
    RecordedKeys,
    /// The author's `undo`.
    Directive,
    /// A copy of the tables it writes.
    Copy,
    /// The old table is kept, and swapped back.
    SwapBack,
    /// Nothing to take back.
    Nothing,
    /// There is no way back: the author marked it, or the strategy keeps none.
    Irreversible,
}

/// Why one task comes before another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// First this one.
    pub from: TaskId,
    /// Then this one.
    pub to: TaskId,
    /// Why.
    pub reason: EdgeReason,
}

/// Why an edge exists. Names are as people write them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum EdgeReason {
    /// Read after write: the later one reads what the earlier one writes.
    ReadAfterWrite {
        /// For example `account_move.state` or `rows of account_move`.
        what: String,
    },
    /// Write after read.
    WriteAfterRead {
        /// What.
        what: String,
    },
    /// Write after write.
    WriteAfterWrite {
        /// What.
        what: String,
    },
    /// One of the two is opaque: it may read or write anything.
    Opaque {
        /// Why it is opaque.
        why: String,
    },
    /// The module rules (strict order only): phase, version, file, or dependency.
    ModuleOrder {
        /// Which rule.
        rule: String,
    },
    /// `--strategy sequential`, or a check that looks at what came before it.
    Sequence,
    /// A stage of a pass comes after another.
    Stage,
}

/// A step that will not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedStep {
    /// The step.
    pub step: StepId,
    /// Where it stands.
    pub source: Location,
    /// Why.
    pub why: String,
}

/// Something the reader should know before running the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// Where, if at one place.
    pub source: Option<Location>,
    /// What.
    pub message: String,
}

/// How far back one can come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "way_back")]
pub enum WayBack {
    /// To the start: by what is kept, and by snapshots.
    Whole,
    /// To any checkpoint from the named one on; these tasks are irreversible.
    After {
        /// The checkpoint behind the last irreversible task: one can come back to it, not before.
        /// (Named so because it once was always that of a module.)
        module: String,
        /// The irreversible tasks.
        tasks: Vec<TaskId>,
    },
    /// Nothing is kept (`--strategy sequential`).
    None,
}
