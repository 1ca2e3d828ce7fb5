//! `[window]`: when a fleet may be worked on. Times are those of a fixed distance to UTC: what a
//! time zone's rules say changes under an order that was given before.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Seconds of a day.
const DAY: u64 = 86_400;

/// `[window]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// `from`: seconds after midnight at which it opens.
    pub from: u32,
    /// `to`: seconds after midnight at which it ends; on the next day, where that is not after `from`.
    pub to: u32,
    /// `days`: on which it opens; every day where none is named.
    pub days: Vec<Weekday>,
    /// `utc_offset`: minutes that its clock is before UTC.
    pub utc_offset: i32,
    /// `at_end`: what becomes of databases that are being worked on when it ends.
    pub at_end: AtEnd,
}

/// `at_end`. Nothing begins any more in either case, and nothing begins that is not expected to be
/// through by then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtEnd {
    /// They are brought to their end.
    #[default]
    Finish,
    /// Their runs stop when the units in flight have ended, and go on when it opens again. The hook
    /// `after` waits for that too.
    Stop,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "their names say it")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Weekday {
    /// All, the first of January 1970 first: it was a Thursday.
    const SINCE_EPOCH: [Self; 7] = [
        Self::Thursday,
        Self::Friday,
        Self::Saturday,
        Self::Sunday,
        Self::Monday,
        Self::Tuesday,
        Self::Wednesday,
    ];

    /// The day whose name, or its first three letters, is given.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let days = [
            "thursday",
            "friday",
            "saturday",
            "sunday",
            "monday",
            "tuesday",
            "wednesday",
        ];
        let place = days.iter().position(|day| *day == text || day[..3] == text);
        place.map(|place| Self::SINCE_EPOCH[place])
    }
}

impl Window {
    /// The time since 1970 at which the window that is open at `now` ends, if one is.
    #[must_use]
    pub fn open_until(&self, now: Duration) -> Option<Duration> {
        let today = self.day(now);
        // The one that opened yesterday may still be open.
        let days = [today.checked_sub(1), Some(today)];
        let ends = days.into_iter().flatten().filter_map(|day| {
            let (from, to) = self.of_day(day)?;
            (from <= now && now < to).then_some(to)
        });
        ends.max()
    }

    /// The time since 1970 at which it opens next, after `now`.
    #[must_use]
    pub fn opens_after(&self, now: Duration) -> Option<Duration> {
        let today = self.day(now);
        let opens = (today..=today + 7).filter_map(|day| Some(self.of_day(day)?.0));
        opens.into_iter().find(|from| *from > now)
    }

    /// How long it is open.
    #[must_use]
    pub fn length(&self) -> Duration {
        let (from, to) = (u64::from(self.from), u64::from(self.to));
        Duration::from_secs(match to > from {
            true => to - from,
            false => to + DAY - from,
        })
    }

    /// Days since 1970 by its clock.
    fn day(&self, now: Duration) -> u64 {
        now.as_secs()
            .saturating_add_signed(i64::from(self.utc_offset) * 60)
            / DAY
    }

    /// When the window of a day opens and ends.
    fn of_day(&self, day: u64) -> Option<(Duration, Duration)> {
        let weekday = Weekday::SINCE_EPOCH[(day % 7) as usize];
        if !self.days.is_empty() && !self.days.contains(&weekday) {
            return None;
        }
        let local = day * DAY + u64::from(self.from);
        let from = local.checked_add_signed(-i64::from(self.utc_offset) * 60)?;
        let from = Duration::from_secs(from);
        Some((from, from + self.length()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-28, a Saturday, at so many minutes after midnight UTC.
    fn saturday(minutes: u64) -> Duration {
        Duration::from_secs(20_785 * DAY + minutes * 60)
    }

    fn night() -> Window {
        Window {
            from: 22 * 3_600,
            to: 5 * 3_600,
            days: Vec::new(),
            utc_offset: 60,
            at_end: AtEnd::Finish,
        }
    }

    #[test]
    fn a_night_is_open_over_midnight() {
        let night = night();
        // 22:00 there is 21:00 UTC, 05:00 is 04:00.
        for (minutes, until, opens) in [
            (0, Some(240), 21 * 60),
            (239, Some(240), 21 * 60),
            (240, None, 21 * 60),
            (21 * 60 - 1, None, 21 * 60),
            (21 * 60, Some(1_440 + 240), 1_440 + 21 * 60),
        ] {
            let now = saturday(minutes);
            assert_eq!(night.open_until(now), until.map(saturday), "{minutes}");
            assert_eq!(night.opens_after(now), Some(saturday(opens)), "{minutes}");
        }
    }

    #[test]
    fn a_window_of_some_days_opens_on_these() {
        let sundays = Window {
            days: vec![Weekday::parse("sun").unwrap()],
            ..night()
        };
        assert_eq!(sundays.open_until(saturday(21 * 60)), None);
        let opens = saturday(1_440 + 21 * 60);
        assert_eq!(sundays.opens_after(saturday(0)), Some(opens));
        // Until Monday.
        let monday = saturday(2 * 1_440 + 200);
        assert_eq!(sundays.open_until(monday), Some(saturday(2 * 1_440 + 240)));
    }

    #[test]
    fn the_same_time_twice_is_a_whole_day() {
        let always = Window {
            to: 22 * 3_600,
            ..night()
        };
        assert_eq!(always.length(), Duration::from_secs(DAY));
        assert!((0..3_000).all(|minutes| always.open_until(saturday(minutes)).is_some()));
    }
}
