//! The pack as data.

use std::{cmp::Ordering, collections::BTreeMap, fmt, path::PathBuf, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::Location;
use crate::transform::Call;

/// A set of modules with their migrations, for one application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pack {
    /// The name that `pack.toml` gives.
    pub name: String,
    /// The version of the application that the pack leads to, where `pack.toml` names one.
    pub target_version: Option<Version>,
    /// How to ask the database which modules and versions are installed, where `pack.toml` says.
    pub installed: Option<InstalledSource>,
    /// By name.
    pub modules: BTreeMap<String, Module>,
    /// The folder that it was read from.
    pub root: PathBuf,
}

/// Where the database itself says which modules are installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstalledSource {
    /// A table with columns `name` and `version` (schema-qualified or not).
    Table(String),
    /// A query that returns a name and a version.
    Query(String),
}

/// Unit of dependency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Module {
    /// Its name: the folder's.
    pub name: String,
    /// The version that the pack brings it to.
    pub version: Version,
    /// The modules it depends on.
    pub depends: Vec<String>,
    /// Names under which an older database may have it: it is the same module, renamed.
    pub renamed_from: Vec<String>,
    /// Modules that were merged into it.
    pub merged: Vec<String>,
    /// Migrations by version, ascending; `0.0.0` first where present.
    pub migrations: Vec<Migration>,
    /// Where it is declared.
    pub location: Location,
}

/// The scripts of one module for one version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Migration {
    /// The version that it leads to.
    pub version: Version,
    /// Whether its folder leaves out Odoo's series (`1.2` for `17.0.1.2`). Such a migration is compared by
    /// the module's own part alone, so that `2.0` does not run again from `9.0.2.0` to `10.0.2.0`.
    #[serde(default)]
    pub short: bool,
    /// By phase, then file name.
    pub scripts: Vec<Script>,
}

/// When a script runs, relative to those of other modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// After the `pre` and `post` of all modules that this one depends on.
    Pre,
    /// After the module's own `pre`.
    Post,
    /// After the `post` of all modules.
    End,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pre => "pre",
            Self::Post => "post",
            Self::End => "end",
        })
    }
}

/// One file of a migration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Script {
    /// Path relative to the pack's root.
    pub file: PathBuf,
    /// From the file name's prefix.
    pub phase: Phase,
    /// In the order of the file.
    pub steps: Vec<Step>,
}

/// One statement or one typed operation of a migration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Where it begins.
    pub location: Location,
    /// What it is.
    pub kind: StepKind,
    /// What the author said about it in `-- upshift:` comments (or the keys of a typed step).
    pub directives: Directives,
    /// `SET name = value` statements of the same file before this one: `psql` runs each file in a
    /// session of its own, so a setting holds to the end of its file. The value is SQL text, to be
    /// put behind `SET LOCAL name TO` as it stands.
    pub settings: Vec<(String, String)>,
}

/// What a step is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// One SQL statement without its semicolon.
    Sql(String),
    /// A typed step: a query that must return no row.
    Check(CheckStep),
    /// A typed step: an external program with the database as its argument.
    Exec(ExecStep),
    /// A typed step: values changed by a function.
    Transform(TransformStep),
}

/// A query that must return no row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckStep {
    /// The query.
    pub query: String,
    /// What it means when there is a row.
    pub message: String,
    /// Whether it also holds after the whole run.
    #[serde(default)]
    pub lasting: bool,
}

/// An external program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecStep {
    /// Program and arguments. `{database}` in an argument stands for the database's name; the
    /// connection itself reaches the program in PG* environment variables, never in arguments.
    pub command: Vec<String>,
    /// How to take it back: program and arguments.
    pub undo: Option<Vec<String>>,
    /// After how long it is ended.
    pub timeout: Duration,
}

/// Values of a column changed by a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransformStep {
    /// The UPDATE that has the same reads, writes and rows: `SET target = source WHERE …`. It is what
    /// the compiler binds.
    pub statement: String,
    /// The column that is read, not quoted.
    pub source: String,
    /// The column that is written, not quoted.
    pub target: String,
    /// What changes a value.
    pub call: Call,
}

/// What `-- upshift:` comments say about the statement that follows them. They only ever narrow or
/// override what the compiler finds by itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Directives {
    /// `undo = "SQL"`: takes the statement back.
    pub undo: Option<String>,
    /// `when = column_exists(t.c)`: the step is skipped where this does not hold.
    pub when: Option<When>,
    /// `chunk = none` or `chunk = by(col)`.
    pub chunk: Option<ChunkDirective>,
    /// `strategy = in_place|shadow|single`.
    pub strategy: Option<StrategyDirective>,
    /// `irreversible`: there is no way back before this step, and the author knows.
    pub irreversible: bool,
    /// `label = "…"`: how the step is called in plans and reports.
    pub label: Option<String>,
    /// `checkpoint = "name"`: a checkpoint before the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// `{parallel_filter}` stood in the statement (odoo/upgrade-util's marker); it was replaced by
    /// `true`, and the author vouches that the statement may be cut by its target's key.
    pub parallel_filter: bool,
}

/// A condition on the catalog as it is when the step's turn comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct When {
    /// `not …`
    pub negated: bool,
    /// The condition.
    pub condition: Condition,
}

/// The conditions that `when` understands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// `column_exists([schema.]table.column)`
    ColumnExists {
        /// Table, with its schema where given.
        table: Vec<String>,
        /// Column.
        column: String,
    },
    /// `table_exists([schema.]table)`
    TableExists {
        /// Table, with its schema where given.
        table: Vec<String>,
    },
    /// `module_installed(name)`
    ModuleInstalled {
        /// The module.
        module: String,
    },
}

/// How a statement may be cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChunkDirective {
    /// Not at all.
    None,
    /// By this column, which must lead a unique index without NULLs.
    By(String),
}

/// Which physical operator the author wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrategyDirective {
    /// Chunks with before-images.
    InPlace,
    /// A new table. (The rewrite compiler's.)
    Shadow,
    /// One statement in one transaction.
    Single,
}

/// A version as Odoo's manifests write it: numbers between dots (a leading `saas~` is ignored).
/// Missing parts count as zero: `17.0` = `17.0.0`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    text: String,
    parts: Vec<u64>,
}

impl Version {
    /// `0.0.0`: the migration that runs on every upgrade.
    #[must_use]
    pub fn is_always(&self) -> bool {
        self.parts.iter().all(|part| *part == 0)
    }

    /// Its numbers.
    #[must_use]
    pub fn parts(&self) -> &[u64] {
        &self.parts
    }

    /// Compares what follows the first two parts: a module's own version behind Odoo's series.
    #[must_use]
    pub fn own_cmp(&self, other: &Self) -> Ordering {
        compare(
            self.parts.get(2..).unwrap_or_default(),
            other.parts.get(2..).unwrap_or_default(),
        )
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.parts, &other.parts)
    }
}

/// Compares numbers one by one; missing ones count as zero.
fn compare(a: &[u64], b: &[u64]) -> Ordering {
    let part = |parts: &[u64], i: usize| parts.get(i).copied().unwrap_or(0);
    (0..a.len().max(b.len()))
        .map(|i| part(a, i).cmp(&part(b, i)))
        .find(|ordering| ordering.is_ne())
        .unwrap_or(Ordering::Equal)
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text.strip_prefix("saas~").unwrap_or(text);
        let parts = numbers
            .split('.')
            .map(|part| part.parse::<u64>())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| {
                format!("\"{text}\" is not a version: write numbers between dots, such as 17.0.1.2")
            })?;
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }
}

impl TryFrom<String> for Version {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.text
    }
}
