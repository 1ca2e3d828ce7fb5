//! What going back to each checkpoint of a run would undo, keep, and cost: from the plan and the ledger,
//! in a handful of queries however many tasks and checkpoints there are.

use std::collections::HashMap;

use serde::Serialize;
use upshift_shared::{
    Result,
    ids::TaskId,
    ledger::{
        self,
        kept::Kept,
        run::{RunRow, RunState},
        task::TaskRow,
        unit::TaskCount,
    },
    pg::PgConnection,
    plan::{
        Operator, Plan, PlannedCheckpoint, Rates, ShadowStage, StatementUndo, Strategy, Task,
        UndoKind,
    },
};

use super::rebuild;

/// Seconds of what takes the same time whatever the size: short DDL, a swap.
const CONSTANT: f64 = 0.05;

/// A point that one may want to go back to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// The checkpoint's name; `None` for the start.
    pub name: Option<String>,
    /// Where the pack names it.
    pub source: Option<String>,
    /// RFC 3339, UTC; `None` for the start, and for a checkpoint that is not prepared.
    pub prepared_at: Option<String>,
    /// What going back there would take.
    pub back: Back,
    /// Why one cannot go back there; `None` where one can.
    pub unreachable: Option<String>,
}

/// What going back somewhere would take.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Back {
    /// Tasks that would be undone.
    pub tasks: u64,
    /// Their units.
    pub units: u64,
    /// The rows that these touched.
    pub rows: u64,
    /// Bytes that are kept for it until commit.
    pub kept_bytes: u64,
    /// Columns that are hidden until commit: they are part of their tables, and in no figure.
    pub hidden_columns: u64,
    /// Foreign keys that would be validated.
    pub foreign_keys: u64,
    /// Estimated seconds on one worker.
    pub seconds: f64,
    /// How many of the tasks have no way back.
    pub irreversible_tasks: u64,
    /// The first of those: task, label and place.
    pub irreversible: Vec<String>,
}

/// So many irreversible tasks are named.
const NAMED: usize = 5;

impl Back {
    fn add(&mut self, more: &Self) {
        self.tasks += more.tasks;
        self.units += more.units;
        self.rows += more.rows;
        self.kept_bytes += more.kept_bytes;
        self.hidden_columns += more.hidden_columns;
        self.foreign_keys += more.foreign_keys;
        self.seconds += more.seconds;
        self.irreversible_tasks += more.irreversible_tasks;
        // What comes earlier is added later.
        self.irreversible
            .splice(0..0, more.irreversible.iter().cloned());
        self.irreversible.truncate(NAMED);
    }
}

/// What the ledger says.
struct Facts {
    tasks: HashMap<TaskId, TaskRow>,
    counts: HashMap<TaskId, TaskCount>,
    kept: HashMap<TaskId, Kept>,
    rates: Rates,
    /// Seconds for a foreign key, by pass.
    key: HashMap<TaskId, f64>,
}

/// The start and all checkpoints, in order.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn points(conn: &mut PgConnection, row: &RunRow, plan: &Plan) -> Result<Vec<Point>> {
    let rates = ledger::rates::load(conn).await?;
    let facts = Facts {
        tasks: ledger::task::load(conn, row.run).await?,
        counts: ledger::unit::counts(conn, row.run)
            .await?
            .into_iter()
            .collect(),
        kept: ledger::kept::sizes(conn, row.run).await?,
        rates: rates.map(|(rates, _)| rates).unwrap_or_default(),
        key: seconds_of_keys(plan),
    };
    let prepared = ledger::checkpoint::load(conn, row.run).await?;
    let prepared: HashMap<u32, String> = prepared
        .into_iter()
        .map(|one| (one.place, one.prepared_at))
        .collect();
    Ok(listed(row, plan, &facts, &prepared))
}

fn listed(row: &RunRow, plan: &Plan, facts: &Facts, prepared: &HashMap<u32, String>) -> Vec<Point> {
    // `back[i]`: what is undone only by going back to before checkpoint i; then all from there on.
    let covered = rebuild::covered_from(plan);
    let mut back = vec![Back::default(); plan.checkpoints.len() + 1];
    for task in plan.live() {
        let place = covered[task.id.0 as usize] as usize;
        if let Some(at) = back.get_mut(place) {
            at.add(&facts.of_task(task));
        }
    }
    let mut sum = Back::default();
    for one in back.iter_mut().rev() {
        sum.add(one);
        one.clone_from(&sum);
    }
    let broken = first_unprepared(plan, |place| prepared.contains_key(&place));
    let mut points = Vec::with_capacity(back.len());
    let mut back = back.into_iter();
    let start = back.next().unwrap_or_default();
    points.push(Point {
        name: None,
        source: None,
        prepared_at: None,
        unreachable: closed(row, plan).or_else(|| no_way_before(&start)),
        back: start,
    });
    for ((place, one), back) in (0_u32..).zip(&plan.checkpoints).zip(back) {
        let prepared_at = prepared.get(&place).cloned();
        let unreachable = closed(row, plan)
            .or_else(|| one.joined_with.as_deref().map(joined))
            .or_else(|| not_prepared(place, broken))
            .or_else(|| no_way_before(&back));
        points.push(Point {
            name: Some(one.name.clone()),
            source: one.source.as_ref().map(ToString::to_string),
            prepared_at,
            unreachable,
            back,
        });
    }
    points
}

/// The last point that one can go back to and that leaves none of these tasks in effect.
#[must_use]
pub fn before<'p>(points: &'p [Point], plan: &Plan, tasks: &[TaskId]) -> Option<&'p Point> {
    let covered = rebuild::covered_from(plan);
    let first = tasks.iter().map(|task| covered[task.0 as usize]).min()?;
    // The start, and the checkpoints before that one.
    let points = points.iter().take(first as usize + 1);
    let mut reachable = points.filter(|point| point.unreachable.is_none());
    reachable.next_back()
}

fn closed(row: &RunRow, plan: &Plan) -> Option<String> {
    match row.state {
        RunState::Committed => Some("the run is committed".to_owned()),
        RunState::RolledBack if row.rollback_to.is_none() => {
            Some("the run is rolled back: everything is as it was".to_owned())
        }
        _ if plan.strategy == Strategy::Sequential => {
            Some("--strategy sequential keeps nothing for a way back".to_owned())
        }
        _ => None,
    }
}

fn joined(with: &str) -> String {
    format!("a pass has statements from before it and from before {with}: it is one with {with}")
}

/// The first checkpoint that has to be prepared and is not, with its place: there is no going back to it, nor
/// to any behind it.
pub(super) fn first_unprepared(
    plan: &Plan,
    is_prepared: impl Fn(u32) -> bool,
) -> Option<(u32, &PlannedCheckpoint)> {
    (0_u32..)
        .zip(&plan.checkpoints)
        .find(|(place, one)| one.joined_with.is_none() && !is_prepared(*place))
}

fn not_prepared(place: u32, broken: Option<(u32, &PlannedCheckpoint)>) -> Option<String> {
    let (first, one) = broken.filter(|(first, _)| *first <= place)?;
    Some(match first == place {
        true => "it is not prepared".to_owned(),
        false => format!("{}, which comes before it, is not prepared", one.name),
    })
}

fn no_way_before(back: &Back) -> Option<String> {
    (back.irreversible_tasks > 0).then(|| "something after it is irreversible".to_owned())
}

/// For each pass, what a foreign key of it takes to be validated.
fn seconds_of_keys(plan: &Plan) -> HashMap<TaskId, f64> {
    let mut sums: HashMap<TaskId, (f64, f64)> = HashMap::new();
    for task in &plan.tasks {
        if let Operator::Shadow(op) = &task.operator
            && let ShadowStage::Validate { .. } = &op.stage
        {
            let (seconds, count) = sums.entry(op.pass).or_default();
            *seconds += task.seconds;
            *count += op.stage.keys_there() as f64;
        }
    }
    let known = sums.into_iter().filter(|(_, (_, count))| *count > 0.0);
    known
        .map(|(pass, (seconds, count))| (pass, seconds / count))
        .collect()
}

impl Facts {
    /// What taking back one task comes to; nothing for one that has nothing in effect.
    fn of_task(&self, task: &Task) -> Back {
        let count = self.counts.get(&task.id).copied().unwrap_or_default();
        let kept = self.kept.get(&task.id).copied().unwrap_or_default();
        if count.units == 0 {
            return Back::default();
        }
        let place = task.sources.first().map(ToString::to_string);
        let irreversible = (task.undo == UndoKind::Irreversible).then(|| {
            let place = place.unwrap_or_default();
            format!("{} ({}, {place})", task.id, task.label)
        });
        Back {
            tasks: 1,
            units: count.units,
            rows: count.rows,
            kept_bytes: kept.bytes,
            hidden_columns: kept.hidden_columns,
            foreign_keys: match &task.operator {
                Operator::Shadow(op) => op.stage.keys_back() as u64,
                _ => 0,
            },
            seconds: self.seconds(task, count.rows),
            irreversible_tasks: u64::from(irreversible.is_some()),
            irreversible: irreversible.into_iter().collect(),
        }
    }

    /// Estimated seconds to undo a task that touched so many rows.
    fn seconds(&self, task: &Task, rows: u64) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "an estimate; 2^53 rows are out of reach"
        )]
        let (rows, planned) = (rows as f64, task.rows as f64);
        match &task.operator {
            Operator::Shadow(op) => match &op.stage {
                ShadowStage::Swap { .. } => CONSTANT,
                ShadowStage::Before { .. } => {
                    let each = self.key.get(&op.pass).copied();
                    op.stage.keys_back() as f64 * each.unwrap_or(CONSTANT)
                }
                _ => 0.0,
            },
            // A row goes back as it came: by its key, with an entry in every index.
            Operator::InPlace(_) | Operator::Transform(_) | Operator::Append(_) => {
                let each = match planned > 0.0 && task.seconds > 0.0 {
                    true => task.seconds / planned,
                    false => self.rates.in_place,
                };
                rows * each
            }
            Operator::Statement(op) => match &op.undo {
                StatementUndo::Nothing => 0.0,
                _ => self.took(task),
            },
            Operator::Metadata(_) | Operator::Exec(_) => self.took(task),
            Operator::Check(_) => 0.0,
        }
    }

    /// What a task of one unit took, as the ledger has it.
    fn took(&self, task: &Task) -> f64 {
        let took = self.tasks.get(&task.id).and_then(|row| row.seconds);
        took.unwrap_or(task.seconds).max(0.0)
    }
}
