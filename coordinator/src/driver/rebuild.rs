//! From plan and ledger to what the engine drives: a run that begins, goes on where it was, or goes
//! back.

use std::collections::{BTreeMap, HashMap, HashSet};

use upshift_shared::{
    Error, Result,
    ids::{RunId, TaskId, UnitId},
    ledger::{
        self, Bounds,
        task::{TaskRow, TaskState},
        unit::UnitState,
    },
    pg::PgConnection,
    plan::{Operator, Plan, TableUse, Task, UndoKind},
};

use super::{Limits, segment::Segment, units::UnitBook};
use crate::engine::{Access, Direction, GraphTask, Labels, RunGraph};

/// What the engine drives, and what the driver has to remember for it.
#[derive(Debug)]
pub struct Rebuilt {
    /// For the engine.
    pub(super) graph: RunGraph,
    pub(super) units: UnitBook,
    /// Rows and units that are done already, by task.
    pub(super) done: HashMap<TaskId, (u64, u64)>,
    /// Going back: tasks that were begun and have nothing in effect; they are recorded as undone
    /// before anything else.
    pub(super) without_effect: Vec<TaskId>,
    /// Going back: places of the checkpoints that no longer hold.
    pub(super) left: Vec<u32>,
    /// Forward: how far it goes before a snapshot is due.
    pub(super) segment: Segment,
}

impl Rebuilt {
    /// With what is wanted of the run meanwhile.
    pub fn limit(&mut self, limits: &Limits) {
        self.graph.max_units = limits.max_units;
        self.graph.max_units_per_task = limits.max_units_per_task;
    }
}

impl Rebuilt {
    /// Going back: places of the checkpoints that no longer hold.
    #[must_use]
    pub fn left(&self) -> &[u32] {
        &self.left
    }
}

/// The ledger's rows of a run, by task.
struct Rows {
    tasks: HashMap<TaskId, TaskRow>,
    cuts: HashMap<TaskId, BTreeMap<UnitId, Bounds>>,
    units: HashMap<TaskId, BTreeMap<UnitId, (UnitState, u64)>>,
}

impl Rebuilt {
    /// Whether there is nothing to do for workers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.graph.tasks.is_empty()
    }
}

impl Rows {
    async fn load(conn: &mut PgConnection, run: RunId) -> Result<Self> {
        let mut cuts = HashMap::<TaskId, BTreeMap<_, _>>::new();
        let mut units = HashMap::<TaskId, BTreeMap<_, _>>::new();
        let tasks = ledger::task::load(conn, run).await?;
        for row in ledger::cut::load(conn, run).await? {
            // Of tasks that are done nobody asks any more.
            if tasks
                .get(&row.task)
                .is_some_and(|task| task.state == TaskState::Prepared)
            {
                cuts.entry(row.task)
                    .or_default()
                    .insert(row.unit, row.bounds);
            }
        }
        for row in ledger::unit::load(conn, run).await? {
            let of_task = units.entry(row.task).or_default();
            of_task.insert(row.unit, (row.state, row.rows));
        }
        Ok(Self { tasks, cuts, units })
    }

    fn state(&self, task: TaskId) -> Option<TaskState> {
        self.tasks.get(&task).map(|row| row.state)
    }

    fn is_done(&self, task: TaskId, unit: UnitId) -> bool {
        let state = self.units.get(&task).and_then(|units| units.get(&unit));
        state.is_some_and(|(state, _)| *state == UnitState::Done)
    }

    /// Units whose work is, or may be, in effect.
    fn in_effect(&self, task: TaskId) -> Vec<UnitId> {
        let units = self.units.get(&task).into_iter().flatten();
        units
            .filter(|(_, (state, _))| *state != UnitState::Undone)
            .map(|(unit, _)| *unit)
            .collect()
    }

    fn count(&self, task: TaskId) -> (u64, u64) {
        let units = self.units.get(&task).into_iter().flatten();
        units
            .filter(|(_, (state, _))| *state == UnitState::Done)
            .fold((0, 0), |(units, rows), (_, (_, more))| {
                (units + 1, rows + more)
            })
    }
}

/// Which tasks of the plan have a unit whose work is, or may be, in effect.
pub(super) async fn in_effect(
    conn: &mut PgConnection,
    run: RunId,
    plan: &Plan,
) -> Result<Vec<bool>> {
    let tasks = ledger::unit::in_effect(conn, run).await?;
    let is = |task: &Task| tasks.contains(&task.id);
    Ok(plan.tasks.iter().map(is).collect())
}

impl Rebuilt {
    /// The snapshot that has to be taken when this is done, by its place in the plan.
    #[must_use]
    pub fn snapshot_due(&self) -> Option<u32> {
        self.segment.due
    }
}

fn graph(direction: Direction, tasks: Vec<GraphTask>, plan: &Plan, limits: &Limits) -> RunGraph {
    RunGraph {
        direction,
        tasks,
        modules: u32::try_from(plan.checkpoints.len()).unwrap_or(u32::MAX),
        max_units: limits.max_units,
        max_units_per_task: limits.max_units_per_task,
        max_attempts: limits.max_attempts,
        first_unit_rows: limits.first_unit_rows,
        server: None,
        paused: false,
        wants: Labels::new(),
    }
}

fn access(used: &TableUse) -> (u32, Access) {
    let access = match (used.alone, used.write) {
        (true, _) => Access::Alone,
        (false, true) => Access::Write,
        (false, false) => Access::Read,
    };
    (used.relation, access)
}

fn graph_task(task: &Task, depends: Vec<TaskId>) -> GraphTask {
    GraphTask {
        id: task.id,
        depends,
        module: task.checkpoint,
        seconds: task.seconds,
        tables: task.tables.iter().map(access).collect(),
        cuttable: task.operator.cut().is_some(),
        // Nobody but its pass knows the new table.
        patient: matches!(&task.operator, Operator::Shadow(_)).then_some(task.rows),
        prepared: false,
        cut_exhausted: false,
        units: Vec::new(),
        done: false,
    }
}

/// Forward: what is done stays done, what was cut stays cut.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn forward(
    conn: &mut PgConnection,
    run: RunId,
    plan: &Plan,
    limits: &Limits,
) -> Result<Rebuilt> {
    let rows = Rows::load(conn, run).await?;
    let segment = Segment::current(conn, run, plan).await?;
    let mut depends: Vec<Vec<TaskId>> = vec![Vec::new(); plan.tasks.len()];
    for edge in &plan.edges {
        depends[edge.to.0 as usize].push(edge.from);
    }
    let mut units = UnitBook::default();
    let mut done = HashMap::new();
    let mut tasks = Vec::with_capacity(plan.tasks.len());
    for (task, mut depends) in plan.tasks.iter().zip(depends) {
        if task.superseded || segment.waits(task.id) {
            continue;
        }
        depends.sort_unstable();
        depends.dedup();
        let mut node = graph_task(task, depends);
        match rows.state(task.id) {
            Some(TaskState::Done) => {
                node.done = true;
                done.insert(task.id, rows.count(task.id));
            }
            Some(TaskState::Prepared) => {
                node.prepared = true;
                node.cut_exhausted = rows.tasks[&task.id].cut_exhausted;
                node.units = remember(task, &rows, &mut units);
                done.insert(task.id, rows.count(task.id));
            }
            // It begins anew: its cuts and what it kept went with its undo.
            Some(TaskState::Undone) | None => {}
        }
        tasks.push(node);
    }
    Ok(Rebuilt {
        graph: graph(Direction::Do, tasks, plan, limits),
        units,
        done,
        without_effect: Vec::new(),
        left: Vec::new(),
        segment,
    })
}

/// The units of a task that was begun: into the book, and for the engine.
fn remember(task: &Task, rows: &Rows, book: &mut UnitBook) -> Vec<(UnitId, bool)> {
    let page = book.page(task.id);
    page.pinned_now = rows.tasks.get(&task.id).map(|row| row.pinned_now.clone());
    if task.operator.cut().is_none() {
        let done = rows.is_done(task.id, UnitId(0));
        return vec![(UnitId(0), done)];
    }
    let Some(cuts) = rows.cuts.get(&task.id) else {
        return Vec::new();
    };
    let lowers: HashSet<&Vec<String>> = cuts.values().filter_map(|b| b.lower.as_ref()).collect();
    // Units tile the key up to the frontier: it is the one upper bound that is nobody's lower one.
    let mut uppers = cuts.values().filter_map(|b| b.upper.as_ref());
    page.frontier.after = uppers.find(|upper| !lowers.contains(upper)).cloned();
    page.frontier.next = cuts.keys().next_back().map_or(0, |unit| unit.0 + 1);
    let mut units = Vec::with_capacity(cuts.len());
    for (unit, bounds) in cuts {
        let done = rows.is_done(task.id, *unit);
        if !done {
            page.remember(*unit, bounds.clone());
        }
        units.push((*unit, done));
    }
    units
}

/// Back to the checkpoint at this place of the plan, or to the start: edges reversed, and of every
/// task the units that are in effect.
///
/// A task that the checkpoint covers and that came after one that is taken back (an `end` script) is taken back
/// too: it worked on what is no longer there.
///
/// # Errors
/// [`Error::Refused`] when something that is in effect has no way back.
pub async fn back(
    conn: &mut PgConnection,
    run: RunId,
    plan: &Plan,
    to: Option<u32>,
    limits: &Limits,
) -> Result<Rebuilt> {
    let from = to.map_or(0, |place| place + 1);
    back_of(conn, run, plan, (chosen(plan, to), from), limits).await
}

/// The same for the tasks that are chosen, among them all that come after one of them and have begun. No
/// checkpoint holds from the given place on.
///
/// # Errors
/// [`Error::Refused`] when something that is in effect has no way back.
pub(super) async fn back_of(
    conn: &mut PgConnection,
    run: RunId,
    plan: &Plan,
    (chosen, from): (Vec<bool>, u32),
    limits: &Limits,
) -> Result<Rebuilt> {
    let rows = Rows::load(conn, run).await?;
    let mut depends = vec![Vec::new(); plan.tasks.len()];
    for edge in &plan.edges {
        depends[edge.from.0 as usize].push(edge.to);
    }
    let in_effect: HashMap<TaskId, Vec<UnitId>> = plan
        .tasks
        .iter()
        .filter(|task| chosen[task.id.0 as usize])
        .map(|task| (task.id, rows.in_effect(task.id)))
        .collect();
    let irreversible = plan.tasks.iter().filter(|task| {
        task.undo == UndoKind::Irreversible
            && in_effect
                .get(&task.id)
                .is_some_and(|units| !units.is_empty())
    });
    refuse_irreversible(plan, irreversible.collect())?;
    let mut units = UnitBook::default();
    let (mut tasks, mut without_effect) = (Vec::new(), Vec::new());
    let mut done = HashMap::new();
    // The engine wants every task behind what it depends on; going back, that is the plan reversed.
    for task in plan
        .tasks
        .iter()
        .rev()
        .filter(|task| chosen[task.id.0 as usize])
    {
        let effective = &in_effect[&task.id];
        if effective.is_empty() {
            if matches!(
                rows.state(task.id),
                Some(TaskState::Prepared | TaskState::Done)
            ) {
                without_effect.push(task.id);
            }
            continue;
        }
        let mut behind: Vec<TaskId> = depends[task.id.0 as usize]
            .iter()
            .copied()
            .filter(|later| in_effect.get(later).is_some_and(|units| !units.is_empty()))
            .collect();
        behind.sort_unstable();
        behind.dedup();
        units.page(task.id).pinned_now = rows.tasks.get(&task.id).map(|row| row.pinned_now.clone());
        done.insert(task.id, rows.count(task.id));
        tasks.push(GraphTask {
            prepared: true,
            cut_exhausted: true,
            units: to_take_back(task, effective),
            ..graph_task(task, behind)
        });
    }
    // Those before it can still be gone to, even where an `end` script of theirs is taken back: it is
    // not in effect at their checkpoints either.
    let last = u32::try_from(plan.checkpoints.len()).unwrap_or(u32::MAX);
    let left = (from..last).collect();
    Ok(Rebuilt {
        graph: graph(Direction::Undo, tasks, plan, limits),
        units,
        done,
        without_effect,
        left,
        segment: Segment::default(),
    })
}

/// The units to take back. What a pass has filled goes as a whole with its new table, so one unit
/// stands for all of them: the way back of a pass does not grow with the table.
fn to_take_back(task: &Task, effective: &[UnitId]) -> Vec<(UnitId, bool)> {
    let whole = matches!(&task.operator, Operator::Shadow(_));
    let count = if whole { 1 } else { effective.len() };
    effective
        .iter()
        .take(count)
        .map(|unit| (*unit, false))
        .collect()
}

/// Which tasks are taken back: those that the checkpoint does not cover, and whatever came after one of them.
pub(super) fn chosen(plan: &Plan, to: Option<u32>) -> Vec<bool> {
    let covered = covered_from(plan);
    let taken = |place: &u32| to.is_none_or(|to| *place > to);
    covered.iter().map(taken).collect()
}

/// For each task the first checkpoint that going back to leaves it in effect: the first that covers it and
/// all that it came after.
pub(super) fn covered_from(plan: &Plan) -> Vec<u32> {
    let mut covered: Vec<u32> = plan.tasks.iter().map(|task| task.checkpoint).collect();
    let mut edges: Vec<(u32, u32)> = plan.edges.iter().map(|e| (e.from.0, e.to.0)).collect();
    // Tasks are numbered so that edges go up: one pass in that order reaches everything.
    edges.sort_unstable();
    for (from, to) in edges {
        covered[to as usize] = covered[to as usize].max(covered[from as usize]);
    }
    covered
}

fn refuse_irreversible(plan: &Plan, tasks: Vec<&Task>) -> Result<()> {
    let Some(last) = tasks.iter().max_by_key(|task| task.checkpoint) else {
        return Ok(());
    };
    let list: Vec<String> = tasks
        .iter()
        .take(5)
        .map(|task| {
            let place = task
                .sources
                .first()
                .map(ToString::to_string)
                .unwrap_or_default();
            format!("{} ({}, {place})", task.id, task.label)
        })
        .collect();
    let more = tasks.len().saturating_sub(list.len());
    let more = if more > 0 {
        format!(", and {more} more")
    } else {
        String::new()
    };
    let checkpoint = plan.checkpoint_from(last.checkpoint);
    let checkpoint = checkpoint.map_or("?", |(_, one)| one.name.as_str());
    Err(Error::Refused(format!(
        "there is no way back before what is irreversible and done: {}{more}; one can go back to the \
         checkpoint of {checkpoint} or a later one, or restore a backup",
        list.join(", ")
    )))
}
