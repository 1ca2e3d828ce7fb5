//! `upshift events`: what happened in a run, from its event log, page by page, so that a log of any length
//! goes through little memory.

use std::{path::Path, time::Duration};

use clap::Args;
use serde_json::Value;
use tokio::time::sleep;
use upshift_shared::{
    config::parse_duration,
    ids::{RunId, TaskId},
    ledger::{
        self,
        event::{self, Event, Filter},
        run::RunState,
    },
    pg::PgConnection,
    plan::Plan,
};

use super::{
    Failure,
    database::{DatabaseArguments, print_line},
    selection::select,
};
use crate::{
    compile::render::text::{cut, printable},
    coordination, figures,
    progress::{ProgressEvent, describe},
};

/// How often `--follow` asks.
const POLL: Duration = Duration::from_secs(1);
/// Characters of a task's label.
const LABEL: usize = 60;

/// `upshift events [RUN]`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The run's id, or the end of it [default: the newest]
    #[arg(value_name = "RUN")]
    run: Option<String>,
    #[command(flatten)]
    database: DatabaseArguments,
    /// Only what happened since: 10min or 2h ago, or a time such as 2026-11-27 10:00
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only what is about this task: 3, or t3
    #[arg(long, value_name = "N", value_parser = parse_task)]
    task: Option<TaskId>,
    /// Only events of this kind, such as retry; may be given several times
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,
    /// Go on until the run ends
    #[arg(long, short)]
    follow: bool,
    /// One line of JSON for every event
    #[arg(long)]
    pub(super) json: bool,
}

fn parse_task(text: &str) -> Result<TaskId, String> {
    let number = text.strip_prefix('t').unwrap_or(text);
    number
        .parse::<u32>()
        .ok()
        .filter(|number| i32::try_from(*number).is_ok())
        .map(TaskId)
        .ok_or_else(|| format!("\"{text}\" is not a task: write 3 or t3"))
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> Result<(), Failure> {
    let chosen = arguments.database.resolve(config)?;
    let mut conn = chosen.connect("events").await?;
    let row = select(&mut conn, arguments.run.as_deref()).await?;
    if !event::exists(&mut conn).await? {
        return Err(Failure::refused(format!(
            "run {} is of an older upshift, which kept no event log",
            row.run
        )));
    }
    let filter = Filter {
        since: since(&mut conn, arguments.since.as_deref()).await?,
        task: arguments.task,
        kinds: arguments.kind.clone(),
    };
    let plan = ledger::run::plan(&mut conn, row.run).await?;
    let mut after = 0;
    loop {
        // Asked first, so that what is read behind it is all of a run that has ended.
        let goes_on = arguments.follow && goes_on(&mut conn, row.run).await?;
        let last = event::last(&mut conn, row.run).await?;
        while after < last {
            let upto = last.min(after + event::PAGE);
            let page = event::read(&mut conn, row.run, (after, upto), &filter).await?;
            for event in &page {
                print_line(&if arguments.json {
                    json(event, &plan)
                } else {
                    line(event, &plan)
                });
            }
            after = upto;
        }
        if !goes_on {
            return Ok(());
        }
        sleep(POLL).await;
    }
}

/// Whether somebody drives the run, so that more is to come. What ends without a word, killed, lets go of
/// the database's lock.
async fn goes_on(conn: &mut PgConnection, run: RunId) -> Result<bool, Failure> {
    let row = ledger::run::read(conn, run).await?;
    let may = row.is_some_and(|row| {
        matches!(
            row.state,
            RunState::Planned | RunState::Running | RunState::RollingBack | RunState::Committed
        )
    });
    Ok(may && coordination::database_lock_holder(conn).await?.is_some())
}

/// The instant that `--since` names, in words for the ledger.
async fn since(conn: &mut PgConnection, text: Option<&str>) -> Result<Option<String>, Failure> {
    let Some(text) = text else {
        return Ok(None);
    };
    if let Ok(ago) = parse_duration(text) {
        return Ok(Some(event::ago(conn, ago.as_secs_f64()).await?));
    }
    match event::instant(conn, text).await? {
        Some(instant) => Ok(Some(instant)),
        None => Err(Failure::usage(format!(
            "--since \"{}\" is neither a duration nor a time: write 10min, 2h, or 2026-11-27 10:00",
            printable(text)
        ))),
    }
}

/// The label and the place in the pack of the task that an event is about.
fn of_task<'a>(event: &Event, plan: &'a Plan) -> Option<(&'a str, Option<String>)> {
    let task = plan.tasks.get(event.task?.0 as usize)?;
    let source = task.sources.first().map(ToString::to_string);
    Some((&task.label, source))
}

fn json(event: &Event, plan: &Plan) -> String {
    let mut value = serde_json::to_value(event).unwrap_or_default();
    if let Some((label, source)) = of_task(event, plan) {
        value["label"] = label.into();
        value["source"] = source.into();
    }
    value.to_string()
}

fn line(event: &Event, plan: &Plan) -> String {
    let at = event.at.get(..23).unwrap_or(&event.at).replace('T', " ");
    let text = printable(&text(event, plan));
    let source = match of_task(event, plan) {
        Some((_, Some(source))) if !text.contains(&source) => {
            format!("  --> {}", printable(&source))
        }
        _ => String::new(),
    };
    format!("{at} {:<19} {text}{source}", printable(&event.kind))
}

/// An event in words; one of a kind that this program does not know, as far as its fields tell.
pub(super) fn text(event: &Event, plan: &Plan) -> String {
    let label =
        of_task(event, plan).map_or_else(String::new, |(label, _)| cut(&printable(label), LABEL));
    let detail = &event.detail;
    let number = |name: &str| detail[name].as_u64().unwrap_or_default();
    let task = event.task.map_or_else(String::new, |task| task.to_string());
    match event.kind.as_str() {
        "task_done" => format!(
            "{task} {label}: done: {} in {}, {} ({} of one worker)",
            figures::counted(number("rows"), "row"),
            figures::counted(number("units"), "unit"),
            figures::seconds(detail["took"].as_f64().unwrap_or_default()),
            figures::seconds(detail["seconds"].as_f64().unwrap_or_default()),
        ),
        "run_state" => format!("{} became {}", words(&detail["from"]), words(&detail["to"])),
        "left_out" => format!(
            "{} could not be kept while the ledger could not be written",
            figures::counted(number("events"), "event")
        ),
        _ => match shown(event) {
            Some(shown) => describe(&shown, &label),
            None => fields(event, &label),
        },
    }
}

/// The same as the driver showed it.
fn shown(event: &Event) -> Option<ProgressEvent> {
    let mut value = event.detail.clone();
    let fields = value.as_object_mut()?;
    fields.insert("event".to_owned(), event.kind.clone().into());
    if let Some(task) = event.task {
        fields.insert("task".to_owned(), task.0.into());
    }
    if let Some(unit) = event.unit {
        fields.insert("unit".to_owned(), unit.0.into());
    }
    serde_json::from_value(value).ok()
}

fn fields(event: &Event, label: &str) -> String {
    let mut parts = Vec::new();
    if let Some(task) = event.task {
        parts.push(format!("{task} {label}:"));
    }
    parts.extend(event.unit.map(|unit| format!("unit {unit}")));
    let known = event.detail.as_object().into_iter().flatten();
    let told = known.filter(|(_, value)| !value.is_null());
    let told: Vec<String> = told
        .map(|(name, value)| format!("{} {}", name.replace('_', " "), words(value)))
        .collect();
    parts.push(told.join(", "));
    parts.join(" ")
}

fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace('_', " "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use upshift_shared::ids::UnitId;

    use super::*;

    fn event(kind: &str, task: Option<u32>, detail: Value) -> Event {
        Event {
            seq: 1,
            at: "2026-11-27T10:00:00.123456Z".to_owned(),
            kind: kind.to_owned(),
            task: task.map(TaskId),
            unit: task.map(|_| UnitId(2)),
            detail,
        }
    }

    #[test]
    fn events_are_read_as_they_were_shown() {
        let retry = ProgressEvent::Retry {
            task: TaskId(3),
            unit: UnitId(2),
            attempt: 2,
            delay: 0.5,
            reason: "deadlock detected".to_owned(),
        };
        let draft = crate::driver::journal::draft(&retry);
        assert_eq!((draft.task, draft.unit), (Some(TaskId(3)), Some(UnitId(2))));
        let logged = event(&draft.kind, Some(3), draft.detail);
        assert_eq!(shown(&logged), Some(retry));
        for shown_event in [
            ProgressEvent::Paused { reason: None },
            ProgressEvent::TaskDone { task: TaskId(1) },
        ] {
            let draft = crate::driver::journal::draft(&shown_event);
            let mut logged = event(&draft.kind, None, draft.detail);
            logged.task = draft.task;
            assert_eq!(shown(&logged), Some(shown_event));
        }
    }

    #[test]
    fn what_is_not_known_is_shown_by_its_fields() {
        let unknown = event(
            "moved",
            Some(3),
            json!({"to_where": "left_side", "rows": 5, "x": null}),
        );
        assert_eq!(
            fields(&unknown, "UPDATE a"),
            "t3 UPDATE a: unit u2 rows 5, to where left side"
        );
    }
}
