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

/// A size, in the largest unit of which it has one at least, as PostgreSQL counts: `64 MB`, `1.5 GB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1023.95 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    let tenths = (size * 10.0).round() as u64;
    let digits = usize::from(tenths < 100 && !tenths.is_multiple_of(10) && unit > 0);
    format!("{size:.digits$} {}", UNITS[unit])
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
        let sizes = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1 << 10, "1 kB"),
            (1_600_000, "1.5 MB"),
            (64 << 20, "64 MB"),
            ((1 << 30) - 1, "1 GB"),
            (3 << 40, "3 TB"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(counted(1, "task"), "1 task");
        assert_eq!(counted(0, "unit"), "0 units");
        assert_eq!(estimated(0.2), "< 1 s");
        assert_eq!(estimated(20.0), "~20 s");
    }
}
