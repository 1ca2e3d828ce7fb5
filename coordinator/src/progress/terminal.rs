//! Progress on a terminal: a bar for each running task, one for the whole below them. What should
//! stay readable (checkpoints, retries, losses) is printed above the bars.

use std::{collections::BTreeMap, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use upshift_shared::ids::TaskId;

use super::{
    Progress, ProgressEvent,
    lines::{describe_rest, retry, run_started},
    pace::Pace,
};
use crate::{
    compile::render::text::{cut, printable},
    figures::{count, counted, seconds},
};

/// More running tasks than this are only counted, so that the bars leave room for the rest.
const MOST_BARS: usize = 12;
/// Characters of a task's label.
const LABEL: usize = 44;
/// The bars' resolution: they show fractions, not counts.
const STEPS: u64 = 1_000;
/// How often the bars are drawn again though nothing has happened, so that the clock runs.
const TICK: Duration = Duration::from_millis(250);

/// Draws bars on standard error.
#[derive(Debug)]
pub struct Terminal {
    bars: MultiProgress,
    overall: Option<ProgressBar>,
    running: BTreeMap<TaskId, Running>,
    pace: Pace,
}

/// A task that runs, and its bar if there was room for one.
#[derive(Debug)]
struct Running {
    bar: Option<ProgressBar>,
    label: String,
    rows: u64,
    expected: u64,
}

impl Terminal {
    /// Nothing is drawn before the first event.
    #[must_use]
    pub fn new() -> Self {
        Self::on(ProgressDrawTarget::stderr())
    }

    fn on(target: ProgressDrawTarget) -> Self {
        Self {
            bars: MultiProgress::with_draw_target(target),
            overall: None,
            running: BTreeMap::new(),
            pace: Pace::default(),
        }
    }

    /// A line that stays, above the bars.
    fn say(&self, text: &str) {
        // A terminal that has gone away must not end the run.
        let _ = self.bars.println(printable(text));
    }

    fn begin(&mut self, event: &ProgressEvent) {
        self.say(&run_started(event));
        let bar = ProgressBar::new(STEPS).with_style(style("{bar:32} {percent:>3}%  {msg}"));
        let bar = self.bars.add(bar);
        bar.enable_steady_tick(TICK);
        self.overall = Some(bar);
    }

    fn begin_task(&mut self, task: TaskId, label: &str, expected: u64, is_cut: bool) {
        let label = printable(label);
        let bar = self
            .overall
            .as_ref()
            .filter(|_| self.running.len() < MOST_BARS)
            .map(|overall| {
                let template = if is_cut && expected > 0 {
                    "  {prefix} {bar:20} {msg}"
                } else {
                    "  {prefix} {spinner} {elapsed} {msg}"
                };
                let bar = ProgressBar::new(STEPS)
                    .with_style(style(template))
                    .with_prefix(format!(
                        "{task:<5} {:<LABEL$}",
                        cut(&label, LABEL),
                        task = task.to_string()
                    ));
                let bar = self.bars.insert_before(overall, bar);
                bar.enable_steady_tick(TICK);
                bar
            });
        let running = Running {
            bar,
            label,
            rows: 0,
            expected,
        };
        self.running.insert(task, running);
    }

    fn unit_done(&mut self, task: TaskId, rows: u64) {
        let Some(running) = self.running.get_mut(&task) else {
            return;
        };
        running.rows += rows;
        if let Some(bar) = &running.bar {
            let of = match running.expected {
                0 => String::new(),
                expected => format!(" of about {}", count(expected)),
            };
            bar.set_message(format!("{}{of} rows", count(running.rows)));
            let steps = (STEPS * running.rows)
                .checked_div(running.expected)
                .unwrap_or(0);
            bar.set_position(steps.min(STEPS));
        }
    }

    fn end_task(&mut self, task: TaskId) {
        if let Some(bar) = self.running.remove(&task).and_then(|running| running.bar) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }

    fn end(&mut self) {
        for task in self.running.keys().copied().collect::<Vec<_>>() {
            self.end_task(task);
        }
        if let Some(bar) = self.overall.take() {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }

    /// Brings the bar of the whole up to date.
    fn measure(&mut self, at: Duration) {
        let rate = self.pace.rows_per_second(at);
        let Some(bar) = &self.overall else {
            return;
        };
        let mut parts = vec![format!(
            "{} of {}",
            count(self.pace.tasks_done),
            counted(self.pace.tasks, "task")
        )];
        let unseen = self
            .running
            .values()
            .filter(|running| running.bar.is_none())
            .count();
        if unseen > 0 {
            parts.push(format!("{} more running", count(unseen as u64)));
        }
        parts.push(format!("{} rows/s", count(rate)));
        parts.push(match self.pace.seconds_left(at) {
            Some(0.0) => "recording".to_owned(),
            Some(left) => format!("{} left", seconds(left)),
            None => "estimating the time left".to_owned(),
        });
        bar.set_position((self.pace.fraction() * STEPS as f64) as u64);
        bar.set_message(parts.join(", "));
    }
}

impl Default for Terminal {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress for Terminal {
    fn show(&mut self, at: Duration, event: &ProgressEvent) {
        self.pace.follow(at, event);
        match event {
            ProgressEvent::RunStarted { .. } => self.begin(event),
            ProgressEvent::TaskStarted {
                task,
                label,
                rows,
                cut,
                ..
            } => self.begin_task(*task, label, *rows, *cut),
            ProgressEvent::UnitDone { task, rows, .. } => self.unit_done(*task, *rows),
            ProgressEvent::TaskDone { task } => self.end_task(*task),
            ProgressEvent::Retry { task, .. } => {
                let label = self.running.get(task).map_or("", |running| &running.label);
                self.say(&retry(event, label));
            }
            // The number of workers is in the first line; a log of them belongs in lines and JSON.
            ProgressEvent::WorkerJoined { .. } => {}
            ProgressEvent::RunEnded { .. } => {
                self.end();
                self.say(&describe_rest(event).unwrap_or_default());
            }
            other => {
                if let Some(text) = describe_rest(other) {
                    self.say(&text);
                }
            }
        }
        self.measure(at);
    }
}

fn style(template: &'static str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates above are well-formed")
        .progress_chars("━╸─")
}

#[cfg(test)]
mod tests {
    use upshift_shared::ids::{RunId, UnitId, WorkerId};

    use super::*;
    use crate::progress::{Ending, Going};

    fn second(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn started(task: u32) -> ProgressEvent {
        ProgressEvent::TaskStarted {
            task: TaskId(task),
            label: "UPDATE account_move SET state = 'posted' WHERE state = 'open'".to_owned(),
            module: "account".to_owned(),
            operator: "in-place".to_owned(),
            rows: 1_000_000,
            seconds: 20.0,
            cut: task != 1,
        }
    }

    fn begun() -> Terminal {
        let mut terminal = Terminal::on(ProgressDrawTarget::hidden());
        let run_started = ProgressEvent::RunStarted {
            run: RunId::generate(),
            going: Going::Forward,
            tasks: 20,
            tasks_done: 0,
            rows: 20_000_000,
            seconds: 400.0,
            workers: 4,
        };
        terminal.show(second(0), &run_started);
        for task in 0..20 {
            terminal.show(second(0), &started(task));
        }
        terminal
    }

    #[test]
    fn bars_say_how_far_it_is() {
        let mut terminal = begun();
        let unit_done = ProgressEvent::UnitDone {
            task: TaskId(0),
            unit: UnitId(0),
            worker: WorkerId(1),
            rows: 500_000,
            seconds: 2.0,
        };
        terminal.show(second(10), &unit_done);
        let bar = terminal.running[&TaskId(0)].bar.clone().expect("a bar");
        assert_eq!(bar.message(), "500,000 of about 1,000,000 rows");
        assert_eq!(bar.position(), STEPS / 2);
        let overall = terminal.overall.clone().expect("a bar");
        assert_eq!(
            overall.message(),
            "0 of 20 tasks, 8 more running, 50,000 rows/s, 6 m 30 s left"
        );
        terminal.show(second(20), &ProgressEvent::TaskDone { task: TaskId(0) });
        assert!(bar.is_finished());
        assert!(overall.message().starts_with("1 of 20 tasks, "));
        let ended = ProgressEvent::RunEnded {
            ending: Ending::Stopped,
            message: "resume with: upshift resume".to_owned(),
        };
        terminal.show(second(21), &ended);
        assert!(overall.is_finished());
        assert!(terminal.running.is_empty());
    }
}
