//! What became of a run's units: finished, failed, lost, and tried again.

use std::time::Duration;

use upshift_shared::ids::UnitId;

use super::{Context, Refusal, Run, RunState, task_stands};
use crate::engine::{
    Command, Direction, Failure,
    retry::{MAX_LOSSES, Sleeper, Verdict, poison, verdict},
    task::TaskState,
    unit::UnitState,
};

impl Context<'_> {
    /// Wakes the run for a task, or a unit of it, after a pause.
    pub(super) fn wake_after(&mut self, pause: Duration, task: u32, unit: Option<u32>) {
        let sleeper = Sleeper {
            run: self.index,
            task,
            unit,
        };
        self.alarms.set(self.now + pause, sleeper);
    }
}

impl Run {
    /// Whether there is, or was, such a unit, so that a report of it makes sense.
    pub(in crate::engine) fn knows(&self, t: u32, unit: u32) -> Result<(), Refusal> {
        let task = &self.tasks[t as usize];
        match &task.state {
            TaskState::Blocked(_) => Err(task_stands(task)),
            TaskState::Open(units) if !units.exists(unit) => {
                Err(format!("task {} has no unit {}", task.id, UnitId(unit)))
            }
            // Before it is open again, or after all its units are finished: a late report.
            _ => Ok(()),
        }
    }

    /// The unit has committed. `held`: the report ends a lease.
    pub(in crate::engine) fn unit_finished(
        &mut self,
        t: u32,
        unit: u32,
        elapsed: Duration,
        held: bool,
        cx: &mut Context<'_>,
    ) {
        if held {
            self.end_lease(t);
        }
        let task = &mut self.tasks[t as usize];
        match &mut task.state {
            TaskState::Open(units) => {
                units.finish(unit, elapsed);
                self.refresh(t, cx);
            }
            TaskState::Ready | TaskState::Preparing => task.finished_early(UnitId(unit)),
            TaskState::Blocked(_) | TaskState::Recording | TaskState::Done => {}
        }
    }

    /// The unit failed under the lease that this ends.
    pub(in crate::engine) fn unit_failed(
        &mut self,
        t: u32,
        unit: u32,
        failure: Failure,
        cx: &mut Context<'_>,
    ) {
        self.end_lease(t);
        let splittable = self.tasks[t as usize].cuttable && self.direction == Direction::Do;
        self.try_again(t, unit, failure, splittable, cx);
        self.refresh(t, cx);
    }

    /// The worker that held the unit is gone.
    pub(in crate::engine) fn unit_lost(&mut self, t: u32, unit: u32, cx: &mut Context<'_>) {
        self.end_lease(t);
        let TaskState::Open(units) = &mut self.tasks[t as usize].state else {
            return;
        };
        if let Some(entry) = units.trouble(unit) {
            entry.losses += 1;
            let losses = entry.losses;
            if losses < MAX_LOSSES {
                units.offer(unit);
            } else {
                self.fail(t, Some(unit), poison(losses));
            }
        }
        self.refresh(t, cx);
    }

    fn end_lease(&mut self, t: u32) {
        self.tasks[t as usize].in_flight -= 1;
        self.in_flight -= 1;
    }

    pub(super) fn try_again(
        &mut self,
        t: u32,
        unit: u32,
        failure: Failure,
        splittable: bool,
        cx: &mut Context<'_>,
    ) {
        let ending = matches!(self.state, RunState::Ending(_));
        let task = &mut self.tasks[t as usize];
        let id = task.id;
        let TaskState::Open(units) = &mut task.state else {
            return;
        };
        // A late commit may have finished it meanwhile.
        let Some(entry) = units.trouble(unit) else {
            return;
        };
        let failures = entry.failures + 1;
        let delay = match verdict(failure.class, failures, self.max_attempts, splittable) {
            Verdict::Fail => return self.fail(t, Some(unit), failure),
            Verdict::Split => return units.want_split(unit),
            Verdict::Again(delay) => delay,
        };
        entry.failures = failures;
        let attempt = entry.attempt();
        if ending {
            return;
        }
        if delay.is_zero() {
            units.offer(unit);
        } else {
            entry.state = UnitState::Resting;
            cx.wake_after(delay, t, Some(unit));
        }
        cx.out.push(Command::ReportRetry {
            run: self.id,
            task: id,
            unit: UnitId(unit),
            attempt,
            delay,
            failure,
        });
    }

    /// A pause is over.
    pub(in crate::engine) fn wake(&mut self, t: u32, unit: Option<u32>, cx: &mut Context<'_>) {
        let Some(task) = self.tasks.get_mut(t as usize) else {
            return;
        };
        match (unit, &mut task.state) {
            (Some(unit), TaskState::Open(units)) => units.wake(unit),
            (None, _) if task.resting => task.resting = false,
            _ => return,
        }
        self.refresh(t, cx);
    }
}
