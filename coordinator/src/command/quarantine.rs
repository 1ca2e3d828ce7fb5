//! `upshift quarantine`: rows that statements of a run could not work on. `list` counts them, `retry` does
//! them once their data is mended, `export` hands all of them out.

use std::{collections::BTreeMap, path::Path};

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};
use upshift_shared::{
    ids::TaskId,
    ledger::{
        self,
        bad_row::{BadRowState, StoredRow},
        run::RunState,
    },
    pg::{PgConnection, ident::ident},
    plan::Plan,
};
use upshift_worker::unit::Retried;

use super::{
    Failure, bad_data,
    database::{DatabaseArguments, print_json, print_line},
    driving::{Driving, DrivingArguments},
    selection::select,
};
use crate::{driver::quarantine, figures};

/// `upshift quarantine …`
#[derive(Debug, Subcommand)]
pub(super) enum QuarantineCommand {
    /// Rows by statement: how many, and what is wrong with them
    List(ListArguments),
    /// Run the statements again on the quarantined rows of a prepared run, once their data is mended
    Retry(RetryArguments),
    /// Every row with its key and values, a line of JSON each
    Export(ExportArguments),
}

/// `upshift quarantine list [RUN]`
#[derive(Debug, Args)]
pub(super) struct ListArguments {
    /// The run's id, or the end of it [default: the newest]
    #[arg(value_name = "RUN")]
    run: Option<String>,
    /// Show keys and values
    #[arg(long)]
    values: bool,
    #[command(flatten)]
    database: DatabaseArguments,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// `upshift quarantine retry [RUN]`
#[derive(Debug, Args)]
pub(super) struct RetryArguments {
    /// The run's id, or the end of it [default: the newest]
    #[arg(value_name = "RUN")]
    run: Option<String>,
    #[command(flatten)]
    driving: DrivingArguments,
}

/// `upshift quarantine export [RUN]`
#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    /// The run's id, or the end of it [default: the newest]
    #[arg(value_name = "RUN")]
    run: Option<String>,
    #[command(flatten)]
    database: DatabaseArguments,
}

impl QuarantineCommand {
    pub(super) fn json(&self) -> bool {
        match self {
            Self::List(arguments) => arguments.json,
            Self::Retry(arguments) => arguments.driving.json,
            Self::Export(_) => false,
        }
    }
}

pub(super) async fn run(command: QuarantineCommand, config: Option<&Path>) -> Result<(), Failure> {
    match command {
        QuarantineCommand::List(arguments) => list(&arguments, config).await,
        QuarantineCommand::Retry(arguments) => retry(&arguments, config).await,
        QuarantineCommand::Export(arguments) => export(&arguments, config).await,
    }
}

/// Rows of one statement with the same fault.
#[derive(Debug, Serialize)]
struct Group {
    task: TaskId,
    label: String,
    source: String,
    table: String,
    column: Option<String>,
    sqlstate: String,
    state: BadRowState,
    rows: u64,
    /// Only on request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values: Vec<Value>,
    #[serde(skip)]
    lines: Vec<String>,
}

async fn list(arguments: &ListArguments, config: Option<&Path>) -> Result<(), Failure> {
    let chosen = arguments.database.resolve(config)?;
    let mut conn = chosen.connect("quarantine").await?;
    let row = select(&mut conn, arguments.run.as_deref()).await?;
    let plan = ledger::run::plan(&mut conn, row.run).await?;
    let counts = ledger::bad_row::counts(&mut conn, row.run).await?;
    let groups = groups(&mut conn, &plan, row.run, arguments.values).await?;
    if arguments.json {
        return print_json(&json!({"run": row.run, "counts": counts, "statements": groups}));
    }
    let about = bad_data::line(counts).unwrap_or_else(|| "no bad data was met".to_owned());
    print_line(&format!("run {} is {}; {about}", row.run, row.state));
    for group in &groups {
        print_line(&text(group));
        for line in &group.lines {
            print_line(&format!("    {line}"));
        }
    }
    Ok(())
}

async fn groups(
    conn: &mut PgConnection,
    plan: &Plan,
    run: upshift_shared::ids::RunId,
    values: bool,
) -> Result<Vec<Group>, Failure> {
    let mut groups = BTreeMap::new();
    for row in ledger::bad_row::load(conn, run).await? {
        let bad = &row.bad;
        let key = (
            row.task,
            bad.source.clone(),
            bad.column.clone(),
            bad.sqlstate.clone(),
            row.state.as_str(),
        );
        let group = groups.entry(key).or_insert_with(|| Group {
            task: row.task,
            label: label(plan, row.task),
            source: bad.source.clone(),
            table: bad.table.clone(),
            column: bad.column.clone(),
            sqlstate: bad.sqlstate.clone(),
            state: row.state,
            rows: 0,
            values: Vec::new(),
            lines: Vec::new(),
        });
        group.rows += 1;
        if values {
            group.values.push(whole(&row));
            group.lines.push(bad_data::with_values(bad));
        }
    }
    Ok(groups.into_values().collect())
}

fn label(plan: &Plan, task: TaskId) -> String {
    let task = plan.tasks.get(task.0 as usize);
    task.map_or_else(String::new, |task| task.label.clone())
}

fn text(group: &Group) -> String {
    let column = group.column.as_ref();
    let column = column.map_or_else(String::new, |name| format!(", column {}", ident(name)));
    let code = match group.sqlstate.as_str() {
        "" => String::new(),
        code => format!(" (SQLSTATE {code})"),
    };
    format!(
        "  {}: {} ({}): {} of {}{column}{code}: {}",
        group.source,
        group.label,
        group.task,
        figures::counted(group.rows, "row"),
        group.table,
        group.state.as_str(),
    )
}

/// A row with all that is known of it.
fn whole(row: &StoredRow) -> Value {
    let bad = &row.bad;
    json!({
        "task": row.task, "unit": row.unit, "source": bad.source, "table": bad.table, "key": bad.key,
        "row": bad.row, "column": bad.column, "value": bad.value, "sqlstate": bad.sqlstate, "message": bad.message,
        "detail": bad.detail, "state": row.state,
    })
}

async fn export(arguments: &ExportArguments, config: Option<&Path>) -> Result<(), Failure> {
    let chosen = arguments.database.resolve(config)?;
    let mut conn = chosen.connect("quarantine").await?;
    let row = select(&mut conn, arguments.run.as_deref()).await?;
    for row in ledger::bad_row::load(&mut conn, row.run).await? {
        print_line(&whole(&row).to_string());
    }
    Ok(())
}

async fn retry(arguments: &RetryArguments, config: Option<&Path>) -> Result<(), Failure> {
    let wanted = arguments.run.as_deref();
    let (mut driving, row, after) = Driving::open_run(&arguments.driving, config, wanted).await?;
    let refused = match row.state {
        RunState::Prepared => None,
        RunState::Committed => Some(format!(
            "run {} is committed: a retry would have no way back; what is quarantined is listed by: {}",
            row.run,
            after.command("quarantine export")
        )),
        RunState::Planned | RunState::Running | RunState::Failed => Some(format!(
            "run {} is {}: rows are retried once it is prepared; first: {}",
            row.run,
            row.state,
            after.command("resume")
        )),
        RunState::RollingBack | RunState::RolledBack | RunState::Stuck => Some(format!(
            "run {} is {}: its quarantined rows are as they were",
            row.run, row.state
        )),
    };
    if let Some(message) = refused {
        driving.close().await;
        return Err(Failure::refused(message));
    }
    let plan = ledger::run::plan(&mut driving.conn, row.run).await?;
    let holder = driving.take_over(row.run).await?;
    let target = &driving.chosen.target;
    let work = (holder, &plan, &driving.limits);
    let answers = quarantine::retry(&mut driving.conn, target, work).await;
    driving.close().await;
    report(&plan, &answers?, arguments.driving.json)
}

/// What became of the rows; a failure where some are still quarantined.
fn report(plan: &Plan, answers: &[(StoredRow, Retried)], json: bool) -> Result<(), Failure> {
    let done = answers
        .iter()
        .filter(|(_, retried)| retried.failure.is_none());
    let (done, unmet) = done.fold((0, 0), |(done, unmet), (_, retried)| {
        (done + 1, unmet + u64::from(retried.rows == 0))
    });
    let left = answers.len() as u64 - done;
    if json {
        print_json(&json!({"retried": done, "unmet": unmet, "quarantined": left}))?;
    } else {
        print_line(&format!("{} retried", figures::counted(done, "row")));
        if unmet > 0 {
            print_line(&format!(
                "  of these the statement did nothing with {}: they are gone, or its condition does not \
                 meet them any more",
                figures::count(unmet)
            ));
        }
    }
    if left == 0 {
        return Ok(());
    }
    let mut reasons = BTreeMap::<String, u64>::new();
    for (row, retried) in answers {
        if let Some(why) = &retried.failure {
            let what = format!("{}: {}: {why}", row.bad.source, label(plan, row.task));
            *reasons.entry(what).or_default() += 1;
        }
    }
    let mut message = format!("{} still quarantined:", figures::counted(left, "row"));
    for (what, rows) in reasons {
        message.push_str(&format!("\n  {}: {what}", figures::counted(rows, "row")));
    }
    Err(Failure::failed(message))
}
