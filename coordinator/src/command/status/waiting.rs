//! What a run waits for: what its driver told the event log, what the server says of its sessions now, and
//! what follows from plan and ledger. Any process can find it out.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use upshift_shared::{
    ids::{RunId, TaskId, UnitId},
    ledger::{
        checkpoint::Checkpoint,
        event::{self, Event},
        task::{TaskRow, TaskState},
    },
    pg::PgConnection,
    plan::{Plan, Task},
};

use crate::{
    activity::{self, Activity},
    command::Failure,
    figures,
};

/// Tasks that are named; of more only the number is told.
const NAMED: usize = 5;
/// Seconds from which on it is told that a unit works.
const LONG: f64 = 3.0;
/// Events of a run that failed that are shown.
const LAST: u32 = 5;
/// Events that tell of what went well.
const ORDINARY: [&str; 8] = [
    "run_submitted",
    "taken_over",
    "run_started",
    "task_started",
    "task_done",
    "worker_joined",
    "checkpoint_prepared",
    "compared",
];

/// What holds a run up that somebody drives.
#[derive(Debug, Default, Serialize)]
pub(super) struct Waiting {
    /// Since when no new units begin, where the run is paused.
    pub(super) paused_since: Option<String>,
    /// Waits of some seconds that are not over.
    pub(super) waits: Vec<OpenWait>,
    /// Its sessions that have something to do.
    pub(super) sessions: Vec<Activity>,
    /// Tasks that have not begun because of others.
    pub(super) blocked_tasks: u64,
    /// The first of them.
    pub(super) blocked: Vec<BlockedTask>,
    /// The checkpoint that comes next.
    pub(super) next_checkpoint: Option<NextCheckpoint>,
}

/// A wait that the event log tells of.
#[derive(Debug, Serialize)]
pub(super) struct OpenWait {
    about: String,
    task: Option<TaskId>,
    unit: Option<UnitId>,
    /// When it was told of: RFC 3339, UTC.
    since: String,
    reason: String,
    blockers: serde_json::Value,
}

/// A task that waits for others.
#[derive(Debug, Serialize)]
pub(super) struct BlockedTask {
    task: TaskId,
    label: String,
    /// Tasks that have to be done before it; or, where none has, one that writes the same table.
    waits_for: Vec<TaskId>,
}

/// A checkpoint that is not prepared yet.
#[derive(Debug, Serialize)]
pub(super) struct NextCheckpoint {
    module: String,
    /// How many tasks it waits for.
    tasks: u64,
    /// The first of them.
    waits_for: Vec<TaskId>,
}

/// Asks ledger and server.
pub(super) async fn read(
    conn: &mut PgConnection,
    run: RunId,
    plan: &Plan,
    (tasks, checkpoints): (&HashMap<TaskId, TaskRow>, &[Checkpoint]),
    forward: bool,
) -> Result<Waiting, Failure> {
    let mut waiting = Waiting {
        sessions: activity::sessions(conn, run).await?,
        ..Waiting::default()
    };
    if forward {
        (waiting.blocked_tasks, waiting.blocked) = blocked(plan, tasks);
        waiting.next_checkpoint = next_checkpoint(plan, tasks, checkpoints);
    }
    if event::exists(conn).await? {
        let pauses = event::latest_each(conn, run, &["paused", "resumed"]).await?;
        waiting.paused_since = pauses
            .into_iter()
            .next_back()
            .filter(|last| last.kind == "paused")
            .map(|last| last.at);
        let waits = event::latest_each(conn, run, &["waiting", "wait_ended"]).await?;
        let open = waits.into_iter().filter(|wait| wait.kind == "waiting");
        waiting.waits = open.map(open_wait).collect();
    }
    Ok(waiting)
}

/// What went wrong last, in order, for a run that failed or is stuck.
pub(super) async fn last_events(
    conn: &mut PgConnection,
    run: RunId,
) -> Result<Vec<Event>, Failure> {
    if !event::exists(conn).await? {
        return Ok(Vec::new());
    }
    Ok(event::tail(conn, run, &ORDINARY, LAST).await?)
}

fn open_wait(event: Event) -> OpenWait {
    let text = |name: &str| event.detail[name].as_str().unwrap_or_default().to_owned();
    OpenWait {
        about: text("about"),
        reason: text("reason"),
        blockers: event.detail["blockers"].clone(),
        task: event.task,
        unit: event.unit,
        since: event.at,
    }
}

/// How many tasks have not begun because of others, and the first of them with what they wait for.
fn blocked(plan: &Plan, tasks: &HashMap<TaskId, TaskRow>) -> (u64, Vec<BlockedTask>) {
    let state = |task: TaskId| tasks.get(&task).map(|row| row.state);
    let begun = |task: TaskId| matches!(state(task), Some(TaskState::Prepared | TaskState::Done));
    let mut before: HashMap<TaskId, Vec<TaskId>> = HashMap::new();
    for edge in &plan.edges {
        if !begun(edge.to) && state(edge.from) != Some(TaskState::Done) {
            before.entry(edge.to).or_default().push(edge.from);
        }
    }
    let open = |task: &&Task| state(task.id) == Some(TaskState::Prepared);
    let written: HashMap<u32, TaskId> = plan
        .tasks
        .iter()
        .filter(open)
        .flat_map(|task| task.tables.iter().map(move |table| (table, task.id)))
        .filter(|(table, _)| table.write)
        .map(|(table, task)| (table.relation, task))
        .collect();
    let (mut count, mut named) = (0, Vec::new());
    for task in plan.live().filter(|task| !begun(task.id)) {
        let mut waits_for = before.remove(&task.id).unwrap_or_default();
        if waits_for.is_empty() {
            let own = task.tables.iter().filter(|table| table.write);
            waits_for.extend(own.filter_map(|table| written.get(&table.relation)));
        }
        if waits_for.is_empty() {
            continue;
        }
        count += 1;
        if named.len() < NAMED {
            waits_for.sort_unstable();
            waits_for.dedup();
            named.push(BlockedTask {
                task: task.id,
                label: task.label.clone(),
                waits_for,
            });
        }
    }
    (count, named)
}

/// Checkpoints are prepared in the order of the modules, so the first that is missing waits for the tasks
/// of its module and of those before it.
fn next_checkpoint(
    plan: &Plan,
    tasks: &HashMap<TaskId, TaskRow>,
    checkpoints: &[Checkpoint],
) -> Option<NextCheckpoint> {
    let prepared: HashSet<u32> = checkpoints
        .iter()
        .map(|checkpoint| checkpoint.place)
        .collect();
    let (place, next) = (0_u32..)
        .zip(&plan.checkpoints)
        .find(|(place, one)| one.joined_with.is_none() && !prepared.contains(place))?;
    let missing: Vec<TaskId> = plan
        .live()
        .filter(|task| task.checkpoint <= place)
        .filter(|task| tasks.get(&task.id).map(|row| row.state) != Some(TaskState::Done))
        .map(|task| task.id)
        .collect();
    Some(NextCheckpoint {
        module: next.name.clone(),
        tasks: missing.len() as u64,
        waits_for: missing.into_iter().take(NAMED).collect(),
    })
}

/// For people.
pub(super) fn lines(waiting: &Waiting) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(since) = &waiting.paused_since {
        lines.push(format!("  paused since {since}: no new units begin"));
    }
    lines.extend(session_lines(&waiting.sessions));
    for wait in &waiting.waits {
        let seen = |session: &Activity| {
            session.wait.is_some()
                && session
                    .unit
                    .is_some_and(|of| Some(of.task) == wait.task && Some(of.unit) == wait.unit)
        };
        // What the server says now is fresher.
        if waiting.sessions.iter().any(seen) {
            continue;
        }
        let who = match (wait.task, wait.unit) {
            (Some(task), Some(unit)) => format!("{task} unit {unit}"),
            (Some(task), None) => format!("{task}: the driver"),
            (None, _) => "the run".to_owned(),
        };
        lines.push(format!("  {who} {} (told {})", wait.reason, wait.since));
    }
    if let Some(next) = waiting
        .next_checkpoint
        .as_ref()
        .filter(|next| next.tasks > 0)
    {
        lines.push(format!(
            "  checkpoint {} waits for {}: {}",
            next.module,
            figures::counted(next.tasks, "task"),
            list(&next.waits_for, next.tasks)
        ));
    }
    if waiting.blocked_tasks > 0 {
        lines.push(format!(
            "  {} for others:",
            match waiting.blocked_tasks {
                1 => "1 task waits".to_owned(),
                number => format!("{} tasks wait", figures::count(number)),
            }
        ));
    }
    for task in &waiting.blocked {
        let all = task.waits_for.len() as u64;
        let named: Vec<TaskId> = task.waits_for.iter().take(NAMED).copied().collect();
        let on = list(&named, all);
        lines.push(format!("    {} {} waits for {on}", task.task, task.label));
    }
    lines
}

/// What the server says of units that wait, and of those that have been at work for a while.
fn session_lines(sessions: &[Activity]) -> Vec<String> {
    let mut lines = Vec::new();
    for session in sessions {
        let (Some(of), Some(wait)) = (session.unit, &session.wait) else {
            continue;
        };
        lines.push(format!(
            "  {} unit {} {}; for {} so far",
            of.task,
            of.unit,
            wait.reason,
            figures::seconds(wait.seconds)
        ));
    }
    let working = |session: &&Activity| session.wait.is_none() && session.seconds >= LONG;
    for session in sessions.iter().filter(working).take(NAMED) {
        if let Some(of) = session.unit {
            let so_far = figures::seconds(session.seconds);
            lines.push(format!(
                "  {} unit {} works; for {so_far} so far",
                of.task, of.unit
            ));
        }
    }
    lines
}

/// The named ones, and that there are more.
fn list(named: &[TaskId], all: u64) -> String {
    let names: Vec<String> = named.iter().map(ToString::to_string).collect();
    match all.saturating_sub(named.len() as u64) {
        0 => names.join(", "),
        more => format!("{}, and {} more", names.join(", "), figures::count(more)),
    }
}
