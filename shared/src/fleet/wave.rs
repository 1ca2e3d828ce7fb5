//! `[[waves]]`: which databases come together, and what is to be watched while they do.

use serde::{Deserialize, Serialize};

use super::{Labels, policy::OnFailure};

/// `[[waves]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// `name`
    pub name: String,
    /// `take`: how many, of those that fit and are in no earlier wave.
    pub take: Share,
    /// `labels`: only databases that have all of these.
    pub labels: Labels,
    /// `smaller_than`: only databases of fewer bytes.
    pub smaller_than: Option<u64>,
    /// `larger_than`: only databases of more bytes.
    pub larger_than: Option<u64>,
    /// `max_databases`: of this wave at once.
    pub max_databases: Option<u32>,
    /// `on_failure`, of the wave or of the file.
    pub on_failure: OnFailure,
    /// `approval`, of the wave or of the file: whether what comes after this wave (the next one, and
    /// its commits where they are made after the wave) has to be approved.
    pub approval: bool,
}

impl Wave {
    /// All that is left.
    #[must_use]
    pub fn rest(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            take: Share::Rest,
            labels: Labels::new(),
            smaller_than: None,
            larger_than: None,
            max_databases: None,
            on_failure: OnFailure::default(),
            approval: false,
        }
    }

    /// Whether a database may be in it.
    #[must_use]
    pub fn fits(&self, labels: &Labels, bytes: u64) -> bool {
        let mut wanted = self.labels.iter();
        wanted.all(|(name, value)| labels.get(name) == Some(value))
            && self.smaller_than.is_none_or(|limit| bytes < limit)
            && self.larger_than.is_none_or(|limit| bytes > limit)
    }

    /// Whether it depends on the size of a database whether it may be in it.
    #[must_use]
    pub fn goes_by_size(&self) -> bool {
        self.smaller_than.is_some() || self.larger_than.is_some()
    }

    /// Whether every database may be in it.
    #[must_use]
    pub fn fits_all(&self) -> bool {
        self.labels.is_empty() && !self.goes_by_size()
    }

    /// Whether every database fits.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        self.take == Share::Rest && self.fits_all()
    }
}

/// `take`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// So many databases.
    Count(u32),
    /// So many hundredths of a percent of all databases of the fleet that are to be upgraded, rounded
    /// up.
    Part(u32),
    /// All that fit.
    Rest,
}

impl Share {
    /// How many that is, of a fleet of so many.
    #[must_use]
    pub fn of(self, databases: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Part(part) => parts_of(databases, part),
            Self::Rest => u32::MAX,
        }
    }
}

/// So many hundredths of a percent of a number, rounded up.
pub(super) fn parts_of(number: u32, part: u32) -> u32 {
    let parts = (u64::from(number) * u64::from(part)).div_ceil(10_000);
    u32::try_from(parts).unwrap_or(u32::MAX)
}
