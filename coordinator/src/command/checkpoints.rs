//! `upshift checkpoints`: where a run can be brought back to, what each way back would undo and cost,
//! what is kept for it, and the command that goes there.

use std::path::Path;

use clap::Args;
use serde::Serialize;
use upshift_shared::{
    ids::RunId,
    ledger::{
        self,
        run::{RunRow, RunState},
    },
};

use super::{
    Failure,
    database::{DatabaseArguments, print_json, print_line, shell_quoted},
    driving::After,
    selection::select,
};
use crate::{
    driver::checkpoints::{self, Point},
    figures,
};

/// `upshift checkpoints [RUN]`
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

#[derive(Debug, Serialize)]
struct Listing {
    run: RunId,
    pack: String,
    state: RunState,
    /// The start, then the checkpoints in order.
    checkpoints: Vec<Listed>,
}

#[derive(Debug, Serialize)]
struct Listed {
    #[serde(flatten)]
    point: Point,
    reachable: bool,
    /// What goes there.
    command: Option<String>,
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> Result<(), Failure> {
    let chosen = arguments.database.resolve(config)?;
    let mut conn = chosen.connect("checkpoints").await?;
    let row = select(&mut conn, arguments.run.as_deref()).await?;
    let plan = ledger::run::plan(&mut conn, row.run).await?;
    let points = checkpoints::points(&mut conn, &row, &plan).await?;
    let listing = listing(row, points, chosen.hint);
    if arguments.json {
        return print_json(&listing);
    }
    print_line(&text(&listing));
    Ok(())
}

fn listing(row: RunRow, points: Vec<Point>, hint: String) -> Listing {
    let after = After { run: row.run, hint };
    let listed = points.into_iter().map(|point| {
        let reachable = point.unreachable.is_none();
        let command = match &point.name {
            None => after.command("rollback"),
            Some(name) => format!("{} --to {}", after.command("rollback"), shell_quoted(name)),
        };
        Listed {
            reachable,
            command: reachable.then_some(command),
            point,
        }
    });
    Listing {
        run: row.run,
        pack: row.pack,
        state: row.state,
        checkpoints: listed.collect(),
    }
}

fn text(listing: &Listing) -> String {
    let mut lines = vec![format!(
        "run {} of pack {}: {}",
        listing.run, listing.pack, listing.state
    )];
    let mut hidden = 0;
    for listed in &listing.checkpoints {
        let point = &listed.point;
        let name = match &point.name {
            None => "the start".to_owned(),
            Some(name) => format!("checkpoint {name}"),
        };
        let prepared = point
            .prepared_at
            .as_ref()
            .map(|at| format!(", prepared {at}"));
        let source = point.source.as_ref().map(|source| format!(" ({source})"));
        lines.push(format!(
            "{name}{}{}",
            source.unwrap_or_default(),
            prepared.unwrap_or_default()
        ));
        if let Some(why) = &point.unreachable {
            lines.push(format!("  no way there: {why}"));
            lines.extend(irreversible(point));
            continue;
        }
        lines.push(format!("  {}", back(point)));
        lines.extend(listed.command.clone().map(|command| format!("  {command}")));
        hidden = hidden.max(point.back.hidden_columns);
    }
    if hidden > 0 {
        lines.push(format!(
            "sizes are without {} that {} hidden: what is hidden in a table is part of its rows",
            figures::counted(hidden, "column"),
            if hidden == 1 { "is" } else { "are" }
        ));
    }
    lines.join("\n")
}

/// What going back takes, in one line.
fn back(point: &Point) -> String {
    let back = &point.back;
    if back.tasks == 0 {
        return "nothing after it is in effect".to_owned();
    }
    let keys = match back.foreign_keys {
        0 => String::new(),
        keys => format!(" and validates {}", figures::counted(keys, "foreign key")),
    };
    format!(
        "going back undoes {} ({}, {}){keys}, {} on one worker; {} kept for it",
        figures::counted(back.tasks, "task"),
        figures::counted(back.units, "unit"),
        figures::counted(back.rows, "row"),
        figures::estimated(back.seconds),
        figures::size(back.kept_bytes)
    )
}

fn irreversible(point: &Point) -> Vec<String> {
    let tasks = &point.back.irreversible;
    let mut lines: Vec<String> = tasks.iter().map(|task| format!("    {task}")).collect();
    let more = point.back.irreversible_tasks - tasks.len() as u64;
    if more > 0 {
        lines.push(format!("    and {} more", figures::count(more)));
    }
    lines
}
