//! Replication lag: how far standbys and subscribers are behind, in bytes of WAL and in time of replay,
//! and what slots retain.
//!
//! Roles without `pg_read_all_stats` see in `pg_stat_replication` that somebody replicates, but not how
//! far (its positions and lags are NULL for them); `pg_replication_slots` shows positions to everybody.

use serde_json::Value;
use upshift_shared::throttle::Lag;

use super::{Moment, Signal, Verdict};
use crate::figures;

/// Slower from the threshold on, on half of the slots; from twice of it on a quarter; and beyond four
/// times of it nothing begins: what is written meanwhile only makes it longer.
const STEPS: [f64; 3] = [1.0, 2.0, 4.0];

/// An inactive slot counts too: what it retains may fill the disk.
const QUESTION: &str = "
    jsonb_build_object(
        'hidden', (SELECT count(*) FROM pg_catalog.pg_stat_replication WHERE state IS NULL),
        'bytes', (
            SELECT jsonb_build_object('of', l.name, 'lag', l.lag)
            FROM (
                SELECT 'standby ' || application_name AS name,
                       pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint AS lag
                FROM pg_catalog.pg_stat_replication WHERE replay_lsn IS NOT NULL
                UNION ALL
                SELECT 'slot ' || slot_name || CASE WHEN active THEN '' ELSE ' (inactive)' END,
                       pg_wal_lsn_diff(pg_current_wal_lsn(),
                                       coalesce(confirmed_flush_lsn, restart_lsn))::bigint
                FROM pg_catalog.pg_replication_slots WHERE restart_lsn IS NOT NULL
            ) l
            ORDER BY l.lag DESC LIMIT 1),
        'seconds', (
            SELECT jsonb_build_object('of', 'standby ' || application_name,
                                      'lag', extract(epoch FROM replay_lag))
            FROM pg_catalog.pg_stat_replication WHERE replay_lag IS NOT NULL
            ORDER BY replay_lag DESC LIMIT 1))";

/// The signal.
#[derive(Debug)]
pub(super) struct Replication {
    limit: Lag,
}

impl Replication {
    pub(super) fn new(limit: Lag) -> Self {
        Self { limit }
    }
}

impl Signal for Replication {
    fn name(&self) -> &'static str {
        "replication lag"
    }

    fn question(&self, _version: u32) -> String {
        QUESTION.to_owned()
    }

    fn judge(&mut self, answer: &Value, moment: Moment) -> Verdict {
        let seen = |kind: &str| Some((answer[kind]["of"].as_str()?, answer[kind]["lag"].as_f64()?));
        let bytes = self.limit.bytes.and_then(|limit| {
            let (of, lag) = seen("bytes")?;
            let reason = format!(
                "{of} is {} behind, {} are borne",
                figures::size(lag as u64),
                figures::size(limit)
            );
            Some((lag / moment.threshold(limit as f64), reason))
        });
        let time = self.limit.millis.and_then(|limit| {
            let limit = limit as f64 / 1e3;
            let (of, lag) = seen("seconds")?;
            let reason = format!(
                "{of} is {} behind, {} are borne",
                figures::seconds(lag),
                figures::seconds(limit)
            );
            Some((lag / moment.threshold(limit), reason))
        });
        let worst = [bytes, time]
            .into_iter()
            .flatten()
            .max_by(|a, b| a.0.total_cmp(&b.0));
        match worst {
            Some((times, reason)) if times > STEPS[2] => Verdict::Pause { reason },
            Some((times, reason)) if times > STEPS[1] => Verdict::quarter(reason),
            Some((times, reason)) if times > STEPS[0] => Verdict::half(reason),
            _ if answer["hidden"].as_u64().is_some_and(|hidden| hidden > 0) => Verdict::Unknown {
                reason:
                    "this role may not see how far standbys are behind: GRANT pg_read_all_stats \
                         to it"
                        .to_owned(),
            },
            _ => Verdict::Go,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::health::testing::table;

    #[test]
    fn lag_is_judged_in_bytes_and_in_time() {
        let lag = |bytes, millis| Replication::new(Lag { bytes, millis });
        let behind = |bytes: u64, seconds: f64| {
            json!({"hidden": 0, "bytes": {"of": "slot s", "lag": bytes},
                   "seconds": {"of": "standby b", "lag": seconds}})
        };
        let nobody = json!({"hidden": 0, "bytes": null, "seconds": null});
        let hidden = json!({"hidden": 1, "bytes": null, "seconds": null});
        let mut both = lag(Some(64 << 20), Some(10_000));
        table(
            &mut both,
            &[
                (0, false, nobody, "go"),
                (
                    2,
                    false,
                    hidden.clone(),
                    "unknown: this role may not see how far standbys are behind: GRANT pg_read_all_stats to it",
                ),
                (4, false, behind(64 << 20, 10.0), "go"),
                (
                    6,
                    false,
                    behind(65 << 20, 10.0),
                    "slow 0.5: slot s is 65 MB behind, 64 MB are borne",
                ),
                (
                    8,
                    true,
                    behind(60 << 20, 1.0),
                    "slow 0.5: slot s is 60 MB behind, 64 MB are borne",
                ),
                (10, true, behind(51 << 20, 1.0), "go"),
                (
                    12,
                    false,
                    behind(1, 25.0),
                    "slow 0.25: standby b is 25 s behind, 10 s are borne",
                ),
                (
                    14,
                    false,
                    behind(1, 41.0),
                    "pause: standby b is 41 s behind, 10 s are borne",
                ),
                (
                    16,
                    false,
                    behind(300 << 20, 41.0),
                    "pause: slot s is 300 MB behind, 64 MB are borne",
                ),
            ],
        );
        // What slots show to everybody is enough where it is too much already.
        let mut answer = behind(65 << 20, 0.0);
        answer["hidden"] = json!(1);
        table(
            &mut lag(Some(64 << 20), None),
            &[
                (
                    0,
                    false,
                    answer,
                    "slow 0.5: slot s is 65 MB behind, 64 MB are borne",
                ),
                (2, false, behind(1, 1e9), "go"),
            ],
        );
    }
}
