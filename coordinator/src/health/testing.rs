//! Tables for tests of signals: second, whether it holds at present, answer → verdict in words.

use std::time::Duration;

use serde_json::Value;

use super::{Moment, Signal, Verdict};

pub(super) fn words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Go => "go".to_owned(),
        Verdict::Slow { fraction, reason } => format!("slow {fraction}: {reason}"),
        Verdict::Pause { reason } => format!("pause: {reason}"),
        Verdict::Unknown { reason } => format!("unknown: {reason}"),
    }
}

pub(super) fn table(signal: &mut dyn Signal, rows: &[(u64, bool, Value, &str)]) {
    for (second, held, answer, expected) in rows {
        let moment = Moment {
            at: Duration::from_secs(*second),
            held: *held,
        };
        let verdict = signal.judge(answer, moment);
        assert_eq!(words(&verdict), *expected, "second {second}: {answer}");
    }
}
