//! The event log's writer. What the driver shows goes into it, except units: each has a row of its own in
//! the ledger, and traffic must not grow with them; a task says at its end what its units came to.
//!
//! Events wait here and are written about once a second in one statement; the last ones in the transaction
//! that records the run's end. While the database is away they wait, as many as there is room for.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use serde_json::{Value, json};
use upshift_shared::{
    Error, Result,
    clock::Stopwatch,
    ids::{TaskId, UnitId},
    ledger::event::{Batch, Draft},
};

use super::{Driver, Operation, failure, operation::Answer};
use crate::{engine::StopReason, progress::ProgressEvent};

/// From the first event that waits to its writing.
const GATHER: Duration = Duration::from_secs(1);
/// After a write that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// Events that wait; when there are more, some are only counted.
const ROOM: usize = 4_096;
/// What is only counted first: these come in any number while something is amiss.
const MANY: [&str; 5] = [
    "retry",
    "operation_retry",
    "unit_split",
    "waiting",
    "wait_ended",
];

/// Events on their way into the ledger.
#[derive(Debug)]
pub(super) struct Journal {
    watch: Stopwatch,
    /// The place in the log of the first that waits.
    next: i64,
    waiting: VecDeque<(Duration, Draft)>,
    /// So many of them, from the front, were sent: nobody knows whether they arrived, so they keep their
    /// places.
    sent: usize,
    /// Whether a write is under way.
    writing: bool,
    left_out: u64,
    work: HashMap<TaskId, Work>,
    due: Option<Duration>,
    closed: bool,
}

/// What the units of a task came to.
#[derive(Debug, Default, Clone, Copy)]
struct Work {
    began: Duration,
    units: u64,
    rows: u64,
    seconds: f64,
}

impl Journal {
    /// `watch` is what the instants of events are readings of; `last` the `seq` of the run's last event.
    pub(super) fn new(watch: Stopwatch, last: i64) -> Self {
        Self {
            watch,
            next: last + 1,
            waiting: VecDeque::new(),
            sent: 0,
            writing: false,
            left_out: 0,
            work: HashMap::new(),
            due: None,
            closed: false,
        }
    }

    /// Keeps an event until it is written.
    pub(super) fn record(&mut self, at: Duration, event: &ProgressEvent) {
        if self.closed {
            return;
        }
        let mut draft = match event {
            ProgressEvent::UnitDone {
                task,
                rows,
                seconds,
                ..
            } => {
                let work = self.work.entry(*task).or_default();
                work.units += 1;
                work.rows += rows;
                work.seconds += seconds;
                return;
            }
            event => draft(event),
        };
        match event {
            ProgressEvent::TaskStarted { task, .. } => {
                self.work.entry(*task).or_default().began = at;
            }
            ProgressEvent::TaskDone { task } => {
                let work = self.work.remove(task).unwrap_or(Work {
                    began: at,
                    ..Work::default()
                });
                draft.detail = json!({
                    "units": work.units,
                    "rows": work.rows,
                    "seconds": rounded(work.seconds),
                    "took": rounded(at.saturating_sub(work.began).as_secs_f64()),
                });
            }
            _ => {}
        }
        self.make_room();
        self.waiting.push_back((at, draft));
        if !self.writing {
            self.due.get_or_insert(at + GATHER);
        }
    }

    fn make_room(&mut self) {
        if self.waiting.len() < ROOM {
            return;
        }
        let is_one_of_many = |place: &usize| {
            let (_, draft) = &self.waiting[*place];
            MANY.contains(&draft.kind.as_str())
        };
        let place = (self.sent..self.waiting.len()).find(is_one_of_many);
        if self.waiting.remove(place.unwrap_or(self.sent)).is_some() {
            self.left_out += 1;
        }
    }

    /// When the next write is due.
    fn due(&self) -> Option<Duration> {
        self.due.filter(|_| !self.writing && !self.closed)
    }

    /// What is to be written, if it is time.
    fn take_due(&mut self, now: Duration) -> Option<Batch> {
        self.due().filter(|due| *due <= now)?;
        self.writing = true;
        self.due = None;
        Some(self.batch(now))
    }

    fn batch(&mut self, now: Duration) -> Batch {
        if self.left_out > 0 {
            let left_out = Draft::new("left_out", json!({"events": self.left_out}));
            self.waiting.push_back((now, left_out));
            self.left_out = 0;
        }
        self.sent = self.waiting.len();
        Batch {
            first: self.next,
            events: self.waiting.iter().cloned().collect(),
            watch: self.watch,
        }
    }

    fn written(&mut self, now: Duration, count: usize) {
        self.writing = false;
        self.waiting.drain(..count);
        self.sent -= count;
        self.next += count as i64;
        if !self.waiting.is_empty() {
            self.due = Some(now + GATHER);
        }
    }

    fn failed(&mut self, now: Duration) {
        self.writing = false;
        self.due = Some(now + AFTER_FAILURE);
    }

    /// The last that there is to write: later events are no longer the run's.
    pub(super) fn close(&mut self, now: Duration) -> Batch {
        self.closed = true;
        self.batch(now)
    }
}

/// An event as the ledger has it.
pub(crate) fn draft(event: &ProgressEvent) -> Draft {
    let mut fields = match serde_json::to_value(event) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let mut number = |name| {
        let number = fields.remove(name)?;
        number
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
    };
    let (task, unit) = (number("task").map(TaskId), number("unit").map(UnitId));
    let kind = fields.remove("event");
    Draft {
        kind: kind
            .as_ref()
            .and_then(Value::as_str)
            .unwrap_or("unknown")
            .to_owned(),
        task,
        unit,
        detail: Value::Object(fields),
    }
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

impl Driver {
    /// How long until the driver has something to do by itself.
    pub(super) fn tick_in(&self) -> Duration {
        let look = self.report.waits.due();
        let due = self.report.journal.due().map_or(look, |due| due.min(look));
        due.saturating_sub(self.watch.elapsed())
    }

    /// It has come to that.
    pub(super) fn tick(&mut self) {
        let now = self.watch.elapsed();
        if let Some(batch) = self.report.journal.take_due(now) {
            self.operate(Operation::WriteEvents(batch));
        }
        self.consider_waits(now);
    }

    /// Something that the engine did not ask for has come to its end.
    pub(super) fn done_aside(&mut self, operation: &Operation, result: Result<Answer>) {
        let now = self.watch.elapsed();
        match (operation, result) {
            (Operation::WriteEvents(batch), Ok(_)) => {
                self.report.journal.written(now, batch.events.len());
            }
            (Operation::WriteEvents(_), Err(error @ Error::Fenced { .. })) => {
                self.report.journal.failed(now);
                self.stop(StopReason::Driver(failure(&error)));
            }
            (Operation::WriteEvents(_), Err(error)) => {
                tracing::warn!(%error, "events could not be written; they wait");
                self.report.journal.failed(now);
            }
            (Operation::Control(_), Ok(_)) => {}
            (Operation::Control(_), Err(error)) => {
                let reason = format!("the ledger does not know of the last pause: {error}");
                let signal = "control".to_owned();
                self.show(&ProgressEvent::SignalUnknown { signal, reason });
            }
            (_, Ok(Answer::Looked(sessions))) => self.looked(now, &sessions),
            (_, looked) => {
                tracing::debug!(?looked, "nobody knows what the sessions are at");
                self.report.waits.saw_nothing();
            }
        }
    }

    /// Whatever is not written yet, the run's end included.
    pub(super) fn last_events(&mut self, end: &ProgressEvent) -> Batch {
        let now = self.watch.elapsed();
        for ended in self.report.waits.end_all(now) {
            self.show(&ended);
        }
        if let Some(compared) = self.compared() {
            self.report.journal.record(now, &compared);
        }
        self.report.journal.record(now, end);
        self.report.journal.close(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Ending;

    fn second(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn retry(task: u32) -> ProgressEvent {
        ProgressEvent::Retry {
            task: TaskId(task),
            unit: UnitId(1),
            attempt: 2,
            delay: 0.5,
            reason: "deadlock detected".to_owned(),
        }
    }

    fn journal() -> Journal {
        Journal::new(Stopwatch::start(), 7)
    }

    #[test]
    fn units_are_summed_up_by_their_task() {
        let mut journal = journal();
        let task = TaskId(3);
        for unit in 0..5 {
            let done = ProgressEvent::UnitDone {
                task,
                unit: UnitId(unit),
                worker: upshift_shared::ids::WorkerId(1),
                rows: 10,
                seconds: 0.5,
            };
            journal.record(second(1), &done);
        }
        assert_eq!(journal.due(), None, "units are no events");
        journal.record(second(2), &ProgressEvent::TaskDone { task });
        assert!(
            journal.take_due(second(2)).is_none(),
            "gathered for a second"
        );
        let batch = journal.take_due(second(3)).expect("a second later");
        assert_eq!(batch.first, 8);
        let (_, draft) = &batch.events[0];
        assert_eq!((draft.kind.as_str(), draft.task), ("task_done", Some(task)));
        assert_eq!(draft.detail["units"], 5);
        assert_eq!(draft.detail["rows"], 50);
        assert_eq!(draft.detail["seconds"], 2.5);
    }

    #[test]
    fn what_was_sent_keeps_its_place_until_it_is_known_to_be_written() {
        let mut journal = journal();
        journal.record(second(0), &retry(0));
        let first = journal.take_due(second(1)).expect("due");
        journal.record(second(1), &retry(1));
        assert_eq!(journal.due(), None, "one write at a time");
        journal.failed(second(1));
        let again = journal.take_due(second(6)).expect("due again");
        assert_eq!(again.first, first.first);
        assert_eq!(again.events[0], first.events[0]);
        assert_eq!(again.events.len(), 2);
        journal.record(second(6), &retry(2));
        journal.written(second(7), 2);
        let ending = ProgressEvent::RunEnded {
            ending: Ending::Prepared,
            message: String::new(),
        };
        journal.record(second(7), &ending);
        let last = journal.close(second(7));
        assert_eq!((last.first, last.events.len()), (10, 2));
        journal.record(second(8), &retry(3));
        assert_eq!(journal.waiting.len(), 2, "it is closed");
    }

    #[test]
    fn retries_give_way_where_there_is_no_room() {
        let mut journal = journal();
        journal.record(second(0), &ProgressEvent::Paused { reason: None });
        for _ in 0..ROOM + 10 {
            journal.record(second(0), &retry(0));
        }
        journal.record(second(0), &ProgressEvent::Resumed);
        assert_eq!(journal.waiting.len(), ROOM);
        let batch = journal.take_due(second(1)).expect("due");
        let kinds = |kind: &str| batch.events.iter().filter(|(_, d)| d.kind == kind).count();
        assert_eq!((kinds("paused"), kinds("resumed")), (1, 1));
        let (_, last) = batch.events.last().expect("one says how many are missing");
        assert_eq!(last.kind, "left_out");
        assert_eq!(last.detail["events"], 12);
        // What was sent stays; what comes now is what gives way.
        for _ in 0..10 {
            journal.record(second(2), &retry(0));
        }
        assert!(journal.waiting.len() <= ROOM + 2);
        assert_eq!(
            journal.batch(second(2)).events[..ROOM],
            batch.events[..ROOM]
        );
    }
}
