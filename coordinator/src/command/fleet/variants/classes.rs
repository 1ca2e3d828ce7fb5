//! Sizes as the compiler is told them: by classes, so that databases whose sizes decide nothing else
//! share a plan. A class is as wide as leaves the choices between operators what they would be, or nearly:
//! all of them are right, and one that is chosen near the point where two cost the same costs little.

use std::collections::{BTreeMap, BTreeSet};

use upshift_shared::{
    catalog::Catalog,
    ids::{RelId, StepId},
    plan::Rates,
};

use super::{super::super::compiling::Estimate, Digest, digest};
use crate::compile::{Options, Passes};

/// Below so many rows nothing is cut (`compile/physical/estimate.rs`).
const FEW: f64 = 2_000.0;
/// What a table with few rows is taken to have.
const OF_FEW: f64 = 1_000.0;
/// From so many rows on, building a table anew is weighed against changing it in place
/// (`compile/analyse/around.rs`). In between nothing is decided by size.
const LARGE: f64 = 20_000.0;
/// What a table in between is taken to have; and one that was never analysed, which is neither taken for
/// a small one nor weighed to be built anew.
const OF_SOME: f64 = 10_000.0;
/// A table that was never analysed has few rows if it has no more bytes than this: of a fleet's
/// databases, autovacuum has analysed small tables in some and not in others. (A row takes at least 28
/// bytes, so there may be some thousands at the most.)
const FEW_BYTES: u64 = 256 << 10;
/// The least class of bytes.
const BYTES: u64 = 1 << 20;

/// Sizes of a database's relations.
pub(super) struct Sizes {
    /// By number of relation: rows, bytes, bytes of each index.
    of: BTreeMap<RelId, Size>,
    /// Whether bytes decide something where there are few rows.
    all_bytes: bool,
}

struct Size {
    rows: f64,
    bytes: u64,
    indexes: Vec<u64>,
}

impl Sizes {
    /// Takes sizes, and oids, out of a catalog.
    pub(super) fn take(catalog: &mut Catalog, options: &Options) -> Self {
        let ids: Vec<RelId> = catalog.relations().map(|relation| relation.id).collect();
        let mut of = BTreeMap::new();
        for id in ids {
            let Some(relation) = catalog.relation_mut(id) else {
                continue;
            };
            // All that counts is that the live database has it.
            relation.oid = relation.oid.map(|_| id.0);
            let indexes = relation.indexes.iter_mut();
            let size = Size {
                rows: std::mem::take(&mut relation.rows),
                bytes: std::mem::take(&mut relation.bytes),
                indexes: indexes.map(|i| std::mem::take(&mut i.bytes)).collect(),
            };
            of.insert(id, size);
        }
        Self {
            of,
            all_bytes: options.passes == Passes::Shadow || options.disk_budget.is_some(),
        }
    }

    /// Rows of a relation, as the database has them; by its bytes where it was never analysed.
    pub(super) fn rows(&self, id: RelId) -> f64 {
        match self.of.get(&id) {
            Some(size) if size.rows < 1.0 && size.bytes > FEW_BYTES => {
                size.bytes as f64 / Rates::WIDTH
            }
            Some(size) => size.rows,
            None => 0.0,
        }
    }

    /// Whether it is large enough for that.
    pub(super) fn may_be_built_anew(&self, id: RelId) -> bool {
        self.all_bytes || self.of.get(&id).is_some_and(|size| size.rows >= LARGE)
    }

    /// Tells a catalog the classes of these relations; the others are small ones.
    pub(super) fn tell(&self, catalog: &mut Catalog, of: impl Fn(RelId) -> bool) {
        for (id, size) in &self.of {
            let Some(relation) = catalog.relation_mut(*id) else {
                continue;
            };
            let (rows, bytes, indexes) = match of(*id) {
                true => self.class(size),
                false => (OF_FEW, BYTES, vec![BYTES; size.indexes.len()]),
            };
            relation.rows = rows;
            relation.bytes = bytes;
            for (index, bytes) in relation.indexes.iter_mut().zip(indexes) {
                index.bytes = bytes;
            }
        }
    }

    fn class(&self, size: &Size) -> (f64, u64, Vec<u64>) {
        let rows = rows(size.rows, size.bytes);
        if rows < LARGE && !self.all_bytes {
            return (rows, BYTES, vec![BYTES; size.indexes.len()]);
        }
        let indexes = size.indexes.iter().map(|one| bytes(*one));
        (rows, bytes(size.bytes), indexes.collect())
    }

    /// Estimates, as classes: by the part of the table's rows that a statement touches.
    pub(super) fn estimates(&self, of: &BTreeMap<StepId, Estimate>) -> BTreeMap<StepId, u64> {
        let class = |(step, estimate): (&StepId, &Estimate)| {
            let of = estimate.of.max(1.0);
            let part = (estimate.rows.max(1) as f64 / of).min(1.0);
            // Two classes for each power of two.
            let part = ((part.log2() * 2.0).round() / 2.0).exp2();
            (*step, (part * rows(of, u64::MAX)).round() as u64)
        };
        of.iter().map(class).collect()
    }

    /// What the plan is known by that a database of these sizes gets: all that the compiler is told.
    pub(super) fn digest(
        &self,
        structure: Digest,
        sized: &BTreeSet<RelId>,
        options: &Options,
    ) -> Digest {
        let sizes = sized.iter().filter_map(|id| self.of.get(id));
        let classes: Vec<_> = sizes.map(|size| self.class(size)).collect();
        digest(&(structure, classes, &options.estimates, options.rates))
    }
}

/// The rows that a table is taken to have.
fn rows(rows: f64, bytes: u64) -> f64 {
    if rows < 1.0 {
        // Never analysed, or empty.
        return if bytes <= FEW_BYTES { OF_FEW } else { OF_SOME };
    }
    if rows < FEW {
        return OF_FEW;
    }
    if rows < LARGE {
        return OF_SOME;
    }
    LARGE * (rows / LARGE).log2().floor().exp2() * 1.5
}

/// Bytes, never less than there are: a budget of disk has to hold.
fn bytes(bytes: u64) -> u64 {
    bytes
        .max(BYTES)
        .checked_next_power_of_two()
        .unwrap_or(bytes)
}

/// Rates of a server that was measured, to a fifth: no two measurements agree.
pub(super) fn rates(rates: Rates) -> Rates {
    if rates == Rates::default() {
        return rates;
    }
    let class = |rate: f64| ((rate.max(1e-12).log2() * 4.0).round() / 4.0).exp2();
    Rates {
        copied: class(rates.copied),
        indexed: class(rates.indexed),
        validated: class(rates.validated),
        in_place: class(rates.in_place),
        entry: class(rates.entry),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_leave_thresholds_where_they_are() {
        for (actual, size, class) in [
            (0.0, 0, OF_FEW),
            (0.0, 8192, OF_FEW),
            (0.0, 100 << 20, OF_SOME),
            (1.0, 8192, OF_FEW),
            (1_999.0, 1 << 20, OF_FEW),
            (2_000.0, 1 << 20, OF_SOME),
            (19_999.0, 1 << 20, OF_SOME),
            (20_000.0, 1 << 20, 30_000.0),
            (39_999.0, 1 << 20, 30_000.0),
            (40_000.0, 1 << 20, 60_000.0),
            (1e9, 1 << 40, 20_000.0 * 32_768.0 * 1.5),
        ] {
            let told = rows(actual, size);
            assert!(
                (told - class).abs() < 0.5,
                "{actual} rows, {size} bytes: {told}"
            );
        }
        assert_eq!(bytes(1), 1 << 20);
        assert_eq!(bytes((1 << 20) + 1), 1 << 21);
        assert_eq!(bytes(u64::MAX), u64::MAX);
    }

    #[test]
    fn measurements_that_nearly_agree_are_one() {
        let measured = Rates {
            copied: 3.1e-6,
            ..Rates::default()
        };
        let again = Rates {
            copied: 3.2e-6,
            ..Rates::default()
        };
        assert_eq!(rates(measured), rates(again));
        assert_eq!(rates(Rates::default()), Rates::default());
        let other = Rates {
            copied: 6.2e-6,
            ..Rates::default()
        };
        assert_ne!(rates(measured), rates(other));
    }
}
