//! `upshift cluster status`

use std::path::Path;

use clap::Args;
use serde::Serialize;
use upshift_proto::v1::{RunStatus, StatusRequest};
use upshift_shared::ids::RunId;

use super::{
    super::{
        Failure,
        database::{print_json, print_line},
    },
    OperatorArguments,
    client::{Client, soon},
};
use crate::figures;

/// `upshift cluster status [RUN]`
#[derive(Debug, Args)]
pub(in crate::command) struct Arguments {
    /// The run's id [default: all runs]
    #[arg(value_name = "RUN")]
    run: Option<RunId>,
    #[command(flatten)]
    pub(super) operator: OperatorArguments,
}

#[derive(Serialize)]
struct Shown<'a> {
    run: &'a str,
    database: &'a str,
    state: &'a str,
    doing: &'a str,
    message: &'a str,
    tasks: u64,
    tasks_done: u64,
    units_done: u64,
    rows_done: u64,
    units_in_flight: u64,
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> Result<(), Failure> {
    let client = Client::new(&arguments.operator, config)?;
    let run = arguments
        .run
        .map_or_else(String::new, |run| run.to_string());
    let status = client
        .ask(async |mut operator| soon(operator.status(StatusRequest { run: run.clone() })).await)
        .await?;
    if arguments.operator.json {
        let runs: Vec<Shown<'_>> = status.runs.iter().map(shown).collect();
        return print_json(&serde_json::json!({
            "leader": status.leader,
            "leads_seconds": status.leads_seconds,
            "runs": runs,
        }));
    }
    print_line(&format!(
        "{} leads, for {}",
        status.leader,
        figures::seconds(status.leads_seconds as f64)
    ));
    status.runs.iter().for_each(|run| print_line(&line(run)));
    Ok(())
}

fn shown(run: &RunStatus) -> Shown<'_> {
    Shown {
        run: &run.run,
        database: &run.database,
        state: &run.state,
        doing: &run.doing,
        message: &run.message,
        tasks: run.tasks,
        tasks_done: run.tasks_done,
        units_done: run.units_done,
        rows_done: run.rows_done,
        units_in_flight: run.units_in_flight,
    }
}

fn line(run: &RunStatus) -> String {
    let mut text = format!(
        "run {} of database {}: {}",
        run.run, run.database, run.state
    );
    match run.doing.as_str() {
        "" => {}
        "waiting" => text.push_str(", waits"),
        doing if run.tasks == 0 => text.push_str(&format!(", {doing}")),
        doing => text.push_str(&format!(
            ", {doing}: {} of {} done, {} rows, {} in flight",
            figures::count(run.tasks_done),
            figures::counted(run.tasks, "task"),
            figures::count(run.rows_done),
            figures::counted(run.units_in_flight, "unit"),
        )),
    }
    if !run.message.is_empty() {
        text.push_str(&format!("\n  {}", run.message.replace('\n', "\n  ")));
    }
    text
}
