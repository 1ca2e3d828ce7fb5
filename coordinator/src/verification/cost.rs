//! What verification is expected to cost, from the plan's rates.

use upshift_shared::{
    ledger::options::Verify,
    plan::{Operator, Plan, Rates, ShadowStage},
};

/// Reading a row for its count, as a share of copying it: measured on 300,000 rows of nine columns.
const COUNTED: f64 = 0.04;
/// Making its text and the hash of that: the same.
const DIGESTED: f64 = 1.0;

/// Seconds on one worker.
pub(crate) fn seconds(plan: &Plan, rates: &Rates, verify: Verify) -> f64 {
    let row = rates.copied
        * match verify {
            Verify::Off => return 0.0,
            Verify::Counts => COUNTED,
            Verify::Full => DIGESTED,
        };
    let times = |operator: &Operator| match (operator, verify) {
        // The old pages; with digests, those and what is written of them, and the new table as a whole.
        (Operator::Shadow(op), Verify::Counts) if is_fill(&op.stage) => 1.0,
        (Operator::Shadow(op), _) if is_fill(&op.stage) => 3.0,
        // Counts are in what the statement says of itself.
        (Operator::InPlace(_) | Operator::Transform(_), Verify::Full) => 2.0,
        (Operator::Append(_), Verify::Full) => 1.0,
        _ => 0.0,
    };
    #[expect(
        clippy::cast_precision_loss,
        reason = "an estimate; 2^53 rows are out of reach"
    )]
    let of_task = |rows: u64, times: f64| rows as f64 * row * (times + 1.0);
    plan.tasks
        .iter()
        .filter(|task| writes_rows(&task.operator))
        .map(|task| of_task(task.rows, times(&task.operator)))
        .sum()
}

fn is_fill(stage: &ShadowStage) -> bool {
    matches!(stage, ShadowStage::Fill { .. })
}

/// What it writes is looked at once more when the run is prepared.
fn writes_rows(operator: &Operator) -> bool {
    match operator {
        Operator::Shadow(op) => is_fill(&op.stage),
        Operator::InPlace(_) | Operator::Transform(_) | Operator::Append(_) => true,
        Operator::Statement(_) => true,
        Operator::Metadata(_) | Operator::Check(_) | Operator::Exec(_) => false,
    }
}
