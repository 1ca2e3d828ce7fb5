//! The shadow pass: a table built anew beside the old one, in stages that are tasks of their own, so
//! that the engine runs them in parallel, resumes them and takes them back like any other.
//!
//! ```text
//! build ──► fill (page ranges) ──► index, index, … ──► before, … ──► swap ──► validate, … ──► settle
//! ```

use serde::{Deserialize, Serialize};

use super::{Cut, KeyColumn, Operator, Plan, Template};
use crate::{
    ids::{RunId, TaskId},
    pack::Location,
    pg::ident::QualifiedName,
    transform::Call,
};

/// A stage of a shadow pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadow {
    /// The table, not quoted. New and old one have this name, each in a schema of its own until the
    /// swap moves them.
    pub table: QualifiedName,
    /// The task that builds the new table: it numbers the pass.
    pub pass: TaskId,
    /// What is done.
    pub stage: ShadowStage,
}

impl Shadow {
    /// The task that fills the new table: the one after that which builds it.
    #[must_use]
    pub fn fill(&self) -> TaskId {
        TaskId(self.pass.0 + 1)
    }

    /// The schema where the new table lives until the swap.
    #[must_use]
    pub fn new_home(&self, run: RunId) -> String {
        format!("upshift_kept_{}_{}_new", run.short(), self.pass)
    }

    /// The schema where the old table is kept from the swap on.
    #[must_use]
    pub fn old_home(&self, run: RunId) -> String {
        format!("upshift_kept_{}_{}_old", run.short(), self.pass)
    }

    /// The new table before the swap.
    #[must_use]
    pub fn new_table(&self, run: RunId) -> QualifiedName {
        QualifiedName::new(self.new_home(run), &self.table.name)
    }

    /// The old table after the swap.
    #[must_use]
    pub fn old_table(&self, run: RunId) -> QualifiedName {
        QualifiedName::new(self.old_home(run), &self.table.name)
    }
}

/// What a stage does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "stage")]
pub enum ShadowStage {
    /// Makes the new table, empty and in its final shape, and lets nobody write the old one any more.
    /// Its undo drops the new table.
    Build {
        /// What the pack does to the table, in order, with the table's name not qualified: DDL as
        /// written; DML as `EXPLAIN`, so that PostgreSQL itself says what is wrong with it at that
        /// point.
        evolve: Vec<String>,
    },
    /// Copies a range of pages of the old table, changed, into the new one.
    Fill {
        /// The INSERT … SELECT; its kept table is the new table. Parameters as of an in-place task.
        sql: Template,
        /// By pages of the old table.
        cut: Cut,
        /// Transforms whose values the INSERT … SELECT takes, in order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        transforms: Vec<JoinedTransform>,
        /// What goes into the new table as it is, for verification; `None` where an older program made
        /// the plan.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        carried: Option<Carried>,
        /// Which statements of the pass assign which column of the new table.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        assigned: Vec<AssignedColumn>,
    },
    /// Builds one index of the new table.
    Index {
        /// Its name, not quoted.
        name: String,
    },
    /// Does nothing going forward. Its undo comes right after that of the swap, and validates foreign
    /// keys of one table, or of several small ones, that the swap back has made again.
    Before {
        /// The table that has them.
        table: QualifiedName,
        /// Their names, not quoted.
        keys: Vec<String>,
        /// Those of other tables.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        others: Vec<TableKeys>,
    },
    /// One short transaction: the old table goes out of sight, the new one takes its place. Its undo
    /// is the same the other way round.
    Swap {
        /// Columns of the old table whose name is another after the pass: old name, new name, not
        /// quoted; all at once, so that names may change places.
        renames: Vec<(String, String)>,
        /// Foreign keys of the table that the pass drops, by their names at the start.
        dropped_keys: Vec<String>,
        /// Foreign keys that the pass adds.
        added_keys: Vec<AddedKey>,
    },
    /// Validates foreign keys of one table, or of several small ones, that the swap has made; of the pass's own
    /// table, also the bound of an old partition.
    Validate {
        /// The table that has them.
        table: QualifiedName,
        /// Their names, not quoted.
        keys: Vec<String>,
        /// Those of other tables.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        others: Vec<TableKeys>,
    },
    /// Statistics and the visibility map of the new table.
    Settle {
        /// As in [`ShadowStage::Fill`]: the new table is looked at once more before it is used.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        carried: Option<Carried>,
    },
}

/// Foreign keys of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableKeys {
    /// The table that has them.
    pub table: QualifiedName,
    /// Their names, not quoted.
    pub keys: Vec<String>,
}

/// What a pass carries over unchanged. Names are not quoted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Columns that nothing in the pass gives values to: in the old table, in the new one.
    pub columns: Vec<(String, String)>,
    /// The key by which a kept row is found again, where all of it is among those columns.
    pub key: Vec<(String, String)>,
    /// Whether the pass deletes rows.
    pub deletes: bool,
}

/// A transform that joined a pass. What it reads are the unit's rows as the statements before it leave
/// them; what it changes, the INSERT … SELECT finds in [`JoinedTransform::changed`] by the row's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedTransform {
    /// Its place in the pass: it numbers its temporary tables.
    pub number: u32,
    /// Where it stands, for messages.
    pub location: Location,
    /// The SELECT of the unit's rows at this point, where they are not simply those of the old table: it
    /// is computed once, into [`JoinedTransform::kept`], which what follows reads. Parameters as of the fill.
    pub keep: Option<String>,
    /// The query of the rows that may change, with the columns of [`super::Transform::rows`]. Parameters
    /// as of the fill.
    pub rows: String,
    /// The key by which a row is found again, as the row has it at this point.
    pub key: Vec<KeyColumn>,
    /// Whether `rows` has a column `target`.
    pub compares: bool,
    /// The column that is read, not quoted.
    pub source: String,
    /// Characters that the target takes at most.
    pub longest: Option<u32>,
    /// Whether the function is for each text of a JSON object.
    pub translated: bool,
    /// What changes a value.
    pub call: Call,
}

impl JoinedTransform {
    /// The temporary table of the transform's changed rows: the columns of
    /// [`super::TRANSFORMED_ROWS`].
    #[must_use]
    pub fn changed(number: u32) -> String {
        format!("pg_temp.upshift_changed_{number}")
    }

    /// The temporary table of the unit's rows before the transform.
    #[must_use]
    pub fn kept(number: u32) -> String {
        format!("pg_temp.upshift_kept_{number}")
    }
}

/// A column of the new table that statements of a pass assign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedColumn {
    /// Its name after the pass, not quoted.
    pub name: String,
    /// Where the statements stand, in order.
    pub locations: Vec<Location>,
}

/// A foreign key that a pass adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedKey {
    /// Its name, not quoted.
    pub name: String,
    /// What stands behind ADD CONSTRAINT and the name.
    pub definition: String,
}

fn counted(keys: &[String], others: &[TableKeys]) -> usize {
    keys.len() + others.iter().map(|other| other.keys.len()).sum::<usize>()
}

impl ShadowStage {
    /// The stage's name, as people see it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Build { .. } => "shadow build",
            Self::Fill { .. } => "shadow fill",
            Self::Index { .. } => "shadow index",
            Self::Before { .. } => "shadow back",
            Self::Swap { .. } => "shadow swap",
            Self::Validate { .. } => "shadow key",
            Self::Settle { .. } => "shadow settle",
        }
    }

    /// Foreign keys that going back validates.
    #[must_use]
    pub fn keys_back(&self) -> usize {
        match self {
            Self::Before { keys, others, .. } => counted(keys, others),
            _ => 0,
        }
    }

    /// Foreign keys that going forward validates.
    #[must_use]
    pub fn keys_there(&self) -> usize {
        match self {
            Self::Validate { keys, others, .. } => counted(keys, others),
            _ => 0,
        }
    }

    /// How it is cut into units.
    #[must_use]
    pub fn cut(&self) -> Option<&Cut> {
        match self {
            Self::Fill { cut, .. } => Some(cut),
            _ => None,
        }
    }
}

impl Plan {
    /// Whether it swaps a table for one that is built anew.
    #[must_use]
    pub fn swaps(&self) -> bool {
        let is_swap = |operator: &Operator| matches!(operator, Operator::Shadow(op) if matches!(op.stage, ShadowStage::Swap { .. }));
        self.tasks.iter().any(|task| is_swap(&task.operator))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fill_of_format_2_is_still_read() {
        let stage = r#"{"stage": "fill", "sql": [{"text": "INSERT INTO "}, "kept"],
            "cut": {"table": "\"public\".\"t\"", "key": []}}"#;
        let stage: ShadowStage = serde_json::from_str(stage).expect("a stage");
        let ShadowStage::Fill { transforms, .. } = &stage else {
            panic!("no fill: {stage:?}");
        };
        assert!(transforms.is_empty());
        let again = serde_json::to_string(&stage).expect("it can be written");
        assert!(!again.contains("transforms"), "{again}");
    }
}
