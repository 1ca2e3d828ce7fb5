//! What a task is expected to cost. Rough figures of an ordinary server; they order the critical path
//! and tell a person minutes from hours, nothing more.

use upshift_shared::plan::{Operator, Rates};

use crate::compile::optimise::cost::in_place;

/// Below so many rows a cut costs more than it gains.
const SMALL: u64 = 2_000;
/// Seconds for a transaction with short DDL.
const METADATA: f64 = 0.02;
/// Indexes that a table is taken to have where nothing says how many there are.
const INDEXES: f64 = 4.0;
/// Seconds for a row whose value goes out, is changed, and comes in again.
const ROW_TRANSFORMED: f64 = 40e-6;
/// Seconds for a row of an INSERT with its key recorded.
const ROW_APPEND: f64 = 12e-6;
/// Seconds for a row that is read or rewritten by the server itself.
const ROW_SCANNED: f64 = 2e-6;
/// Seconds for an external program: unknown, but rarely short.
const EXEC: f64 = 60.0;

/// Whether a statement touches too few rows to be cut. A table that was never analysed counts 0 rows
/// and is not taken for a small one.
pub(super) fn is_small(rows: u64) -> bool {
    (1..SMALL).contains(&rows)
}

/// Expected seconds on one worker. `indexes`: those of the table that it changes, where they are known.
#[expect(
    clippy::cast_precision_loss,
    reason = "an estimate; 2^53 rows are out of reach"
)]
pub(super) fn seconds(
    operator: &Operator,
    rates: &Rates,
    (rows, indexes): (u64, Option<usize>),
    heavy: bool,
) -> f64 {
    let rows = rows as f64;
    let indexes = indexes.map_or(INDEXES, |count| count as f64);
    match operator {
        Operator::Metadata(_) if heavy => METADATA + rows * ROW_SCANNED,
        Operator::Metadata(_) => METADATA,
        Operator::InPlace(_) | Operator::Statement(_) => METADATA + in_place(rates, rows, indexes),
        Operator::Transform(_) => METADATA + rows * ROW_TRANSFORMED,
        Operator::Append(_) => METADATA + rows * ROW_APPEND,
        Operator::Check(_) => METADATA + rows * ROW_SCANNED,
        Operator::Exec(_) => EXEC,
        // The pass has its own estimate for each of its stages.
        Operator::Shadow(_) => METADATA,
    }
}
