//! How far a run is, how fast it goes, and how long it will still take.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use upshift_shared::ids::TaskId;

use super::ProgressEvent;

/// Rows a second are those of so many last seconds.
const WINDOW: Duration = Duration::from_secs(15);
/// What every task counts, however short it is expected to be, so that many short ones are seen to
/// go by.
const LEAST: f64 = 0.02;
/// Before this much of the work is done, any guess of the time left would be a bad one.
const TOO_EARLY: f64 = 0.02;

/// Follows the events of a run.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Expected seconds of all tasks that this run has to do.
    expected: f64,
    /// Expected seconds of those that it has done.
    done: f64,
    running: HashMap<TaskId, Share>,
    /// When rows were done, and how many.
    recent: VecDeque<(Duration, u64)>,
    recent_rows: u64,
    pub(super) tasks: u64,
    pub(super) tasks_done: u64,
    pub(super) rows: u64,
}

/// A running task's share of the work.
#[derive(Debug)]
struct Share {
    seconds: f64,
    rows_expected: u64,
    rows: u64,
}

impl Share {
    /// Done so far, in expected seconds. More rows than expected do not make it more than all of it,
    /// and it is not all done before its last word.
    fn done(&self) -> f64 {
        match self.rows_expected {
            0 => 0.0,
            expected => self.seconds * (self.rows as f64 / expected as f64).min(0.99),
        }
    }
}

impl Pace {
    pub(super) fn follow(&mut self, at: Duration, event: &ProgressEvent) {
        match event {
            ProgressEvent::RunStarted {
                tasks,
                tasks_done,
                seconds,
                ..
            } => {
                *self = Self::default();
                self.tasks = *tasks;
                self.tasks_done = *tasks_done;
                self.expected = seconds + LEAST * tasks.saturating_sub(*tasks_done) as f64;
            }
            ProgressEvent::TaskStarted {
                task,
                rows,
                seconds,
                ..
            } => {
                let share = Share {
                    seconds: seconds + LEAST,
                    rows_expected: *rows,
                    rows: 0,
                };
                self.running.insert(*task, share);
            }
            ProgressEvent::UnitDone { task, rows, .. } => {
                self.rows += rows;
                self.recent.push_back((at, *rows));
                self.recent_rows += rows;
                if let Some(share) = self.running.get_mut(task) {
                    share.rows += rows;
                }
            }
            ProgressEvent::TaskDone { task } => {
                self.tasks_done += 1;
                let seconds = self
                    .running
                    .remove(task)
                    .map_or(LEAST, |share| share.seconds);
                self.done += seconds;
            }
            _ => {}
        }
    }

    /// Rows a second, over the last while.
    pub(super) fn rows_per_second(&mut self, at: Duration) -> u64 {
        while let Some((then, rows)) = self.recent.front() {
            if at.saturating_sub(*then) <= WINDOW {
                break;
            }
            self.recent_rows -= rows;
            self.recent.pop_front();
        }
        let seconds = at.min(WINDOW).as_secs_f64().max(1.0);
        (self.recent_rows as f64 / seconds) as u64
    }

    /// How much of the work is done, from 0 to 1.
    pub(super) fn fraction(&self) -> f64 {
        if self.tasks_done >= self.tasks {
            return 1.0;
        }
        let running: f64 = self.running.values().map(Share::done).sum();
        ((self.done + running) / self.expected.max(LEAST)).clamp(0.0, 0.99)
    }

    /// Seconds that it will still take, if it goes on as it went; `None` while that cannot be said.
    pub(super) fn seconds_left(&self, at: Duration) -> Option<f64> {
        let fraction = self.fraction();
        (fraction >= TOO_EARLY).then(|| at.as_secs_f64() * (1.0 - fraction) / fraction)
    }
}

#[cfg(test)]
mod tests {
    use upshift_shared::ids::{RunId, UnitId, WorkerId};

    use super::*;
    use crate::progress::Going;

    fn second(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_time_left_follows_the_work_that_is_done() {
        let mut pace = Pace::default();
        let run_started = ProgressEvent::RunStarted {
            run: RunId::generate(),
            going: Going::Forward,
            tasks: 2,
            tasks_done: 0,
            rows: 1_000,
            seconds: 100.0,
            workers: 1,
        };
        pace.follow(second(0), &run_started);
        assert_eq!(pace.seconds_left(second(0)), None);
        let started = |task| ProgressEvent::TaskStarted {
            task: TaskId(task),
            label: String::new(),
            module: String::new(),
            operator: String::new(),
            rows: 500,
            seconds: 50.0,
            cut: true,
        };
        let done = |task, unit, rows| ProgressEvent::UnitDone {
            task: TaskId(task),
            unit: UnitId(unit),
            worker: WorkerId(1),
            rows,
            seconds: 1.0,
        };
        pace.follow(second(0), &started(0));
        pace.follow(second(5), &done(0, 0, 250));
        assert!((pace.fraction() - 0.25).abs() < 0.01);
        assert!((pace.seconds_left(second(5)).expect("a guess") - 15.0).abs() < 0.5);
        assert_eq!(pace.rows_per_second(second(5)), 50);
        // Twice as many rows as expected.
        pace.follow(second(6), &done(0, 1, 750));
        assert!(pace.fraction() < 0.5);
        pace.follow(second(7), &ProgressEvent::TaskDone { task: TaskId(0) });
        assert!((pace.fraction() - 0.5).abs() < 0.01);
        assert_eq!(pace.rows_per_second(second(25)), 0, "long ago");
        pace.follow(second(30), &started(1));
        pace.follow(second(31), &ProgressEvent::TaskDone { task: TaskId(1) });
        assert!((pace.fraction() - 1.0).abs() < f64::EPSILON);
        assert_eq!(pace.seconds_left(second(31)), Some(0.0));
    }
}
