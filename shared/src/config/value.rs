//! Values of `upshift.toml` and of options that are more than text.

use std::time::Duration;

/// Parses a duration as PostgreSQL writes them: `500ms`, `5s`, `10min`, `2h`.
///
/// # Errors
/// A fragment that says how to write one.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let scale = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => {
            return Err(format!(
                "\"{text}\" is not a duration: write 500ms, 5s, 10min or 2h"
            ));
        }
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(scale))
        // PostgreSQL's timeouts are signed 32-bit milliseconds.
        .filter(|millis| i32::try_from(*millis).is_ok())
        .map(Duration::from_millis)
        .ok_or_else(|| format!("\"{text}\" is not a duration between 0 and 24 days"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_postgresql_reads_them() {
        for (text, expected) in [
            ("500ms", Some(500)),
            ("5s", Some(5_000)),
            ("10 min", Some(600_000)),
            ("2h", Some(7_200_000)),
            ("5", None),
            ("s", None),
            ("-5s", None),
            ("9999999h", None),
        ] {
            let parsed = parse_duration(text).ok().map(|d| d.as_millis());
            assert_eq!(parsed, expected, "{text}");
        }
    }
}
