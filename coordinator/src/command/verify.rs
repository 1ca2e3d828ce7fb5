//! `upshift verify`: whether the database still is what a run left. Only reads, all of it of one instant;
//! names tables and objects of the schema, never values of rows.

use std::{collections::HashMap, path::Path};

use clap::Args;
use serde::Serialize;
use upshift_shared::{
    ids::{RunId, TaskId},
    ledger::{
        self,
        left::{ChangedObject, LeftState, LeftTable, ObjectChange},
        options::Verify,
        run::{RunRow, RunState},
        verification::TaskSides,
    },
    pg::PgConnection,
    plan::Plan,
};

use super::{
    Failure,
    database::{Chosen, DatabaseArguments, print_json, print_line},
    selection::select,
};
use crate::{
    figures,
    verification::{
        checks,
        measure::{self, Job, Measured, Want},
        tables::{self, Found},
    },
};

/// `upshift verify [RUN]`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The run's id, or the end of it [default: the newest]
    #[arg(value_name = "RUN")]
    run: Option<String>,
    #[command(flatten)]
    database: DatabaseArguments,
    /// Compare the content of tables too, where the run was told --verify full; else the number of rows
    #[arg(long)]
    full: bool,
    /// Tables that are read at once [default: as many as processors, at most 8]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: Option<u32>,
    /// Print as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Verdict {
    run: RunId,
    pack: String,
    state: RunState,
    /// What there is to compare with.
    recorded: Option<LeftState>,
    /// Whether nothing of what was looked at is another.
    same: bool,
    tables: Vec<TableVerdict>,
    objects: Vec<ChangedObject>,
    checks_asked: u64,
    checks_failed: Vec<checks::Failed>,
    /// What the units verified when they ran.
    tasks: Vec<TaskVerdict>,
    /// What could not be looked at, and why.
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct TableVerdict {
    table: String,
    state: TableState,
    rows_left: Option<u64>,
    rows_now: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum TableState {
    /// As many rows as were left.
    SameRows,
    /// And the same content.
    Same,
    /// More or fewer rows.
    RowsDiffer,
    /// As many rows, and other content.
    ContentDiffers,
    /// Another table has its name now.
    Replaced,
    /// It is not there.
    Gone,
    /// Its rows were not counted when the run was prepared.
    NotCounted,
}

#[derive(Debug, Serialize)]
struct TaskVerdict {
    task: TaskId,
    label: String,
    source: Option<String>,
    units: u64,
    rows_before: u64,
    rows_after: u64,
    /// Whether digests were made.
    digested: bool,
}

impl TableVerdict {
    fn is_same(&self) -> bool {
        use TableState as S;
        matches!(self.state, S::SameRows | S::Same | S::NotCounted)
    }

    fn text(&self) -> Option<String> {
        let counts = (self.rows_left, self.rows_now);
        Some(match (self.state, counts) {
            (TableState::SameRows | TableState::Same, _) => return None,
            (TableState::RowsDiffer, (Some(left), Some(now))) if now > left => {
                format!("{} more", figures::counted(now - left, "row"))
            }
            (TableState::RowsDiffer, (Some(left), Some(now))) => {
                format!("{} less", figures::counted(left - now, "row"))
            }
            (TableState::RowsDiffer, _) => "another number of rows".to_owned(),
            (TableState::ContentDiffers, _) => {
                "as many rows, but their content is another".to_owned()
            }
            (TableState::Replaced, _) => "another table has its name now".to_owned(),
            (TableState::Gone, _) => "it is not there any more".to_owned(),
            (TableState::NotCounted, _) => {
                "not counted when the run was prepared: it is large, and little of it was written"
                    .to_owned()
            }
        })
    }
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> Result<(), Failure> {
    let chosen = arguments.database.resolve(config)?;
    let mut conn = chosen.connect("verify").await?;
    let row = select(&mut conn, arguments.run.as_deref()).await?;
    if !matches!(row.state, RunState::Prepared | RunState::Committed) {
        return Err(Failure::refused(format!(
            "run {} is {}: what a run left can be looked at once it is prepared",
            row.run, row.state
        )));
    }
    let verdict = compare(&mut conn, &chosen, row, &arguments).await?;
    if arguments.json {
        print_json(&verdict)?;
    } else {
        print_line(&text(&verdict));
    }
    match verdict.same {
        true => Ok(()),
        false => Err(Failure::silent_refusal()),
    }
}

async fn compare(
    conn: &mut PgConnection,
    chosen: &Chosen,
    row: RunRow,
    arguments: &Arguments,
) -> Result<Verdict, Failure> {
    let plan = ledger::run::plan(conn, row.run).await?;
    let sides = ledger::verification::sums(conn, row.run, None).await?;
    let checks_failed = checks::ask(conn, &plan).await?;
    let mut verdict = Verdict {
        run: row.run,
        pack: row.pack,
        state: row.state,
        recorded: None,
        same: false,
        tables: Vec::new(),
        objects: Vec::new(),
        checks_asked: checks::lasting(&plan).count() as u64,
        checks_failed,
        tasks: tasks(&plan, sides),
        notes: Vec::new(),
    };
    let Some((state, left)) = ledger::left::load(conn, row.run).await? else {
        verdict.notes.push(
            "nothing was recorded of what the run left (--verify off, or an older upshift): only its \
             lasting checks can be asked; runs with --verify counts or full record it"
                .to_owned(),
        );
        return Ok(verdict);
    };
    // Without an answer nothing is said to be the same.
    let server_version = conn.server_version_num().unwrap_or_default();
    let comparable = state.server_version / 10_000 == server_version / 10_000;
    if !comparable {
        verdict.notes.push(
            "it was recorded on another major version of PostgreSQL, where definitions and digests come \
             out otherwise: only rows are counted"
                .to_owned(),
        );
    }
    let full = arguments.full && state.verify == Verify::Full && comparable;
    if arguments.full && state.verify != Verify::Full {
        verdict.notes.push(
            "no digests were recorded, so rows are only counted: runs with --verify full record them"
                .to_owned(),
        );
    }
    if !arguments.full && state.verify == Verify::Full {
        verdict
            .notes
            .push("rows were counted; --full compares their content".to_owned());
    }
    let processors = std::thread::available_parallelism().map_or(2, |n| n.get().min(8));
    let workers = arguments.workers.map_or(processors, |n| n as usize);
    let mut tx = measure::begin(conn).await?;
    let want = if full { Want::Digest } else { Want::Rows };
    verdict.tables = read(&mut tx, chosen, &left, (want, workers)).await?;
    if comparable {
        verdict.objects = ledger::left::changed_objects(&mut tx, row.run).await?;
    }
    tx.rollback().await?;
    verdict.same = verdict.tables.iter().all(TableVerdict::is_same)
        && verdict.objects.is_empty()
        && verdict.checks_failed.is_empty();
    verdict.recorded = Some(state);
    Ok(verdict)
}

fn tasks(plan: &Plan, sides: Vec<TaskSides>) -> Vec<TaskVerdict> {
    sides
        .into_iter()
        .filter_map(|of| {
            let task = plan.tasks.get(of.task.0 as usize)?;
            Some(TaskVerdict {
                task: of.task,
                label: task.label.clone(),
                source: task.sources.first().map(ToString::to_string),
                units: of.units,
                rows_before: of.sides.rows_before,
                rows_after: of.sides.rows_after,
                digested: of.sides.digest_after.is_some(),
            })
        })
        .collect()
}

/// The tables that were left, as they are now.
async fn read(
    tx: &mut PgConnection,
    chosen: &Chosen,
    left: &[LeftTable],
    (want, workers): (Want, usize),
) -> Result<Vec<TableVerdict>, Failure> {
    let names: Vec<String> = left.iter().map(|table| table.name.clone()).collect();
    let by_name: HashMap<&str, &LeftTable> = left
        .iter()
        .map(|table| (table.name.as_str(), table))
        .collect();
    let found = tables::find(tx, Some(&names)).await?;
    let mut pairs: Vec<(&LeftTable, &Found)> = Vec::new();
    for found in &found {
        let name = found.table.name.to_string();
        pairs.extend(by_name.get(name.as_str()).map(|left| (*left, found)));
    }
    let counted =
        |pair: &&(&LeftTable, &Found)| pair.0.rows.is_some() && pair.0.relation == pair.1.relation;
    let jobs: Vec<Job> = pairs
        .iter()
        .filter(counted)
        .map(|(_, found)| Job {
            table: found.table.clone(),
            want,
        })
        .collect();
    let measured = measure::measure(tx, &chosen.target, &jobs, workers).await?;
    let mut measured = measured.into_iter();
    let mut now: HashMap<&str, (u32, Option<Measured>)> = HashMap::new();
    for pair in &pairs {
        let measured = counted(&pair).then(|| measured.next()).flatten();
        now.insert(&pair.0.name, (pair.1.relation, measured));
    }
    Ok(left
        .iter()
        .map(|table| judge(table, now.remove(table.name.as_str())))
        .collect())
}

fn judge(left: &LeftTable, now: Option<(u32, Option<Measured>)>) -> TableVerdict {
    let (state, rows_now) = match now {
        None => (TableState::Gone, None),
        Some((relation, _)) if relation != left.relation => (TableState::Replaced, None),
        Some((_, None)) => (TableState::NotCounted, None),
        Some((_, Some(now))) => {
            let state = match (left.rows == Some(now.rows), &now.content) {
                (false, _) => TableState::RowsDiffer,
                (true, None) => TableState::SameRows,
                (true, content) if *content == left.content => TableState::Same,
                (true, Some(_)) => TableState::ContentDiffers,
            };
            (state, Some(now.rows))
        }
    };
    TableVerdict {
        table: left.name.clone(),
        state,
        rows_left: left.rows,
        rows_now,
    }
}

fn text(verdict: &Verdict) -> String {
    let mut lines = vec![format!(
        "run {} of pack {}: {}",
        verdict.run, verdict.pack, verdict.state
    )];
    if let Some(state) = &verdict.recorded {
        lines.push(format!(
            "  what it left was recorded at {} ({})",
            state.recorded_at,
            state.verify.name()
        ));
    }
    for table in &verdict.tables {
        if let Some(text) = table.text() {
            lines.push(format!("  table {}: {text}", table.table));
        }
    }
    for object in &verdict.objects {
        let change = match object.change {
            ObjectChange::Added => "added",
            ObjectChange::Removed => "removed",
            ObjectChange::Changed => "its definition is another",
        };
        lines.push(format!("  {} {}: {change}", object.kind, object.name));
    }
    for check in &verdict.checks_failed {
        lines.push(format!(
            "  check failed: {}\n    --> {}",
            check.message, check.source
        ));
    }
    lines.extend(verdict.notes.iter().map(|note| format!("  note: {note}")));
    lines.push(match (verdict.same, &verdict.recorded) {
        (true, _) => format!(
            "the database is what the run left: {} and the schema looked at, {} asked",
            figures::counted(verdict.tables.len() as u64, "table"),
            figures::counted(verdict.checks_asked, "check")
        ),
        (false, Some(_)) => "the database is not what the run left".to_owned(),
        (false, None) => "nobody can say whether the database is what the run left".to_owned(),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_judged_by_what_was_recorded() {
        let left = |rows, content: Option<&str>| LeftTable {
            name: "\"public\".\"t\"".to_owned(),
            relation: 7,
            rows,
            content: content.map(str::to_owned),
        };
        let now = |rows, content: Option<&str>| {
            let content = content.map(str::to_owned);
            Some((7, Some(Measured { rows, content })))
        };
        let table = [
            (left(Some(3), None), now(3, None), TableState::SameRows),
            (left(Some(3), Some("a")), now(3, None), TableState::SameRows),
            (
                left(Some(3), Some("a")),
                now(3, Some("a")),
                TableState::Same,
            ),
            (
                left(Some(3), Some("a")),
                now(3, Some("b")),
                TableState::ContentDiffers,
            ),
            (
                left(Some(3), Some("a")),
                now(4, Some("a")),
                TableState::RowsDiffer,
            ),
            (left(None, None), Some((7, None)), TableState::NotCounted),
            (left(Some(3), None), Some((8, None)), TableState::Replaced),
            (left(Some(3), None), None, TableState::Gone),
        ];
        for (left, now, state) in table {
            let verdict = judge(&left, now);
            assert_eq!(verdict.state, state, "{verdict:?}");
            let quiet = matches!(state, TableState::SameRows | TableState::Same);
            assert_eq!(verdict.text().is_none(), quiet, "{verdict:?}");
        }
    }
}
