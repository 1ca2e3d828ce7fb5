//! What a failed database means: for the others of its wave, and for itself.

use serde::{Deserialize, Serialize};

use super::wave::parts_of;

/// `on_failure = { stop_after = …, then = … }`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnFailure {
    /// When nothing of the wave, and of later ones, begins any more.
    pub stop_after: StopAfter,
    /// What becomes of the failed one.
    pub then: Then,
}

/// `stop_after`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopAfter {
    /// When so many databases of the wave have failed.
    Failed(u32),
    /// When so many hundredths of a percent of the wave's databases have failed.
    Part(u32),
    /// Never: the others go on.
    Never,
}

impl Default for StopAfter {
    fn default() -> Self {
        Self::Failed(1)
    }
}

impl StopAfter {
    /// Whether a wave of so many databases, of which so many have failed, goes no further.
    #[must_use]
    pub fn stops(self, databases: u32, failed: u32) -> bool {
        match self {
            Self::Failed(most) => failed >= most,
            Self::Part(part) => failed > 0 && failed >= parts_of(databases, part),
            Self::Never => false,
        }
    }
}

/// `then`: what becomes of a failed database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// It stays as it is, to be gone on with by `upshift fleet retry`.
    #[default]
    Leave,
    /// It is rolled back.
    RollBack,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_stops_where_its_policy_says() {
        for (policy, databases, failed, expected) in [
            (StopAfter::Failed(1), 3, 0, false),
            (StopAfter::Failed(1), 3, 1, true),
            (StopAfter::Failed(3), 100, 2, false),
            (StopAfter::Part(500), 100, 4, false),
            (StopAfter::Part(500), 100, 5, true),
            // Of a small wave one is more than 5 %.
            (StopAfter::Part(500), 3, 0, false),
            (StopAfter::Part(500), 3, 1, true),
            (StopAfter::Never, 3, 3, false),
        ] {
            assert_eq!(policy.stops(databases, failed), expected, "{policy:?}");
        }
    }
}
