//! Single values of `fleet.toml`.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use super::{
    Pattern, Share, StopAfter, Weekday,
    parse::{Reader, Value},
};
use crate::Result;

impl Reader<'_> {
    pub(super) fn weekday(&self, value: &Value<'_>) -> Result<Weekday> {
        let day = Weekday::parse(self.source.string(value)?);
        day.map_or_else(
            || self.wrong(value.span(), "expected a day: \"saturday\" or \"sat\""),
            Ok,
        )
    }

    pub(super) fn time(&self, value: &Value<'_>) -> Result<u32> {
        let seconds = value.get_ref().as_str().and_then(time_of_day);
        seconds.map_or_else(
            || {
                self.wrong(
                    value.span(),
                    "expected a time of day: \"22:00\", \"22:00:30\"",
                )
            },
            Ok,
        )
    }

    pub(super) fn utc_offset(&self, value: &Value<'_>) -> Result<i32> {
        let text = value.get_ref().as_str().unwrap_or_default();
        let signed = [("+", 1), ("-", -1)]
            .into_iter()
            .find_map(|(sign, factor)| {
                let minutes = minutes(text.strip_prefix(sign)?)?;
                Some(factor * i32::try_from(minutes).ok().filter(|m| *m <= 14 * 60)?)
            });
        signed.map_or_else(
            || {
                self.wrong(
                    value.span(),
                    "expected the distance to UTC: \"+01:00\", \"-05:00\"",
                )
            },
            Ok,
        )
    }

    pub(super) fn share(&self, value: &Value<'_>) -> Result<Share> {
        if value.get_ref().as_integer().is_some() {
            return Ok(Share::Count(self.number(value)?));
        }
        match value.get_ref().as_str() {
            Some("rest") => Ok(Share::Rest),
            Some(text) if text.contains('%') => Ok(Share::Part(self.part(text, value)?)),
            _ => self.wrong(value.span(), "expected a number, \"5 %\" or \"rest\""),
        }
    }

    pub(super) fn stop_after(&self, value: &Value<'_>) -> Result<StopAfter> {
        if value.get_ref().as_integer().is_some() {
            return Ok(StopAfter::Failed(self.number(value)?));
        }
        match value.get_ref().as_str() {
            Some("never") => Ok(StopAfter::Never),
            Some(text) if text.contains('%') => Ok(StopAfter::Part(self.part(text, value)?)),
            _ => {
                let message = "expected a number of failed databases, \"5 %\" of those of the wave, \
                               or \"never\"";
                self.wrong(value.span(), message)
            }
        }
    }

    pub(super) fn name(&self, value: &Value<'_>) -> Result<String> {
        let name = self.source.string(value)?;
        match is_plain(name) {
            true => Ok(name.to_owned()),
            false => self.wrong(value.span(), "expected 1 to 64 letters, digits, - and _"),
        }
    }

    pub(super) fn path(&self, value: &Value<'_>) -> Result<PathBuf> {
        let text = self.text(value)?;
        let folder = self.source.path.parent().unwrap_or(Path::new(""));
        Ok(folder.join(text))
    }

    pub(super) fn text(&self, value: &Value<'_>) -> Result<String> {
        let text = self.source.string(value)?;
        match text.trim().is_empty() {
            true => self.wrong(value.span(), "expected a string that is not empty"),
            false => Ok(text.to_owned()),
        }
    }

    /// The name of an entry of `upshift.toml`.
    pub(super) fn entry(&self, value: &Value<'_>) -> Result<String> {
        let name = self.text(value)?;
        match name.contains(['/', '=']) {
            true => {
                let message = "a server is the NAME of an entry [databases.NAME] of upshift.toml";
                self.wrong(value.span(), message)
            }
            false => Ok(name),
        }
    }

    pub(super) fn entries(&self, value: &Value<'_>) -> Result<Vec<String>> {
        let items = self.array(value, "servers = [\"db1\", \"db2\"]")?;
        items.iter().map(|item| self.entry(item)).collect()
    }

    pub(super) fn texts(&self, value: &Value<'_>) -> Result<Vec<String>> {
        let items = self.array(value, "[\"a\", \"b\"]")?;
        items.iter().map(|item| self.text(item)).collect()
    }

    /// One pattern, or an array of them.
    pub(super) fn patterns(&self, value: &Value<'_>) -> Result<Vec<Pattern>> {
        match value.get_ref().as_str() {
            Some(_) => Ok(vec![Pattern::new(&self.text(value)?)]),
            None => Ok(self
                .texts(value)?
                .iter()
                .map(|text| Pattern::new(text))
                .collect()),
        }
    }

    pub(super) fn number(&self, value: &Value<'_>) -> Result<u32> {
        let number = value.get_ref().as_integer();
        let number = number.and_then(|number| number.as_str().parse().ok());
        let number = number.filter(|number| (1..=1_000_000).contains(number));
        number.map_or_else(
            || self.wrong(value.span(), "expected a number from 1 to 1000000"),
            Ok,
        )
    }

    /// `5 %` as hundredths of a percent.
    pub(super) fn part(&self, text: &str, value: &Value<'_>) -> Result<u32> {
        let number = text.trim().strip_suffix('%').map(str::trim);
        let part = number.and_then(|number| {
            let (whole, rest) = number.split_once('.').unwrap_or((number, "0"));
            let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
            let fits = digits(whole) && digits(rest) && (1..=2).contains(&rest.len());
            let rest: u32 = fits.then(|| format!("{rest:0<2}").parse().ok())??;
            whole
                .parse::<u32>()
                .ok()?
                .checked_mul(100)?
                .checked_add(rest)
        });
        let part = part.filter(|part| (1..=10_000).contains(part));
        let message = "expected a part: \"5 %\", \"0.5 %\", at most \"100 %\"";
        part.map_or_else(|| self.wrong(value.span(), message), Ok)
    }

    pub(super) fn one_of<T: Copy>(&self, value: &Value<'_>, known: &[(&str, T)]) -> Result<T> {
        let text = value.get_ref().as_str();
        let found = known.iter().find(|(name, _)| Some(*name) == text);
        found.map_or_else(
            || {
                let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                self.wrong(
                    value.span(),
                    &format!("expected one of {}", names.join(", ")),
                )
            },
            |(_, what)| Ok(*what),
        )
    }

    pub(super) fn array<'v>(&self, value: &'v Value<'_>, what: &str) -> Result<&'v [Value<'v>]> {
        match value.get_ref().as_array() {
            Some(items) if !items.is_empty() => Ok(items),
            _ => self.wrong(value.span(), &format!("expected an array: {what}")),
        }
    }

    pub(super) fn each<T>(
        &self,
        value: &Value<'_>,
        what: &str,
        read: impl Fn(&Self, &Value<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let items = self.array(value, what)?;
        items.iter().map(|item| read(self, item)).collect()
    }

    pub(super) fn wrong<T>(&self, span: Range<usize>, message: &str) -> Result<T> {
        Err(self.source.complain(span, message.to_owned()))
    }
}

/// A time of day in seconds.
fn time_of_day(text: &str) -> Option<u32> {
    match text.match_indices(':').nth(1) {
        None => Some(minutes(text)? * 60),
        Some((at, _)) => Some(minutes(&text[..at])? * 60 + digits(&text[at + 1..], 60)?),
    }
}

/// Hours and minutes, in minutes.
fn minutes(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    Some(digits(hours, 24)? * 60 + digits(minutes, 60)?)
}

/// Two digits, less than `limit`.
fn digits(text: &str, limit: u32) -> Option<u32> {
    let fits = text.len() == 2 && text.chars().all(|c| c.is_ascii_digit());
    let number: u32 = fits.then(|| text.parse().ok())??;
    (number < limit).then_some(number)
}

/// Letters, digits, - and _: what is safe in a path and in a key.
pub(super) fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=64).contains(&name.len()) && name.chars().all(plain)
}
