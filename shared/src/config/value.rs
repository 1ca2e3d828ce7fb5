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

/// Parses a size as PostgreSQL writes them: `64kB`, `64MB`, `2GB`, `1TB`, each 1024 of the one before;
/// in bytes.
///
/// # Errors
/// A fragment that says how to write one.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "B" => 0,
        "kB" => 10,
        "MB" => 20,
        "GB" => 30,
        "TB" => 40,
        _ => {
            return Err(format!(
                "\"{text}\" is not a size: write 64kB, 64MB, 2GB or 1TB"
            ));
        }
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        // The server's are signed.
        .filter(|bytes| i64::try_from(*bytes).is_ok())
        .ok_or_else(|| format!("\"{text}\" is not a size below 8388608TB"))
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

    #[test]
    fn sizes_are_read_as_postgresql_reads_them() {
        for (text, expected) in [
            ("64kB", Some(64 << 10)),
            ("64 MB", Some(64 << 20)),
            ("2GB", Some(2 << 30)),
            ("1TB", Some(1 << 40)),
            ("64", None),
            ("MB", None),
            ("64mb", None),
            ("9999999TB", None),
        ] {
            assert_eq!(parse_size(text).ok(), expected, "{text}");
        }
    }
}
