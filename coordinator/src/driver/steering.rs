//! What operators and the server's health want of a run that goes on, made into what the engine, the
//! workers and those who watch are told.
//!
//! The engine knows one pause: it holds while an operator or a health signal wants it.

use tokio::sync::watch;
use upshift_proto::v1::RunStatus;
use upshift_shared::ledger::{
    control::{Control, InForce, Throttled, Unknown},
    run::RunState,
};

use super::{
    Aim, Limits,
    desk::Desk,
    drive::Drive,
    monitor::{Acknowledged, Notice},
};
use crate::{engine::Event, health::Outlook, progress::ProgressEvent};

impl Limits {
    /// With what is wanted of the run: units at once follow the workers, and units of one task those of
    /// the run, unless something else is wanted of them.
    pub fn steer(&mut self, control: &Control) {
        self.workers = control.workers.unwrap_or(self.workers);
        self.max_units = control.max_units.unwrap_or(self.workers);
        self.max_units_per_task = control.max_units_per_task.unwrap_or(self.max_units);
        self.throttle = control.throttle.clone().over(&self.throttle);
    }

    fn caps(&self) -> (u32, u32, u32) {
        (self.workers, self.max_units, self.max_units_per_task)
    }
}

/// How the run is steered at present.
pub(super) struct Steering {
    /// Of what is wanted.
    version: i64,
    /// By an operator.
    paused: bool,
    reason: Option<String>,
    outlook: Outlook,
    engine_paused: bool,
    /// Units at once, of the run and of one task, that the engine was told.
    engine_units: (u32, u32),
    in_force: watch::Sender<Acknowledged>,
}

impl Steering {
    /// As the run begins, or goes on, with what is wanted of it, which `limits` heed; the receiver gets what
    /// is in force whenever that changes.
    pub(super) fn begin(
        control: &Control,
        limits: &Limits,
    ) -> (Self, watch::Receiver<Acknowledged>) {
        let (in_force, receiver) = watch::channel((control.version, InForce::default()));
        let steering = Self {
            version: control.version,
            paused: control.paused,
            reason: control.reason.clone(),
            outlook: Outlook::default(),
            engine_paused: control.paused,
            engine_units: (limits.max_units, limits.max_units_per_task),
            in_force,
        };
        steering.publish(limits);
        (steering, receiver)
    }

    /// Whether an operator wants a pause.
    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Units at once that the health of the server allows; zero: none begins.
    fn healthy_units(&self, limits: &Limits) -> u32 {
        let holds = self.outlook.holds.iter();
        let least = holds.map(|hold| hold.units(limits.max_units)).min();
        least.unwrap_or(limits.max_units)
    }

    /// Why no unit begins, or fewer than could.
    fn why(&self) -> Option<String> {
        let throttled = self.outlook.holds.iter().map(|hold| &hold.reason);
        let reasons: Vec<&str> = throttled.map(String::as_str).collect();
        match (self.paused, &self.reason) {
            (true, Some(reason)) => Some(format!("paused: {reason}")),
            (true, None) => Some("paused".to_owned()),
            (false, _) if reasons.is_empty() => None,
            (false, _) => Some(format!("throttled: {}", reasons.join("; "))),
        }
    }

    fn publish(&self, limits: &Limits) {
        let throttled = self.outlook.holds.iter().map(|hold| Throttled {
            signal: hold.signal.to_owned(),
            reason: hold.reason.clone(),
            units: hold.units(limits.max_units),
        });
        let unknown = self.outlook.unknown.iter().map(|(signal, reason)| Unknown {
            signal: (*signal).to_owned(),
            reason: reason.clone(),
        });
        let in_force = InForce {
            workers: limits.workers,
            max_units: limits.max_units,
            max_units_per_task: limits.max_units_per_task,
            paused: self.paused,
            reason: self.reason.clone(),
            throttled: throttled.collect(),
            unknown: unknown.collect(),
            throttle: limits.throttle.clone(),
        };
        self.in_force.send_replace((self.version, in_force));
    }
}

impl Drive {
    /// Those who watch are told of a pause that is wanted from the beginning.
    pub(super) fn tell_of_pause(&mut self, desk: &Desk) {
        if self.steering.paused {
            let reason = self.steering.reason.clone();
            self.show(desk, &ProgressEvent::Paused { reason });
        }
    }

    /// What the monitor saw.
    pub(super) fn monitored(&mut self, notice: Notice, desk: &mut Desk) {
        match notice {
            Notice::Wanted(control) => self.wanted(&control, desk),
            Notice::Health(outlook) => self.health(outlook, desk),
            Notice::Blind(reason) => {
                let signal = "control and health".to_owned();
                self.show(desk, &ProgressEvent::SignalUnknown { signal, reason });
            }
        }
    }

    fn wanted(&mut self, control: &Control, desk: &mut Desk) {
        self.steering.version = control.version;
        let caps = self.limits.caps();
        self.limits.steer(control);
        let (workers, max_units, max_units_per_task) = self.limits.caps();
        if caps != self.limits.caps() {
            desk.workers_wanted = Some(workers);
            self.show(
                desk,
                &ProgressEvent::LimitsChanged {
                    workers,
                    max_units,
                    max_units_per_task,
                },
            );
        }
        self.pause(control.paused, control.reason.clone(), desk);
        self.steer(desk);
    }

    /// An operator wants a pause, or the end of one.
    fn pause(&mut self, paused: bool, reason: Option<String>, desk: &Desk) {
        let before = std::mem::replace(&mut self.steering.paused, paused);
        let why = std::mem::replace(&mut self.steering.reason, reason.clone());
        match (before, paused) {
            (_, true) if !before || why != reason => {
                self.show(desk, &ProgressEvent::Paused { reason })
            }
            (true, false) => self.show(desk, &ProgressEvent::Resumed),
            _ => {}
        }
    }

    fn health(&mut self, outlook: Outlook, desk: &mut Desk) {
        let before = std::mem::replace(&mut self.steering.outlook, outlook.clone());
        for hold in &before.holds {
            if !outlook.holds.iter().any(|now| now.signal == hold.signal) {
                let signal = hold.signal.to_owned();
                self.show(desk, &ProgressEvent::Unthrottled { signal });
            }
        }
        for hold in outlook.holds {
            if !before.holds.contains(&hold) {
                self.show(
                    desk,
                    &ProgressEvent::Throttled {
                        signal: hold.signal.to_owned(),
                        units: hold.units(self.limits.max_units),
                        reason: hold.reason,
                    },
                );
            }
        }
        for (signal, reason) in outlook.unknown {
            if !before.unknown.iter().any(|(known, _)| *known == signal) {
                let signal = signal.to_owned();
                self.show(desk, &ProgressEvent::SignalUnknown { signal, reason });
            }
        }
        self.steer(desk);
    }

    /// Tells the engine what is different now, and everybody what is in force.
    fn steer(&mut self, desk: &mut Desk) {
        let healthy = self.steering.healthy_units(&self.limits);
        let max_units = healthy.clamp(1, self.limits.max_units.max(1));
        let units = (max_units, self.limits.max_units_per_task.min(max_units));
        let paused = self.steering.paused || healthy == 0;
        let run = self.run;
        if units != self.steering.engine_units && !self.stopping {
            self.steering.engine_units = units;
            desk.feed(Event::LimitsChanged {
                run,
                max_units: units.0,
                max_units_per_task: units.1,
            });
        }
        if paused != self.steering.engine_paused && !self.stopping {
            self.steering.engine_paused = paused;
            desk.feed(if paused {
                Event::PauseRequested { run }
            } else {
                Event::ResumeRequested { run }
            });
        }
        self.steering.publish(&self.limits);
    }

    /// How the run stands.
    pub(super) fn status(&self) -> RunStatus {
        let (state, doing) = match self.aim {
            Aim::Forward => (RunState::Running, "forward"),
            Aim::Back { .. } | Aim::TakeBack => (RunState::RollingBack, "back"),
        };
        RunStatus {
            run: self.run.to_string(),
            database: self.database.clone(),
            state: state.to_string(),
            doing: doing.to_owned(),
            message: self.steering.why().unwrap_or_default(),
            tasks: self.scene.plan.live().count() as u64,
            tasks_done: self.report.tasks_done,
            units_done: self.report.units_done,
            rows_done: self.report.rows_done,
            units_in_flight: self.leases.count() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use upshift_shared::throttle::{Threshold, ThrottleLimits};

    use super::*;
    use crate::health::Hold;

    fn limits(workers: u32) -> Limits {
        Limits {
            workers,
            max_units: workers,
            max_units_per_task: workers,
            throttle: ThrottleLimits {
                wal_budget: Some(Threshold::UpTo(1)),
                ..ThrottleLimits::default()
            },
            max_attempts: 1,
            first_unit_rows: None,
            lock_timeout: Duration::ZERO,
            statement_timeout: Duration::ZERO,
            cut_statement_timeout: Duration::ZERO,
            force: false,
        }
    }

    #[test]
    fn units_follow_workers_unless_something_else_is_wanted() {
        let wanted = |workers, max_units, max_units_per_task| Control {
            workers,
            max_units,
            max_units_per_task,
            ..Control::default()
        };
        let mut limits = limits(4);
        for (control, caps) in [
            (wanted(None, None, None), (4, 4, 4)),
            (wanted(Some(8), None, None), (8, 8, 8)),
            (wanted(Some(8), None, Some(2)), (8, 8, 2)),
            (wanted(Some(2), Some(6), None), (2, 6, 6)),
        ] {
            limits.steer(&control);
            assert_eq!(limits.caps(), caps, "{control:?}");
        }
        let off = Control {
            throttle: ThrottleLimits {
                wal_budget: Some(Threshold::Off),
                ..ThrottleLimits::default()
            },
            ..Control::default()
        };
        limits.steer(&off);
        assert_eq!(limits.throttle.wal_budget, Some(Threshold::Off));
    }

    #[test]
    fn the_tightest_hold_counts_and_what_is_in_force_is_told() {
        let limits = limits(8);
        let control = Control {
            version: 3,
            paused: true,
            reason: Some("month end".to_owned()),
            ..Control::default()
        };
        let (mut steering, mut told) = Steering::begin(&control, &limits);
        let begun = told.borrow_and_update().1.clone();
        assert!(begun.paused && begun.reason == control.reason, "{begun:?}");
        assert_eq!(steering.healthy_units(&limits), 8);
        let hold = |signal, fraction| Hold {
            signal,
            fraction,
            reason: "much".to_owned(),
        };
        steering.outlook.holds = vec![hold("a", 0.5), hold("b", 0.25)];
        assert_eq!(steering.healthy_units(&limits), 2);
        steering.outlook.holds.push(hold("c", 0.0));
        assert_eq!(steering.healthy_units(&limits), 0);
        steering.publish(&limits);
        let (version, in_force) = told.borrow_and_update().clone();
        let units: Vec<u32> = in_force.throttled.iter().map(|t| t.units).collect();
        assert_eq!((version, in_force.workers, units), (3, 8, vec![4, 2, 0]));
    }
}
