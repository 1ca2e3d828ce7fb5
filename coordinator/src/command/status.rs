//! `upshift status`: how a run stands, all of it from the ledger, so that it can be asked with or
//! without a process that drives the run.

use std::{collections::HashMap, path::Path};

use clap::Args;
use serde::Serialize;
use upshift_shared::{
    ids::{RunId, TaskId},
    ledger::{
        self,
        run::{RunRow, RunState},
        task::TaskState,
        unit::TaskCount,
    },
    pg::PgConnection,
    plan::{Plan, SnapshotKind, Task},
};

use super::{
    Failure,
    database::{DatabaseArguments, print_json, print_line},
    driving::After,
    selection::select,
};
use crate::{coordination, driver::commit::is_pending, figures};

/// `upshift status [RUN]`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The run's id, or the end of it [default: the newest]
    #[arg(value_name = "RUN")]
    run: Option<String>,
    #[command(flatten)]
    database: DatabaseArguments,
    /// Print as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// How a run stands.
#[derive(Debug, Serialize)]
struct Status {
    #[serde(flatten)]
    row: RunRow,
    /// Who drives it, if anybody does.
    driven_by: Option<String>,
    /// For `committed`: some of the destruction that waited for it is still to be done.
    commit_pending: bool,
    tasks: u64,
    tasks_done: u64,
    units_done: u64,
    rows_done: u64,
    /// Modules whose checkpoints are prepared.
    checkpoints: Vec<String>,
    /// Snapshots that were taken, or begun.
    snapshots: Vec<SnapshotStatus>,
    /// Tasks that have begun and are not done.
    open: Vec<OpenTask>,
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
struct Earlier {
    run: RunId,
    pack: String,
    state: RunState,
    created_at: String,
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> Result<(), Failure> {
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

async fn read(conn: &mut PgConnection, row: RunRow, hint: &str) -> Result<Status, Failure> {
    let run = row.run;
    let plan = ledger::run::plan(conn, run).await?;
    let tasks = ledger::task::load(conn, run).await?;
    let counts: HashMap<TaskId, TaskCount> =
        ledger::unit::counts(conn, run).await?.into_iter().collect();
    let checkpoints = ledger::checkpoint::load(conn, run).await?;
    let driven_by = coordination::database_lock_holder(conn).await?;
    let snapshots = ledger::snapshot::load(conn, run)
        .await?
        .into_iter()
        .map(|(place, row)| SnapshotStatus {
            task: plan
                .snapshots
                .get(place as usize)
                .and_then(|s| s.before.first().copied()),
            kind: row.kind,
            name: row.name,
            done: row.done,
        })
        .collect();
    let commit_pending = row.state == RunState::Committed && is_pending(conn, run).await?;
    let earlier = ledger::run::list(conn)
        .await?
        .into_iter()
        .filter(|other| other.run != run)
        .map(|other| Earlier {
            run: other.run,
            pack: other.pack,
            state: other.state,
            created_at: other.created_at,
        })
        .collect();
    let state = |task: &Task| tasks.get(&task.id).map(|row| row.state);
    let done = plan
        .tasks
        .iter()
        .filter(|task| state(task) == Some(TaskState::Done))
        .count();
    let open = plan
        .tasks
        .iter()
        .filter(|task| state(task) == Some(TaskState::Prepared))
        .map(|task| open_task(task, counts.get(&task.id)))
        .collect();
    Ok(Status {
        next: next(&row, commit_pending, driven_by.is_some(), hint),
        driven_by,
        commit_pending,
        tasks: plan.tasks.len() as u64,
        tasks_done: done as u64,
        units_done: counts.values().map(|count| count.units).sum(),
        rows_done: counts.values().map(|count| count.rows).sum(),
        checkpoints: names(&plan, checkpoints),
        snapshots,
        open,
        earlier,
        row,
    })
}

fn names(plan: &Plan, checkpoints: Vec<ledger::checkpoint::Checkpoint>) -> Vec<String> {
    debug_assert!(checkpoints.len() <= plan.modules.len(), "one a module");
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

fn next(row: &RunRow, commit_pending: bool, driven: bool, hint: &str) -> Vec<String> {
    let after = After {
        run: row.run,
        hint: hint.to_owned(),
    };
    let verbs: &[&str] = match row.state {
        _ if driven => &[],
        RunState::Planned | RunState::Running | RunState::Failed => &["resume", "rollback"],
        RunState::RolledBack if row.rollback_to.is_some() => &["resume", "rollback"],
        RunState::RollingBack => &["resume"],
        RunState::Stuck => &["rollback"],
        RunState::Prepared => &["commit", "rollback"],
        RunState::Committed if commit_pending => &["commit"],
        RunState::Committed | RunState::RolledBack => &[],
    };
    verbs.iter().map(|verb| after.command(verb)).collect()
}

fn text(status: &Status) -> String {
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
    if !status.checkpoints.is_empty() {
        lines.push(format!(
            "  checkpoints prepared: {}",
            short_list(&status.checkpoints)
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
                ", a snapshot is being taken, which waits for others to leave the database, or its process \
                 was killed",
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
