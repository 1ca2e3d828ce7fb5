//! How much of what may be seen from a database's server a run bears before it slows down: as the
//! configuration, the command line and the ledger write it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{parse_duration, parse_size};

/// How much of something is borne.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Threshold<T> {
    /// Any: nobody looks.
    Off,
    /// So much; more slows the run down.
    UpTo(T),
}

impl<T> Threshold<T> {
    /// The threshold, where there is one.
    pub fn up_to(self) -> Option<T> {
        match self {
            Self::Off => None,
            Self::UpTo(value) => Some(value),
        }
    }
}

/// How far a standby or a slot may be behind; one of them at least is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lag {
    /// In bytes of WAL.
    pub bytes: Option<u64>,
    /// In milliseconds of replay.
    pub millis: Option<u64>,
}

/// The thresholds of all health signals. One that is absent is not spoken of: what was said before, or
/// the default, stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThrottleLimits {
    /// How far standbys and slots may be behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_replication_lag: Option<Threshold<Lag>>,
    /// Bytes of WAL a second that the server may write, others' included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal_budget: Option<Threshold<u64>>,
    /// Sessions of others that may wait for a lock of ours longer than `lock_wait_millis`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_lock_waits: Option<Threshold<u32>>,
    /// From when on a wait for a lock counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock_wait_millis: Option<u64>,
    /// Active sessions of others on the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_active_sessions: Option<Threshold<u32>>,
    /// Checkpoints in five minutes that WAL has forced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requested_checkpoints: Option<Threshold<u32>>,
}

impl ThrottleLimits {
    /// These, and where they say nothing, those.
    #[must_use]
    pub fn over(self, below: &Self) -> Self {
        Self {
            max_replication_lag: self.max_replication_lag.or(below.max_replication_lag),
            wal_budget: self.wal_budget.or(below.wal_budget),
            max_lock_waits: self.max_lock_waits.or(below.max_lock_waits),
            lock_wait_millis: self.lock_wait_millis.or(below.lock_wait_millis),
            max_active_sessions: self.max_active_sessions.or(below.max_active_sessions),
            max_requested_checkpoints: self
                .max_requested_checkpoints
                .or(below.max_requested_checkpoints),
        }
    }

    /// Whether they say nothing at all.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        *self == Self::default()
    }
}

fn threshold<T>(
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Threshold<T>, String> {
    match text.trim() {
        "off" => Ok(Threshold::Off),
        text => parse(text).map(Threshold::UpTo),
    }
}

/// Parses how far replication may be behind: `64MB`, `10s`, both as `64MB,10s`, or `off`.
///
/// # Errors
/// A fragment that says how to write one.
pub fn parse_lag(text: &str) -> Result<Threshold<Lag>, String> {
    threshold(text, |text| {
        let mut lag = Lag {
            bytes: None,
            millis: None,
        };
        for part in text.split(',') {
            let twice = if let Ok(time) = parse_duration(part) {
                let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                lag.millis.replace(millis).is_some()
            } else {
                let bytes = parse_size(part).map_err(|_| {
                    format!("\"{part}\" is no lag: write 64MB, 10s, 64MB,10s, or off")
                })?;
                lag.bytes.replace(bytes).is_some()
            };
            if twice {
                return Err(format!("\"{text}\": write one size and one time at most"));
            }
        }
        Ok(lag)
    })
}

/// Parses a budget of WAL: `50MB/s`, or `off`. In bytes a second.
///
/// # Errors
/// A fragment that says how to write one.
pub fn parse_wal_budget(text: &str) -> Result<Threshold<u64>, String> {
    threshold(text, |text| {
        let size = text.strip_suffix("/s").map(parse_size);
        match size {
            Some(Ok(bytes)) if bytes > 0 => Ok(bytes),
            _ => Err(format!("\"{text}\" is no budget: write 50MB/s, or off")),
        }
    })
}

/// Parses a number that may be zero, or `off`.
///
/// # Errors
/// A fragment that says how to write one.
pub fn parse_most(text: &str) -> Result<Threshold<u32>, String> {
    threshold(text, |text| {
        text.parse()
            .map_err(|_| format!("\"{text}\" is no number: write one from 0 on, or off"))
    })
}

/// Milliseconds, as the ledger keeps a duration.
#[must_use]
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_read_as_they_are_written() {
        let lag = |bytes, millis| Ok(Threshold::UpTo(Lag { bytes, millis }));
        assert_eq!(parse_lag("64MB"), lag(Some(64 << 20), None));
        assert_eq!(parse_lag("10s"), lag(None, Some(10_000)));
        assert_eq!(parse_lag("1GB, 2min"), lag(Some(1 << 30), Some(120_000)));
        assert_eq!(parse_lag("off"), Ok(Threshold::Off));
        for text in ["", "64", "64MB,1MB", "10s,64MB,1s", "fast"] {
            assert!(parse_lag(text).is_err(), "{text}");
        }
        assert_eq!(parse_wal_budget("50MB/s"), Ok(Threshold::UpTo(50 << 20)));
        assert_eq!(parse_wal_budget("off"), Ok(Threshold::Off));
        for text in ["50MB", "0MB/s", "/s", "-1MB/s"] {
            assert!(parse_wal_budget(text).is_err(), "{text}");
        }
        assert_eq!(parse_most("0"), Ok(Threshold::UpTo(0)));
        assert!(parse_most("-1").is_err());
    }

    #[test]
    fn what_is_said_later_stands_and_off_is_said() {
        let below = ThrottleLimits {
            wal_budget: Some(Threshold::UpTo(1)),
            max_lock_waits: Some(Threshold::UpTo(2)),
            ..ThrottleLimits::default()
        };
        let above = ThrottleLimits {
            wal_budget: Some(Threshold::Off),
            ..ThrottleLimits::default()
        };
        let json = serde_json::to_string(&above).expect("plain data");
        assert_eq!(json, r#"{"wal_budget":"off"}"#, "absent ones are not there");
        let both = above.over(&below);
        assert_eq!(both.wal_budget, Some(Threshold::Off));
        assert_eq!(both.max_lock_waits, Some(Threshold::UpTo(2)));
    }
}
