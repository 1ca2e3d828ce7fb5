//! What work costs on a server: what counts is how the figures stand to each other, because they decide
//! whether a table is built anew or changed in place.

use serde::{Deserialize, Serialize};

/// Seconds of one worker.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// For a row that is copied into a new table, of [`Self::WIDTH`] bytes.
    pub copied: f64,
    /// For a row in the build of an index.
    pub indexed: f64,
    /// For a row in the validation of a foreign key.
    pub validated: f64,
    /// For a row's new version in place, with its before-image.
    pub in_place: f64,
    /// For the entry of such a row in each index.
    pub entry: f64,
}

impl Rates {
    /// Bytes of a row as it was copied.
    pub const WIDTH: f64 = 170.0;
}

impl Default for Rates {
    /// Those of an ordinary server, found by `upshift-bench rewrite`.
    fn default() -> Self {
        Self {
            copied: 2.5e-6,
            indexed: 0.6e-6,
            validated: 0.2e-6,
            in_place: 10e-6,
            entry: 2.5e-6,
        }
    }
}
