//! What a pass costs against the same statements in place. Figures of an ordinary server, in seconds
//! of one worker, found by measuring both (`upshift-bench rewrite`); what counts is their ratio.

use upshift_shared::catalog::{ConstraintKind, Relation};

use super::Cost;

/// Writing a row's new version, with its before-image.
const ROW_IN_PLACE: f64 = 10e-6;
/// Its entry in one index.
const ENTRY_IN_PLACE: f64 = 2.5e-6;
/// Copying a row into a new table, and each byte of it.
const ROW_COPIED: f64 = 1.5e-6;
const BYTE_COPIED: f64 = 6e-9;
/// A row's part of building an index.
const ROW_INDEXED: f64 = 0.6e-6;
/// A row's part of validating a foreign key.
const ROW_VALIDATED: f64 = 0.2e-6;
/// A row's part of one more statement in a pass.
const ROW_COMPOSED: f64 = 0.4e-6;
/// What a pass costs however small the table is: a dozen short transactions and the swap.
const PASS: f64 = 0.4;
/// Making a foreign key of another table anew.
const INCOMING: f64 = 0.02;

/// Seconds that so many rows take in place, on a table with so many indexes.
pub(in crate::compile) fn in_place(rows: f64, indexes: f64) -> f64 {
    rows * (ROW_IN_PLACE + indexes * ENTRY_IN_PLACE)
}

/// What a pass over a table of so many rows costs. `touched`: rows that each of the statements
/// touches; `incoming`: rows of the tables whose foreign keys point at it.
pub(super) fn of_pass(after: &Relation, rows: f64, touched: &[u64], incoming: &[f64]) -> Cost {
    let indexes = after.indexes.len() as f64;
    let is_key = |kind: &ConstraintKind| matches!(kind, ConstraintKind::ForeignKey { .. });
    let keys = after.constraints.iter().filter(|c| is_key(&c.kind)).count() as f64;
    #[expect(
        clippy::cast_precision_loss,
        reason = "an estimate; 2^53 rows are out of reach"
    )]
    let (bytes, touched, statements) = (
        after.bytes as f64,
        touched.iter().sum::<u64>() as f64,
        touched.len() as f64,
    );
    let fill = rows * (ROW_COPIED + statements * ROW_COMPOSED) + bytes * BYTE_COPIED;
    let index = rows * ROW_INDEXED;
    let key = rows * ROW_VALIDATED;
    let others: f64 = incoming
        .iter()
        .map(|rows| INCOMING + rows * ROW_VALIDATED)
        .sum();
    Cost {
        fill,
        index,
        key,
        total: PASS + fill + indexes * index + keys * key + others,
        bytes: after.bytes + after.indexes.iter().map(|index| index.bytes).sum::<u64>(),
        in_place: in_place(touched, indexes),
    }
}
