//! Progress in a pipe or a log: one line an event. Units of tasks that are not cut are left out: the
//! task's own line says the same.

use std::{collections::HashMap, io::Write, time::Duration};

use upshift_shared::ids::{TaskId, UnitId};

use super::{Compared, Ending, Going, Progress, ProgressEvent, write_line};
use crate::{
    compile::render::text::{cut, printable},
    figures,
};

/// Characters of a task's label.
const LABEL: usize = 60;

/// Writes plain lines.
#[derive(Debug)]
pub struct Lines<W> {
    out: W,
    running: HashMap<TaskId, Running>,
    tasks: u64,
    tasks_done: u64,
}

/// What is known of a task between its start and its end.
#[derive(Debug)]
struct Running {
    label: String,
    since: Duration,
    cut: bool,
    units: u64,
    rows: u64,
}

impl<W: Write> Lines<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            running: HashMap::new(),
            tasks: 0,
            tasks_done: 0,
        }
    }

    /// What to say of an event; `None` where nothing is worth a line.
    fn describe(&mut self, at: Duration, event: &ProgressEvent) -> Option<String> {
        Some(match event {
            ProgressEvent::RunStarted {
                tasks, tasks_done, ..
            } => {
                self.tasks = *tasks;
                self.tasks_done = *tasks_done;
                run_started(event)
            }
            ProgressEvent::TaskStarted {
                task,
                label,
                module,
                operator,
                rows,
                seconds: _,
                cut: is_cut,
            } => {
                let label = cut(&printable(label), LABEL);
                let running = Running {
                    label: label.clone(),
                    since: at,
                    cut: *is_cut,
                    units: 0,
                    rows: 0,
                };
                self.running.insert(*task, running);
                format!("{task} {module}: {label}: {operator}{}", about_rows(*rows))
            }
            ProgressEvent::UnitDone {
                task,
                unit,
                rows,
                seconds,
                worker,
            } => {
                let running = self.running.get_mut(task)?;
                running.units += 1;
                running.rows += rows;
                if !running.cut {
                    return None;
                }
                format!(
                    "{task} {}: unit {unit} on {worker}: {}, {} (so far {})",
                    running.label,
                    figures::counted(*rows, "row"),
                    figures::seconds(*seconds),
                    figures::counted(running.rows, "row"),
                )
            }
            ProgressEvent::TaskDone { task } => self.task_done(at, *task),
            ProgressEvent::Retry { task, .. } => retry(event, self.label(*task)),
            other => describe_rest(other)?,
        })
    }

    fn label(&self, task: TaskId) -> &str {
        self.running.get(&task).map_or("", |r| r.label.as_str())
    }

    fn task_done(&mut self, at: Duration, task: TaskId) -> String {
        self.tasks_done += 1;
        let so_far = format!("{} of {} tasks", self.tasks_done, self.tasks);
        let Some(running) = self.running.remove(&task) else {
            return format!("{task} done ({so_far})");
        };
        let took = at.saturating_sub(running.since).as_secs_f64();
        let amount = match (running.rows, running.cut) {
            (0, false) => String::new(),
            (rows, false) => format!(" {},", figures::counted(rows, "row")),
            (rows, true) => format!(
                " {} in {},",
                figures::counted(rows, "row"),
                figures::counted(running.units, "unit")
            ),
        };
        format!(
            "{task} {}: done:{amount} {} ({so_far})",
            running.label,
            figures::seconds(took),
        )
    }
}

impl<W: Write + Send> Progress for Lines<W> {
    fn show(&mut self, at: Duration, event: &ProgressEvent) {
        if let Some(text) = self.describe(at, event) {
            let line = format!("[{:>8.1}] {}", at.as_secs_f64(), printable(&text));
            write_line(&mut self.out, &line);
        }
    }
}

fn about_rows(rows: u64) -> String {
    if rows == 0 {
        String::new()
    } else {
        format!(", about {}", figures::counted(rows, "row"))
    }
}

/// The first line of a run: what it is and what lies before it.
pub(super) fn run_started(event: &ProgressEvent) -> String {
    let ProgressEvent::RunStarted {
        run,
        going,
        tasks,
        tasks_done,
        rows,
        seconds: _,
        workers,
    } = event
    else {
        return String::new();
    };
    let verb = match going {
        Going::Forward => "begins",
        Going::Resumed => "goes on",
        Going::Back => "goes back",
        Going::Commit => "commits",
    };
    let already = if *tasks_done > 0 {
        format!(", {} done already", figures::count(*tasks_done))
    } else {
        String::new()
    };
    format!(
        "run {run} {verb}: {}{already}{}, {}",
        figures::counted(*tasks, "task"),
        about_rows(*rows),
        figures::counted(u64::from(*workers), "worker"),
    )
}

/// A unit that will be tried again.
pub(super) fn retry(event: &ProgressEvent, label: &str) -> String {
    let ProgressEvent::Retry {
        task,
        unit,
        attempt,
        delay,
        reason,
    } = event
    else {
        return String::new();
    };
    let when = if *delay > 0.0 {
        format!("in {}", figures::seconds(*delay))
    } else {
        "at once".to_owned()
    };
    format!(
        "{task} {label}: unit {unit} failed and will be tried again {when} (attempt {attempt}): \
         {reason}"
    )
}

/// One event on its own, as the event log has it; `label` is what a person calls its task.
#[must_use]
pub fn describe(event: &ProgressEvent, label: &str) -> String {
    match event {
        ProgressEvent::RunStarted { .. } => run_started(event),
        ProgressEvent::TaskStarted {
            task,
            label,
            module,
            operator,
            rows,
            ..
        } => format!(
            "{task} {module}: {}: {operator}{}",
            cut(&printable(label), LABEL),
            about_rows(*rows)
        ),
        ProgressEvent::UnitDone { task, unit, .. } => format!("{task} {label}: unit {unit} done"),
        ProgressEvent::TaskDone { task } => format!("{task} {label}: done"),
        ProgressEvent::Retry { .. } => retry(event, label),
        other => describe_rest(other).unwrap_or_default(),
    }
}

/// What waits, for people: `t3 unit u0 `, or nothing for the run as a whole.
fn waiter(task: Option<TaskId>, unit: Option<UnitId>) -> String {
    match (task, unit) {
        (Some(task), Some(unit)) => format!("{task}: unit {unit} "),
        (Some(task), None) => format!("{task}: the driver "),
        (None, _) => "the run ".to_owned(),
    }
}

/// What holds a run up, other than a unit's retry; `None` for all else.
fn describe_delay(event: &ProgressEvent) -> Option<String> {
    Some(match event {
        ProgressEvent::OperationRetry {
            task,
            operation,
            attempt,
            delay,
            reason,
        } => format!(
            "{}lost its connection while it was to {operation}; again in {} (attempt {attempt}): {reason}",
            waiter(*task, None),
            figures::seconds(*delay)
        ),
        ProgressEvent::OperationFailed {
            task,
            operation,
            reason,
        } => format!("{task}: the driver could not {operation}: {reason}"),
        ProgressEvent::Waiting {
            task,
            unit,
            seconds,
            reason,
            ..
        } => format!(
            "{}{reason}; for {} so far",
            waiter(*task, *unit),
            figures::seconds(*seconds)
        ),
        ProgressEvent::WaitEnded {
            task,
            unit,
            seconds,
            ..
        } => format!(
            "{}waited {}; that is over",
            waiter(*task, *unit),
            figures::seconds(*seconds)
        ),
        _ => return None,
    })
}

/// Events that need nothing remembered. `None` for those that [`Lines::describe`] handles.
pub(super) fn describe_rest(event: &ProgressEvent) -> Option<String> {
    if let Some(text) = describe_delay(event) {
        return Some(text);
    }
    Some(match event {
        ProgressEvent::UnitSplit { task, unit } => {
            format!("{task}: unit {unit} ran into the statement timeout and was cut in two")
        }
        ProgressEvent::CheckpointPrepared { module } => format!("checkpoint {module} prepared"),
        ProgressEvent::WorkerJoined { worker, name } => format!("worker {worker} ({name}) joined"),
        ProgressEvent::WorkerLost { worker, reason } => {
            format!("worker {worker} lost: {reason}; its units are offered again")
        }
        ProgressEvent::LockTakenAgain => {
            "the lock of the database was lost, and taken again".to_owned()
        }
        ProgressEvent::Cancelling { units } => {
            format!("{} in flight: cancelled", figures::counted(*units, "unit"))
        }
        ProgressEvent::Stopping { reason, units } => format!(
            "stopping: {reason}; waiting for {} in flight",
            figures::counted(*units, "unit")
        ),
        ProgressEvent::WorkerLeft { worker } => format!("worker {worker} has left"),
        ProgressEvent::Paused { .. }
        | ProgressEvent::Resumed
        | ProgressEvent::Throttled { .. }
        | ProgressEvent::Unthrottled { .. }
        | ProgressEvent::SignalUnknown { .. }
        | ProgressEvent::LimitsChanged { .. } => return steered(event),
        ProgressEvent::Compared { work } => {
            let line = |one: &Compared| {
                format!(
                    "\n    {}: estimated {}, took {}",
                    one.label,
                    figures::seconds(one.estimated),
                    figures::seconds(one.took)
                )
            };
            let lines: String = work.iter().map(line).collect();
            format!("estimates, in time of one worker:{lines}")
        }
        ProgressEvent::RunEnded { ending, message } => run_ended(*ending, message),
        ProgressEvent::RunStarted { .. }
        | ProgressEvent::TaskStarted { .. }
        | ProgressEvent::UnitDone { .. }
        | ProgressEvent::TaskDone { .. }
        | ProgressEvent::OperationRetry { .. }
        | ProgressEvent::OperationFailed { .. }
        | ProgressEvent::Waiting { .. }
        | ProgressEvent::WaitEnded { .. }
        | ProgressEvent::Retry { .. } => return None,
    })
}

/// What operators, or the health of the server, want of the run.
fn steered(event: &ProgressEvent) -> Option<String> {
    Some(match event {
        ProgressEvent::Paused { reason } => {
            let why = reason.as_ref().map(|reason| format!(" ({reason})"));
            format!(
                "paused{}: no new units begin until the run is resumed",
                why.unwrap_or_default()
            )
        }
        ProgressEvent::Resumed => "resumed".to_owned(),
        ProgressEvent::Throttled {
            signal,
            reason,
            units,
        } => format!("throttled by {signal}, {}: {reason}", units_at_once(*units)),
        ProgressEvent::Unthrottled { signal } => format!("no longer throttled by {signal}"),
        ProgressEvent::SignalUnknown { signal, reason } => {
            format!("{signal} cannot be seen: {reason}")
        }
        ProgressEvent::LimitsChanged {
            workers,
            max_units,
            max_units_per_task,
        } => format!(
            "from now on {}, {}, {} of them of one task",
            figures::counted(u64::from(*workers), "worker"),
            units_at_once(*max_units),
            figures::count(u64::from(*max_units_per_task))
        ),
        _ => return None,
    })
}

/// `2 units at once`
pub(crate) fn units_at_once(units: u32) -> String {
    match units {
        0 => "no new units".to_owned(),
        units => format!("{} at once", figures::counted(u64::from(units), "unit")),
    }
}

/// How a run ended, and what comes next.
pub(super) fn run_ended(ending: Ending, message: &str) -> String {
    let word = match ending {
        Ending::SnapshotDue => "ready for a snapshot",
        Ending::HandedOver => "handed over to another coordinator",
        Ending::Prepared => "prepared",
        Ending::Committed => "committed",
        Ending::RolledBack => "rolled back",
        Ending::Stopped => "stopped",
        Ending::Failed => "failed",
        Ending::Stuck => "stuck",
    };
    if message.is_empty() {
        word.to_owned()
    } else {
        format!("{word}: {message}")
    }
}

#[cfg(test)]
mod tests {
    use upshift_shared::ids::{RunId, WorkerId};

    use super::*;
    use crate::progress::Json;

    fn events() -> Vec<ProgressEvent> {
        let (task, unit, worker) = (TaskId(3), UnitId(0), WorkerId(1));
        vec![
            ProgressEvent::RunStarted {
                run: "0190a2b4-0000-7000-8000-0123456789ab"
                    .parse::<RunId>()
                    .expect("a run id"),
                going: Going::Resumed,
                tasks: 4,
                tasks_done: 3,
                rows: 12_000,
                seconds: 1.5,
                workers: 2,
            },
            ProgressEvent::TaskStarted {
                task,
                label: "UPDATE a\n SET b = \u{1b}[2J".to_owned(),
                module: "base".to_owned(),
                operator: "in-place".to_owned(),
                rows: 12_000,
                seconds: 1.5,
                cut: true,
            },
            ProgressEvent::Retry {
                task,
                unit,
                attempt: 2,
                delay: 0.5,
                reason: "canceling statement due to lock timeout".to_owned(),
            },
            ProgressEvent::UnitDone {
                task,
                unit,
                worker,
                rows: 11_999,
                seconds: 1.25,
            },
            ProgressEvent::TaskDone { task },
            ProgressEvent::CheckpointPrepared {
                module: "base".to_owned(),
            },
            ProgressEvent::RunEnded {
                ending: Ending::Prepared,
                message: String::new(),
            },
        ]
    }

    fn shown<W: Progress>(mut progress: W, out: impl FnOnce(W) -> Vec<u8>) -> String {
        for (second, event) in (0..).zip(&events()) {
            progress.show(Duration::from_secs(second), event);
        }
        String::from_utf8(out(progress)).expect("text")
    }

    #[test]
    fn a_run_in_lines() {
        insta::assert_snapshot!(shown(Lines::new(Vec::new()), |lines| lines.out));
    }

    #[test]
    fn what_is_wanted_of_a_run_in_lines() {
        let text = str::to_owned;
        for (event, line) in [
            (
                ProgressEvent::Paused { reason: None },
                "paused: no new units begin until the run is resumed",
            ),
            (
                ProgressEvent::Paused {
                    reason: Some(text("month end")),
                },
                "paused (month end): no new units begin until the run is resumed",
            ),
            (
                ProgressEvent::Throttled {
                    signal: text("WAL rate"),
                    reason: text("much"),
                    units: 2,
                },
                "throttled by WAL rate, 2 units at once: much",
            ),
            (
                ProgressEvent::Throttled {
                    signal: text("WAL rate"),
                    reason: text("too much"),
                    units: 0,
                },
                "throttled by WAL rate, no new units: too much",
            ),
            (
                ProgressEvent::LimitsChanged {
                    workers: 4,
                    max_units: 1,
                    max_units_per_task: 1,
                },
                "from now on 4 workers, 1 unit at once, 1 of them of one task",
            ),
        ] {
            assert_eq!(describe_rest(&event).as_deref(), Some(line));
        }
    }

    #[test]
    fn a_run_in_json() {
        insta::assert_snapshot!(shown(Json::new(Vec::new()), |json| json.out));
    }
}
