//! The rate of WAL against a budget. WAL is one stream for the server, so what others write counts: the
//! budget is what archiving and standbys can take, whoever writes.
//!
//! What is written beyond the budget is a debt, which what is left of the budget pays. Slower while the
//! rate is above the budget; where even that does not help, nothing begins until the debt is paid. So the
//! mean keeps to the budget however much a single unit writes.

use std::time::Duration;

use serde_json::Value;

use super::{Moment, Signal, Verdict};
use crate::figures;

/// A debt of so many seconds of the budget is a burst, not worth a word.
const BURST: f64 = 2.0;
/// From so many seconds on, nothing begins until it is paid down to a burst.
const PAUSE: f64 = 10.0;
/// And no more than this is remembered, so that a pause has an end.
const MOST: f64 = 20.0;

/// The signal.
#[derive(Debug)]
pub(super) struct Wal {
    /// Bytes a second.
    budget: f64,
    /// Position in bytes, and when.
    last: Option<(f64, Duration)>,
    /// In bytes.
    debt: f64,
    pausing: bool,
}

impl Wal {
    pub(super) fn new(budget: u64) -> Self {
        Self {
            budget: budget as f64,
            last: None,
            debt: 0.0,
            pausing: false,
        }
    }
}

impl Signal for Wal {
    fn name(&self) -> &'static str {
        "WAL rate"
    }

    fn question(&self, _version: u32) -> String {
        "to_jsonb(pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint)".to_owned()
    }

    fn judge(&mut self, answer: &Value, moment: Moment) -> Verdict {
        let Some(position) = answer.as_f64() else {
            return Verdict::Unknown {
                reason: "the server does not say where its WAL is".to_owned(),
            };
        };
        let Some((before, then)) = self.last.replace((position, moment.at)) else {
            return Verdict::Go;
        };
        let seconds = moment.at.saturating_sub(then).as_secs_f64();
        // It goes back where a standby has taken over.
        let written = (position - before).max(0.0);
        if seconds <= 0.0 {
            return Verdict::Go;
        }
        let debt = self.debt + written - self.budget * seconds;
        self.debt = debt.clamp(0.0, self.budget * MOST);
        let owed = self.debt / self.budget;
        self.pausing = owed > if self.pausing { BURST } else { PAUSE };
        let rate = written / seconds;
        let reason = format!(
            "the server writes {}/s of WAL, the budget is {}/s",
            figures::size(rate as u64),
            figures::size(self.budget as u64)
        );
        if self.pausing {
            let wait = figures::seconds(owed);
            let reason = format!("{reason}; it has to write nothing for {wait} to be within it");
            Verdict::Pause { reason }
        } else if owed <= BURST || rate <= moment.threshold(self.budget) {
            Verdict::Go
        } else if rate <= self.budget * 2.0 {
            Verdict::half(reason)
        } else {
            Verdict::quarter(reason)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::health::testing::table;

    #[test]
    fn a_rate_above_the_budget_slows_down_and_a_debt_pauses() {
        const MB: u64 = 1 << 20;
        let writes =
            |rate: &str| format!("the server writes {rate}/s of WAL, the budget is 10 MB/s");
        let owes = |rate: &str, owed: &str| {
            let writes = writes(rate);
            format!("pause: {writes}; it has to write nothing for {owed} to be within it")
        };
        let half = |rate: &str| format!("slow 0.5: {}", writes(rate));
        let quarter = format!("slow 0.25: {}", writes("40 MB"));
        table(
            &mut Wal::new(10 * MB),
            &[
                (0, false, json!(1000 * MB), "go"),
                (2, false, json!(1010 * MB), "go"),
                // A burst: one second of debt.
                (4, false, json!(1040 * MB), "go"),
                (8, false, json!(1100 * MB), &half("15 MB")),
                // Within the budget, but not well below it.
                (10, true, json!(1118 * MB), &half("9 MB")),
                (12, true, json!(1132 * MB), "go"),
                (14, false, json!(1212 * MB), &quarter),
                (18, false, json!(1242 * MB), "go"),
                (20, false, json!(1282 * MB), &half("20 MB")),
                (22, false, json!(1362 * MB), &owes("40 MB", "15 s")),
                (34, true, json!(1362 * MB), &owes("0 B", "3.2 s")),
                (36, true, json!(1362 * MB), "go"),
                // Another server, whose WAL is elsewhere.
                (38, false, json!(10 * MB), "go"),
            ],
        );
    }

    #[test]
    fn a_pause_has_an_end_however_much_was_written() {
        let mut wal = Wal::new(1);
        let mut verdict = |second, position: u64| {
            let moment = Moment {
                at: Duration::from_secs(second),
                held: false,
            };
            wal.judge(&json!(position), moment).fraction()
        };
        assert_eq!(verdict(0, 0), 1.0);
        assert_eq!(verdict(2, u64::MAX >> 12), 0.0);
        assert_eq!(verdict(19, u64::MAX >> 12), 0.0);
        assert_eq!(verdict(21, u64::MAX >> 12), 1.0);
    }
}
