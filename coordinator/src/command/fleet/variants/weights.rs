//! What a shared plan costs a database of its own sizes. The plan's figures are those of its classes;
//! each task's are brought to the rows that the database has of the table that the task works on.

use std::collections::BTreeMap;

use upshift_shared::{
    catalog::Catalog,
    ids::RelId,
    plan::{Operator, Plan, Task},
};

use super::classes::Sizes;

/// Seconds of a task however few rows there are (`compile/physical/estimate.rs`).
const FIXED: f64 = 0.02;

/// What a database takes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::command) struct Weight {
    /// Rows that its tasks are expected to touch.
    pub(in crate::command) rows: u64,
    /// Seconds of one worker.
    pub(in crate::command) seconds: f64,
}

/// What a plan takes, by the rows of tables.
pub(super) struct Weights {
    rows: f64,
    seconds: f64,
    /// Of each table, for each of its rows: rows touched, seconds.
    of: Vec<(RelId, f64, f64)>,
}

impl Weights {
    /// `catalog`: what the plan was compiled with.
    pub(super) fn of(plan: &Plan, catalog: &Catalog) -> Self {
        let mut all = Self {
            rows: 0.0,
            seconds: 0.0,
            of: Vec::new(),
        };
        let mut of = BTreeMap::<RelId, (f64, f64)>::new();
        let names = names(plan);
        for task in &plan.tasks {
            let rows = task.rows as f64;
            let table = table(task, &names).and_then(|id| catalog.relation(id));
            match table.filter(|table| table.rows >= 1.0) {
                Some(table) => {
                    let fixed = task.seconds.min(FIXED);
                    all.seconds += fixed;
                    let (touched, seconds) = of.entry(table.id).or_default();
                    *touched += rows / table.rows;
                    *seconds += (task.seconds - fixed) / table.rows;
                }
                None => {
                    all.rows += rows;
                    all.seconds += task.seconds;
                }
            }
        }
        all.of = of.into_iter().map(|(id, (r, s))| (id, r, s)).collect();
        all
    }

    /// What a database of these sizes takes.
    pub(super) fn weigh(&self, sizes: &Sizes) -> Weight {
        let (mut rows, mut seconds) = (self.rows, self.seconds);
        for (id, touched, each) in &self.of {
            rows += touched * sizes.rows(*id);
            seconds += each * sizes.rows(*id);
        }
        Weight {
            rows: rows.round() as u64,
            seconds,
        }
    }
}

/// The tables of the plan, by their names.
fn names(plan: &Plan) -> BTreeMap<&str, RelId> {
    let used = plan.tasks.iter().flat_map(|task| &task.tables);
    used.map(|used| (used.table.as_str(), RelId(used.relation)))
        .collect()
}

/// The table whose rows a task's figures come from.
fn table(task: &Task, names: &BTreeMap<&str, RelId>) -> Option<RelId> {
    let named = match &task.operator {
        Operator::Shadow(shadow) => Some(shadow.table.to_string()),
        Operator::Append(append) => {
            let cut = append.cut.as_ref();
            let cut = cut.or(append.spare.as_ref().map(|spare| &spare.cut));
            cut.map(|cut| cut.table.clone())
        }
        _ => None,
    };
    let named = named.and_then(|table| names.get(table.as_str()).copied());
    let written = || task.tables.iter().find(|used| used.write);
    let any = || written().or_else(|| task.tables.first());
    named.or_else(|| any().map(|used| RelId(used.relation)))
}
