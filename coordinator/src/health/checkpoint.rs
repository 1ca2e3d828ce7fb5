//! Checkpoint pressure: checkpoints that were requested, because WAL has come to `max_wal_size`, instead
//! of being timed. Each writes all that is dirty, and after it every page is logged whole once more.

use std::{collections::VecDeque, time::Duration};

use serde_json::Value;

use super::{Moment, Signal, Verdict};

/// Those of so long are counted.
const WINDOW: Duration = Duration::from_secs(300);

/// The signal.
#[derive(Debug)]
pub(super) struct Checkpoints {
    most: u32,
    /// The counter as it was, when it was last different.
    counts: VecDeque<(Duration, u64)>,
}

impl Checkpoints {
    pub(super) fn new(most: u32) -> Self {
        Self {
            most,
            counts: VecDeque::new(),
        }
    }

    /// Requested within the window.
    fn requested(&mut self, at: Duration, count: u64) -> u64 {
        // Somebody has reset the counter, or the server has crashed.
        if self.counts.back().is_some_and(|(_, last)| *last > count) {
            self.counts.clear();
        }
        if self.counts.back().is_none_or(|(_, last)| *last < count) {
            self.counts.push_back((at, count));
        }
        // The first is what the others are counted from; it may be older than the window.
        while let Some((second, _)) = self.counts.get(1)
            && at.saturating_sub(*second) > WINDOW
        {
            self.counts.pop_front();
        }
        let (since, first) = self.counts.front().copied().unwrap_or((at, count));
        debug_assert!(since <= at, "time does not go back");
        count - first
    }
}

impl Signal for Checkpoints {
    fn name(&self) -> &'static str {
        "checkpoints"
    }

    /// `pg_stat_bgwriter` counted them up to PostgreSQL 16, `pg_stat_checkpointer` does from 17 on.
    fn question(&self, version: u32) -> String {
        if version >= 170_000 {
            "(SELECT to_jsonb(num_requested) FROM pg_catalog.pg_stat_checkpointer)".to_owned()
        } else {
            "(SELECT to_jsonb(checkpoints_req) FROM pg_catalog.pg_stat_bgwriter)".to_owned()
        }
    }

    fn judge(&mut self, answer: &Value, moment: Moment) -> Verdict {
        let Some(count) = answer.as_u64() else {
            return Verdict::Unknown {
                reason: "the server does not count its checkpoints".to_owned(),
            };
        };
        let requested = self.requested(moment.at, count);
        let most = u64::from(self.most);
        let reason = format!(
            "WAL has forced {requested} checkpoints in five minutes, {most} are borne; a larger \
             max_wal_size would help"
        );
        if requested <= most {
            Verdict::Go
        } else if requested <= most.saturating_mul(2) {
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
    fn requested_checkpoints_of_five_minutes_count() {
        let forced = |part: &str, count: u32| {
            format!(
                "slow {part}: WAL has forced {count} checkpoints in five minutes, 2 are borne; a \
                 larger max_wal_size would help"
            )
        };
        let (three, five) = (forced("0.5", 3), forced("0.25", 5));
        table(
            &mut Checkpoints::new(2),
            &[
                (0, false, json!(100), "go"),
                (10, false, json!(101), "go"),
                (20, false, json!(102), "go"),
                (30, false, json!(103), &three),
                (31, true, json!(105), &five),
                (309, true, json!(105), &five),
                // The one of second 10 is out of the window: those since are 4, then 3, then 2.
                (311, true, json!(105), &forced("0.5", 4)),
                (321, true, json!(105), &three),
                (331, true, json!(105), "go"),
                (332, false, json!(1), "go"),
                (
                    333,
                    false,
                    Value::Null,
                    "unknown: the server does not count its checkpoints",
                ),
            ],
        );
    }
}
