//! All signals of a run together, and the hysteresis: what holds a run back does so at once, and lets go
//! only after it has been well for a while, so that a run does not flap.

use std::{collections::VecDeque, time::Duration};

use serde_json::Value;
use upshift_shared::throttle::ThrottleLimits;

use super::{Moment, Signal, Verdict, signals};

/// The worst of so many verdicts stands.
const MEMORY: usize = 3;

/// A signal that holds the run back.
#[derive(Debug, Clone, PartialEq)]
pub struct Hold {
    /// Which.
    pub signal: &'static str,
    /// The part of the slots that may be used; zero: nothing begins.
    pub fraction: f64,
    /// What was seen when it began to hold so tightly.
    pub reason: String,
}

impl Hold {
    /// Units at once, of so many: one at least, unless nothing begins.
    #[must_use]
    pub fn units(&self, of: u32) -> u32 {
        if self.fraction <= 0.0 {
            return 0;
        }
        ((f64::from(of) * self.fraction) as u32).clamp(1, of.max(1))
    }
}

/// What all signals say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outlook {
    /// Those that hold the run back.
    pub holds: Vec<Hold>,
    /// Those that cannot be seen, with why.
    pub unknown: Vec<(&'static str, String)>,
}

/// Judges.
pub struct Governor {
    watched: Vec<Watched>,
}

struct Watched {
    signal: Box<dyn Signal>,
    /// The last verdicts, the newest last.
    recent: VecDeque<Verdict>,
    hold: Option<Hold>,
}

impl Governor {
    /// For the signals that these thresholds ask for.
    #[must_use]
    pub fn new(limits: &ThrottleLimits) -> Self {
        Self::of(signals(limits))
    }

    fn of(signals: Vec<Box<dyn Signal>>) -> Self {
        let watch = |signal| Watched {
            signal,
            recent: VecDeque::with_capacity(MEMORY + 1),
            hold: None,
        };
        Self {
            watched: signals.into_iter().map(watch).collect(),
        }
    }

    /// What to ask a server of this version: an SQL expression of type jsonb; `None` where there is
    /// nothing to ask.
    #[must_use]
    pub fn question(&self, version: u32) -> Option<String> {
        if self.watched.is_empty() {
            return None;
        }
        let questions = self.watched.iter().map(|w| w.signal.question(version));
        let questions: Vec<String> = questions.collect();
        Some(format!("jsonb_build_array({})", questions.join(", ")))
    }

    /// Judges the answer.
    pub fn observe(&mut self, answer: &Value, at: Duration) -> Outlook {
        for (place, watched) in self.watched.iter_mut().enumerate() {
            watched.observe(&answer[place], at);
        }
        self.outlook()
    }

    /// Nothing can be seen any more, and has not for long: nothing is held back.
    pub fn let_go(&mut self) -> Outlook {
        for watched in &mut self.watched {
            watched.recent.clear();
            watched.hold = None;
        }
        self.outlook()
    }

    fn outlook(&self) -> Outlook {
        let unknown = |watched: &Watched| match watched.recent.back() {
            Some(Verdict::Unknown { reason }) => Some((watched.signal.name(), reason.clone())),
            _ => None,
        };
        Outlook {
            holds: self.watched.iter().filter_map(|w| w.hold.clone()).collect(),
            unknown: self.watched.iter().filter_map(unknown).collect(),
        }
    }
}

impl Watched {
    fn observe(&mut self, answer: &Value, at: Duration) {
        let held = self.hold.is_some();
        let verdict = self.signal.judge(answer, Moment { at, held });
        self.recent.push_back(verdict);
        if self.recent.len() > MEMORY {
            self.recent.pop_front();
        }
        // The newest of equals, whose reason is the fresher one.
        let worst = self
            .recent
            .iter()
            .rev()
            .min_by(|a, b| a.fraction().total_cmp(&b.fraction()));
        let hold = match worst {
            Some(verdict @ (Verdict::Slow { reason, .. } | Verdict::Pause { reason })) => {
                Some(Hold {
                    signal: self.signal.name(),
                    fraction: verdict.fraction(),
                    reason: reason.clone(),
                })
            }
            _ => None,
        };
        let same = match (&self.hold, &hold) {
            (Some(before), Some(now)) => before.fraction == now.fraction,
            _ => false,
        };
        // A reason that changes with every look would be told with every look.
        if !same {
            self.hold = hold;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Says what it is told.
    struct Scripted;

    impl Signal for Scripted {
        fn name(&self) -> &'static str {
            "scripted"
        }

        fn question(&self, _version: u32) -> String {
            "1".to_owned()
        }

        fn judge(&mut self, answer: &Value, _moment: Moment) -> Verdict {
            let reason = answer.to_string();
            match answer.as_f64() {
                None => Verdict::Unknown { reason },
                Some(0.0) => Verdict::Pause { reason },
                Some(1.0) => Verdict::Go,
                Some(fraction) => Verdict::Slow { fraction, reason },
            }
        }
    }

    #[test]
    fn holds_begin_at_once_and_end_when_all_has_been_well_for_a_while() {
        let mut governor = Governor::of(vec![Box::new(Scripted)]);
        assert_eq!(
            governor.question(150_000).as_deref(),
            Some("jsonb_build_array(1)")
        );
        for (second, said, held, reason) in [
            (0, json!(1.0), None, ""),
            (2, json!(0.5), Some(0.5), "0.5"),
            (4, json!(1.0), Some(0.5), "0.5"),
            (6, json!(0.5), Some(0.5), "0.5"),
            (8, json!(0.0), Some(0.0), "0.0"),
            (10, json!(0.5), Some(0.0), "0.0"),
            (12, json!(0.5), Some(0.0), "0.0"),
            (14, json!(1.0), Some(0.5), "0.5"),
            (16, json!(1.0), Some(0.5), "0.5"),
            (18, json!(1.0), None, ""),
            (20, json!(0.5), Some(0.5), "0.5"),
            (22, json!(null), Some(0.5), "0.5"),
        ] {
            let outlook = governor.observe(&json!([said]), Duration::from_secs(second));
            let hold = outlook.holds.first();
            assert_eq!(hold.map(|hold| hold.fraction), held, "second {second}");
            assert_eq!(
                hold.map_or("", |hold| &hold.reason),
                reason,
                "second {second}"
            );
        }
        let unknown = governor.outlook().unknown;
        assert_eq!(unknown, [("scripted", "null".to_owned())]);
        assert_eq!(governor.let_go(), Outlook::default());
    }

    #[test]
    fn a_part_of_the_slots_is_one_at_least_and_a_pause_is_none() {
        let hold = |fraction| Hold {
            signal: "x",
            fraction,
            reason: String::new(),
        };
        for (fraction, of, units) in [
            (0.5, 8, 4),
            (0.5, 3, 1),
            (0.25, 2, 1),
            (0.5, 1, 1),
            (0.0, 8, 0),
        ] {
            assert_eq!(hold(fraction).units(of), units, "{fraction} of {of}");
        }
    }

    #[test]
    fn without_thresholds_only_lock_waits_are_watched() {
        let names = |limits: &ThrottleLimits| -> Vec<&str> {
            let governor = Governor::new(limits);
            governor.watched.iter().map(|w| w.signal.name()).collect()
        };
        assert_eq!(names(&ThrottleLimits::default()), ["lock waits"]);
        let off = ThrottleLimits {
            max_lock_waits: Some(upshift_shared::throttle::Threshold::Off),
            ..ThrottleLimits::default()
        };
        assert!(Governor::new(&off).question(150_000).is_none());
    }
}
