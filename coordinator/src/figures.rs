//! How numbers are written for people: counts, durations, rates. One way everywhere.

/// A count with a comma between thousands: `1,234,567`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count and its noun: `1 task`, `2 tasks`. The noun is given in the singular.
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// A duration, in the two largest units that matter: `0.4 s`, `12 s`, `3 m 05 s`, `2 h 10 m`.
#[must_use]
pub fn seconds(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "?".to_owned();
    }
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} m {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} m", whole / 3600, whole % 3600 / 60),
    }
}

/// A duration that is only estimated: `< 1 s`, else as [`seconds`] with a tilde before it.
#[must_use]
pub fn estimated(estimate: f64) -> String {
    if estimate < 1.0 {
        "< 1 s".to_owned()
    } else {
        format!("~{}", seconds(estimate))
    }
}

/// A number of bytes, in powers of 1024 as PostgreSQL's `pg_size_pretty` writes them: `8 kB`, `1.2 GB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    let mut size = bytes as f64 / 1024.0;
    for unit in ["kB", "MB", "GB"] {
        match size {
            0.0..9.95 => return format!("{size:.1} {unit}"),
            9.95..1024.0 => return format!("{size:.0} {unit}"),
            _ => size /= 1024.0,
        }
    }
    format!("{size:.1} TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_the_same_way_everywhere() {
        let counts = [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ];
        for (number, text) in counts {
            assert_eq!(count(number), text);
        }
        let durations = [
            (0.04, "0.0 s"),
            (9.94, "9.9 s"),
            (9.96, "10 s"),
            (59.6, "1 m 00 s"),
            (185.0, "3 m 05 s"),
            (7_800.0, "2 h 10 m"),
            (f64::NAN, "?"),
        ];
        for (duration, text) in durations {
            assert_eq!(seconds(duration), text);
        }
        assert_eq!(bytes(8 << 10), "8.0 kB");
        assert_eq!(bytes(12 << 20), "12 MB");
        assert_eq!(bytes(3 << 40), "3.0 TB");
        assert_eq!(counted(1, "task"), "1 task");
        assert_eq!(counted(0, "unit"), "0 units");
        assert_eq!(estimated(0.2), "< 1 s");
        assert_eq!(estimated(20.0), "~20 s");
    }
}
