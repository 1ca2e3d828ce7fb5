//! What a pass costs against the same statements in place, in seconds of one worker: by the rates of the
//! server (`upshift doctor --measure`), or those of an ordinary one; what counts is their ratio.

use upshift_shared::{
    catalog::{ConstraintKind, Relation},
    plan::Rates,
};

use super::Cost;

/// Of what a row that is copied costs, the part that grows with its bytes.
const BYTES: f64 = 0.4;
/// A row's part of one more statement in a pass.
const ROW_COMPOSED: f64 = 0.4e-6;
/// Of what a row costs that is copied, the part that one costs which is kept for a transform on its way:
/// a temporary table is not logged.
const KEPT: f64 = 0.5;
/// What a pass costs however small the table is: a dozen short transactions and the swap.
const PASS: f64 = 0.4;
/// Making a foreign key of another table anew.
const INCOMING: f64 = 0.02;

/// Seconds that so many rows take in place, on a table with so many indexes.
pub(in crate::compile) fn in_place(rates: &Rates, rows: f64, indexes: f64) -> f64 {
    rows * (rates.in_place + indexes * rates.entry)
}

/// What a pass over a table of so many rows costs. `touched`: rows that each of the statements
/// touches; `kept`: how often the rows are kept on their way; `incoming`: rows of the tables whose foreign
/// keys point at it.
pub(super) fn of_pass(
    rates: &Rates,
    (after, rows, kept): (&Relation, f64, usize),
    touched: &[u64],
    incoming: &[f64],
) -> Cost {
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
    let copies = 1.0 + kept as f64 * KEPT;
    let copied = rows * rates.copied * (1.0 - BYTES) + bytes / Rates::WIDTH * rates.copied * BYTES;
    let fill = copies * copied + rows * statements * ROW_COMPOSED;
    let index = rows * rates.indexed;
    let key = rows * rates.validated;
    let others: f64 = incoming
        .iter()
        .map(|rows| INCOMING + rows * rates.validated)
        .sum();
    Cost {
        fill,
        index,
        key,
        total: PASS + fill + indexes * index + keys * key + others,
        bytes: after.bytes + after.indexes.iter().map(|index| index.bytes).sum::<u64>(),
        in_place: in_place(rates, touched, indexes),
    }
}
