//! Which random cases a test runs.

use std::ops::Range;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// Those seeds, unless the environment names others: `UPSHIFT_SEED=n` that one alone, `UPSHIFT_FIRST=n` and
/// `UPSHIFT_CASES=n` so many from there on.
///
/// # Panics
/// Where a variable is no number.
#[must_use]
pub fn seeds(default: Range<u64>) -> Range<u64> {
    if let Some(seed) = number("UPSHIFT_SEED") {
        return seed..seed + 1;
    }
    let first = number("UPSHIFT_FIRST").unwrap_or(default.start);
    let cases = number("UPSHIFT_CASES").unwrap_or(default.end - default.start);
    first..first + cases
}
