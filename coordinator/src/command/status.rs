//! `upshift status`: how a run stands, all of it from the ledger, so that it can be asked with or
//! without a process that drives the run.

mod waiting;

use std::{collections::HashMap, path::Path};

use clap::Args;
use serde::Serialize;
use upshift_shared::{
    ids::{RunId, TaskId},
    ledger::{
        self,
        bad_row::Counts,
        control::Control,
        event::Event,
        group::Membership,
        run::{RunRow, RunState},
        task::TaskState,
        unit::TaskCount,
    },
    pg::PgConnection,
    plan::{Plan, SnapshotKind, Task},
};

use super::{
    Failure, bad_data,
    database::{DatabaseArguments, print_json, print_line},
    driving::After,
    events,
    group::{self, GroupArguments},
    selection::select,
    steering::limits,
};
use crate::{coordination, driver::commit::is_pending, figures};

/// `upshift status [RUN]`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The run's id, or the end of it [default: the newest]
    #[arg(value_name = "RUN", conflicts_with = "group")]
    run: Option<String>,
    #[command(flatten)]
    group: GroupArguments,
    #[command(flatten)]
    database: DatabaseArguments,
    /// Print as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// How a run stands.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    #[serde(flatten)]
    row: RunRow,
    /// Who drives it, if anybody does.
    driven_by: Option<String>,
    /// What operators want of it, and what its driver makes of that.
    control: Control,
    /// For `committed`: some of the destruction that waited for it is still to be done.
    commit_pending: bool,
    tasks: u64,
    tasks_done: u64,
    units_done: u64,
    rows_done: u64,
    /// The checkpoints that are prepared.
    checkpoints: Vec<String>,
    /// Rows that statements could not work on.
    bad_rows: Counts,
    /// Snapshots that were taken, or begun.
    snapshots: Vec<SnapshotStatus>,
    /// Tasks that have begun and are not done.
    open: Vec<OpenTask>,
    /// What it waits for; nothing where nobody drives it.
    #[serde(flatten)]
    waiting: waiting::Waiting,
    /// Where it failed or is stuck: the last events that tell of trouble.
    last_events: Vec<LastEvent>,
    /// The group of databases that it belongs to.
    group: Option<Membership>,
    /// Commands that go on from here.
    next: Vec<String>,
    /// Other runs in this database, newest first.
    earlier: Vec<Earlier>,
}

#[derive(Debug, Serialize)]
struct SnapshotStatus {
    /// The first task that it is for.
    task: Option<TaskId>,
    kind: SnapshotKind,
    name: String,
    done: bool,
}

#[derive(Debug, Serialize)]
struct OpenTask {
    task: TaskId,
    label: String,
    operator: &'static str,
    rows: u64,
    rows_done: u64,
    units_done: u64,
}

#[derive(Debug, Serialize)]
struct LastEvent {
    #[serde(flatten)]
    event: Event,
    /// In words.
    text: String,
}

#[derive(Debug, Serialize)]
struct Earlier {
    run: RunId,
    pack: String,
    state: RunState,
    created_at: String,
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> Result<(), Failure> {
    if let Some(file) = &arguments.group.group {
        return group::status::run(file, arguments.json, config).await;
    }
    let chosen = arguments.database.resolve(config)?;
    let mut conn = chosen.connect("status").await?;
    if arguments.run.is_none() && !has_runs(&mut conn).await? {
        return match arguments.json {
            true => print_json(&serde_json::json!({"run": null})),
            false => {
                print_line("upshift has never run in this database");
                Ok(())
            }
        };
    }
    let row = select(&mut conn, arguments.run.as_deref()).await?;
    let status = read(&mut conn, row, &chosen.hint).await?;
    if arguments.json {
        return print_json(&status);
    }
    print_line(&text(&status));
    Ok(())
}

async fn has_runs(conn: &mut PgConnection) -> Result<bool, Failure> {
    Ok(ledger::exists(conn).await? && !ledger::run::list(conn).await?.is_empty())
}

pub(super) async fn read(
    conn: &mut PgConnection,
    row: RunRow,
    hint: &str,
) -> Result<Status, Failure> {
    let run = row.run;
    let plan = ledger::run::plan(conn, run).await?;
    let tasks = ledger::task::load(conn, run).await?;
    let counts: HashMap<TaskId, TaskCount> =
        ledger::unit::counts(conn, run).await?.into_iter().collect();
    let checkpoints = ledger::checkpoint::load(conn, run).await?;
    let control = ledger::control::read(conn, run).await?;
    let driven_by = coordination::database_lock_holder(conn).await?;
    let commit_pending = row.state == RunState::Committed && is_pending(conn, run).await?;
    let state = |task: &Task| tasks.get(&task.id).map(|row| row.state);
    let done = plan
        .live()
        .filter(|task| state(task) == Some(TaskState::Done))
        .count();
    let open = plan
        .live()
        .filter(|task| state(task) == Some(TaskState::Prepared))
        .map(|task| open_task(task, counts.get(&task.id)))
        .collect();
    let at_work = matches!(
        row.state,
        RunState::Running | RunState::RollingBack | RunState::Committed
    );
    let driven = at_work && driven_by.is_some();
    let waiting = if driven {
        let forward = row.state == RunState::Running;
        waiting::read(conn, run, &plan, (&tasks, &checkpoints), forward).await?
    } else {
        waiting::Waiting::default()
    };
    let group = group::membership(conn, run).await?;
    let verbs = next(&row, commit_pending, (driven_by.is_some(), &control));
    let after = After {
        run,
        hint: hint.to_owned(),
    };
    let command = |verb: &&str| match &group {
        Some(group) => group.command(verb),
        None => after.command(verb),
    };
    Ok(Status {
        next: verbs.iter().map(command).collect(),
        group,
        waiting,
        last_events: last_events(conn, &row, &plan).await?,
        driven_by,
        control,
        commit_pending,
        tasks: plan.live().count() as u64,
        tasks_done: done as u64,
        units_done: counts.values().map(|count| count.units).sum(),
        rows_done: counts.values().map(|count| count.rows).sum(),
        checkpoints: names(&plan, checkpoints),
        bad_rows: ledger::bad_row::counts(conn, run).await?,
        snapshots: snapshots(conn, run, &plan).await?,
        open,
        earlier: earlier(conn, run).await?,
        row,
    })
}

async fn snapshots(
    conn: &mut PgConnection,
    run: RunId,
    plan: &Plan,
) -> Result<Vec<SnapshotStatus>, Failure> {
    let taken = ledger::snapshot::load(conn, run).await?.into_iter();
    let status = taken.map(|(place, row)| SnapshotStatus {
        task: plan
            .snapshots
            .get(place as usize)
            .and_then(|s| s.before.first().copied()),
        kind: row.kind,
        name: row.name,
        done: row.done,
    });
    Ok(status.collect())
}

async fn earlier(conn: &mut PgConnection, run: RunId) -> Result<Vec<Earlier>, Failure> {
    let all = ledger::run::list(conn).await?.into_iter();
    let others = all.filter(|other| other.run != run);
    let earlier = others.map(|other| Earlier {
        run: other.run,
        pack: other.pack,
        state: other.state,
        created_at: other.created_at,
    });
    Ok(earlier.collect())
}

/// Of a run that failed or is stuck: what led there.
async fn last_events(
    conn: &mut PgConnection,
    row: &RunRow,
    plan: &Plan,
) -> Result<Vec<LastEvent>, Failure> {
    if !matches!(row.state, RunState::Failed | RunState::Stuck) {
        return Ok(Vec::new());
    }
    let events = waiting::last_events(conn, row.run).await?.into_iter();
    let told = events.map(|event| LastEvent {
        text: events::text(&event, plan),
        event,
    });
    Ok(told.collect())
}

fn names(plan: &Plan, checkpoints: Vec<ledger::checkpoint::Checkpoint>) -> Vec<String> {
    debug_assert!(checkpoints.len() <= plan.checkpoints.len(), "of the plan");
    checkpoints
        .into_iter()
        .map(|checkpoint| checkpoint.name)
        .collect()
}

fn open_task(task: &Task, count: Option<&TaskCount>) -> OpenTask {
    let count = count.copied().unwrap_or_default();
    OpenTask {
        task: task.id,
        label: task.label.clone(),
        operator: task.operator.name(),
        rows: task.rows,
        rows_done: count.rows,
        units_done: count.units,
    }
}

fn next(
    row: &RunRow,
    commit_pending: bool,
    (driven, control): (bool, &Control),
) -> &'static [&'static str] {
    match row.state {
        _ if driven && control.paused => &["resume"],
        _ if driven => &[],
        RunState::Planned | RunState::Running | RunState::Failed => &["resume", "rollback"],
        RunState::RolledBack if row.rollback_to.is_some() => &["resume", "rollback"],
        RunState::RollingBack => &["resume"],
        RunState::Stuck => &["rollback"],
        RunState::Prepared => &["commit", "rollback"],
        RunState::Committed if commit_pending => &["commit"],
        RunState::Committed | RunState::RolledBack => &[],
    }
}

pub(super) fn text(status: &Status) -> String {
    let row = &status.row;
    let mut lines = vec![format!(
        "run {} of pack {}: {}",
        row.run,
        row.pack,
        state_text(status)
    )];
    if let Some(version) = &row.target_version {
        lines.push(format!(
            "  leads to version {version}, ordered by {}",
            row.strategy
        ));
    }
    lines.push(format!(
        "  begun {}, last change {}",
        row.created_at, row.changed_at
    ));
    lines.push(format!(
        "  {} of {} done; {}, {}",
        figures::count(status.tasks_done),
        figures::counted(status.tasks, "task"),
        figures::counted(status.units_done, "unit"),
        figures::counted(status.rows_done, "row")
    ));
    lines.extend(steered(status));
    lines.extend(beside(status));
    for task in &status.open {
        lines.push(format!(
            "  open: {} {} ({}): {} of about {} rows",
            task.task,
            task.label,
            task.operator,
            figures::count(task.rows_done),
            figures::count(task.rows)
        ));
    }
    lines.extend(waiting::lines(&status.waiting));
    if !status.last_events.is_empty() {
        lines.push("  last events:".to_owned());
    }
    for last in &status.last_events {
        let at = last.event.at.get(..19).unwrap_or(&last.event.at);
        let text = last.text.replace('\n', "\n      ");
        lines.push(format!("    {} {text}", at.replace('T', " ")));
    }
    if let Some(error) = &row.error {
        lines.push(format!("  {}", error.message.replace('\n', "\n  ")));
        if let Some(source) = error
            .source
            .as_ref()
            .filter(|s| !error.message.contains(*s))
        {
            lines.push(format!("    --> {source}"));
        }
    }
    for command in &status.next {
        lines.push(format!("  next: {command}"));
    }
    for other in &status.earlier {
        lines.push(format!(
            "other run {} of pack {}: {}, begun {}",
            other.run, other.pack, other.state, other.created_at
        ));
    }
    lines.join("\n")
}

/// What operators and the health of the server want of a run that is not at its end.
fn steered(status: &Status) -> Vec<String> {
    let control = &status.control;
    let mut lines = Vec::new();
    if matches!(
        status.row.state,
        RunState::Prepared | RunState::Committed | RunState::RolledBack | RunState::Stuck
    ) {
        return lines;
    }
    let driven = status.driven_by.is_some();
    let in_force = control.in_force.as_ref().filter(|_| driven);
    if control.paused {
        let mut line = "  paused".to_owned();
        if let (Some(by), Some(at)) = (&control.changed_by, &control.changed_at) {
            line.push_str(&format!(", last change by {by} at {at}"));
        }
        if let Some(reason) = &control.reason {
            line.push_str(&format!(": {reason}"));
        }
        lines.push(line);
    }
    if let Some(in_force) = in_force {
        if control.acknowledged < control.version {
            lines.push("  its driver has not yet heeded the last change".to_owned());
        }
        lines.push(format!("  in force: {}", limits(in_force)));
        for unknown in &in_force.unknown {
            let (signal, reason) = (&unknown.signal, &unknown.reason);
            lines.push(format!("  {signal} cannot be seen: {reason}"));
        }
    }
    lines
}

/// What belongs to the run beside its tasks: checkpoints, rows that were left out, its group, snapshots.
fn beside(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    if !status.checkpoints.is_empty() {
        lines.push(format!(
            "  checkpoints prepared: {}",
            short_list(&status.checkpoints)
        ));
    }
    lines.extend(bad_data::line(status.bad_rows).map(|line| format!("  {line}")));
    if let Some(group) = &status.group {
        lines.push(format!(
            "  in a group with {}, by the name of {}: {}",
            group.members.join(", "),
            group.member,
            group.command("status")
        ));
    }
    for snapshot in &status.snapshots {
        let task = snapshot.task.map(|task| format!(" for {task}"));
        lines.push(format!(
            "  snapshot{} ({}) {}: {}",
            task.unwrap_or_default(),
            snapshot.kind.as_str(),
            snapshot.name,
            if snapshot.done { "taken" } else { "begun" }
        ));
    }
    lines
}

/// All of a short list; of a long one the number and the end.
fn short_list(names: &[String]) -> String {
    match names.len() {
        0..=10 => names.join(", "),
        n => format!("{n}, up to {}", names[n - 3..].join(", ")),
    }
}

fn state_text(status: &Status) -> String {
    let row = &status.row;
    let mut text = row.state.to_string();
    if let Some(module) = &row.rollback_to {
        text.push_str(&format!(" to the checkpoint of {module}"));
    }
    match &status.driven_by {
        Some(by) if !row.state.is_final() => text.push_str(&format!(", driven by {by}")),
        None if row.state == RunState::Running && status.snapshots.iter().any(|s| !s.done) => {
            text.push_str(
                ", a snapshot is being taken, which may wait for others to leave the database, or its \
                 process was killed",
            );
        }
        None if matches!(row.state, RunState::Running | RunState::RollingBack) => {
            text.push_str(", but no process drives it: it was killed or cut off");
        }
        _ => {}
    }
    if status.commit_pending {
        text.push_str(", what it dropped is not all destroyed yet");
    }
    text
}
