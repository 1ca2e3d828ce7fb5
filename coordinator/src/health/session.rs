//! Active sessions of others on the server: what the application needs is not ours to take.
//!
//! It only slows down: how many are active is up to others, and may never change.

use serde_json::Value;

use super::{Moment, OURS, Signal, Verdict};

/// The signal.
#[derive(Debug)]
pub(super) struct Sessions {
    most: u32,
}

impl Sessions {
    pub(super) fn new(most: u32) -> Self {
        Self { most }
    }
}

impl Signal for Sessions {
    fn name(&self) -> &'static str {
        "active sessions"
    }

    /// A role without `pg_read_all_stats` does not see what sessions of other roles do, nor which of the
    /// processes are sessions; those have a database.
    fn question(&self, _version: u32) -> String {
        format!(
            "(SELECT jsonb_build_object(
                'active', count(*) FILTER (WHERE state = 'active'),
                'hidden', count(*) FILTER (WHERE state IS NULL OR state = 'disabled'))
              FROM pg_catalog.pg_stat_activity
              WHERE datid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'
                AND pid NOT IN ({OURS}))"
        )
    }

    fn judge(&mut self, answer: &Value, moment: Moment) -> Verdict {
        let active = answer["active"].as_u64().unwrap_or(0);
        let hidden = answer["hidden"].as_u64().unwrap_or(0);
        let most = self.most;
        let reason = format!("{active} sessions of others are active, {most} are borne");
        let threshold = moment.threshold(f64::from(most));
        if active as f64 > threshold * 1.5 && active > u64::from(most) {
            Verdict::quarter(reason)
        } else if active as f64 > threshold {
            Verdict::half(reason)
        } else if hidden > 0 {
            Verdict::Unknown {
                reason: format!(
                    "this role may not see whether {hidden} sessions of others are active: GRANT \
                     pg_read_all_stats to it"
                ),
            }
        } else {
            Verdict::Go
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::health::testing::table;

    #[test]
    fn active_sessions_slow_the_run_down() {
        let others = |active, hidden| json!({"active": active, "hidden": hidden});
        let unknown = "unknown: this role may not see whether 3 sessions of others are active: \
                       GRANT pg_read_all_stats to it";
        table(
            &mut Sessions::new(10),
            &[
                (0, false, others(10, 0), "go"),
                (
                    2,
                    false,
                    others(11, 3),
                    "slow 0.5: 11 sessions of others are active, 10 are borne",
                ),
                (
                    4,
                    true,
                    others(9, 0),
                    "slow 0.5: 9 sessions of others are active, 10 are borne",
                ),
                (6, true, others(8, 0), "go"),
                (
                    8,
                    false,
                    others(16, 0),
                    "slow 0.25: 16 sessions of others are active, 10 are borne",
                ),
                (10, false, others(10, 3), unknown),
            ],
        );
    }
}
