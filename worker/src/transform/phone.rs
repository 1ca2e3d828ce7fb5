//! `phone_normalise`: telephone numbers in the form of E.164: `+`, the country's code, the number.
//!
//! It looks at the form only: no country's numbering plan is consulted, so a number that nobody has
//! passes, and one with an extension behind it does not.

use upshift_shared::transform::Call;

use super::{Function, Otherwise, text};

/// Digits of a number with its country's code (E.164 allows 15; 7 are the fewest in use).
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

pub(super) struct PhoneNormalise {
    country: String,
    trunk: String,
    invalid: Otherwise,
}

impl PhoneNormalise {
    pub(super) fn new(call: &Call) -> Result<Self, String> {
        let country = text(call, "country")?.trim_start_matches('+').to_owned();
        let trunk = match call.text("trunk") {
            Some(trunk) => trunk,
            None => usual_trunk(&country),
        };
        Ok(Self {
            trunk: trunk.to_owned(),
            country,
            invalid: Otherwise::of(call, "invalid")?,
        })
    }
}

/// What is dialled before a number within its country (ITU-T, list of national dialling prefixes).
/// Where there is none, no number begins with 0, so that nothing is taken off either.
fn usual_trunk(country: &str) -> &'static str {
    match country {
        // North America; Russia and Kazakhstan; Hungary; in Italy and San Marino the 0 is dialled from
        // abroad too.
        "1" => "1",
        "7" => "8",
        "36" => "06",
        "39" | "378" => "",
        _ => "0",
    }
}

impl Function for PhoneNormalise {
    fn apply(&self, value: Option<&str>) -> Result<Option<String>, String> {
        let Some(value) = value else {
            return Ok(None);
        };
        match self.number(value) {
            Some(number) => Ok(Some(number)),
            None => self
                .invalid
                .apply(value, "its value is not a telephone number"),
        }
    }
}

impl PhoneNormalise {
    /// `None` for what is no number.
    fn number(&self, value: &str) -> Option<String> {
        let value = value.trim();
        let value = match value.get(..4) {
            Some(scheme) if scheme.eq_ignore_ascii_case("tel:") => value[4..].trim_start(),
            _ => value,
        };
        let (international, rest) = match value.strip_prefix(['+', '＋']) {
            Some(rest) => (true, rest),
            None => (false, value),
        };
        // `+32 (0)2 …`: the trunk prefix, for those who dial within the country.
        let rest = if international {
            rest.replacen("(0)", "", 1)
        } else {
            rest.to_owned()
        };
        let digits = digits(&rest)?;
        let number = if international {
            digits
        } else if let Some(digits) = digits.strip_prefix("00") {
            digits.to_owned()
        } else {
            let own = digits.strip_prefix(self.trunk.as_str()).unwrap_or(&digits);
            format!("{}{own}", self.country)
        };
        let right = DIGITS.contains(&number.len()) && !number.starts_with('0');
        right.then(|| format!("+{number}"))
    }
}

/// The digits between what people write between them; `None` where something else is there.
fn digits(text: &str) -> Option<String> {
    let mut digits = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '0'..='9' => digits.push(c),
            '-'
            | '.'
            | '/'
            | '('
            | ')'
            | '\u{2010}'..='\u{2015}'
            | '\u{200e}'
            | '\u{202a}'
            | '\u{202c}' => {}
            c if c.is_whitespace() => {}
            _ => return None,
        }
    }
    (!digits.is_empty()).then_some(digits)
}

#[cfg(test)]
mod tests {
    use crate::transform::testing::{expect, function};

    #[test]
    fn numbers_get_their_country() {
        let belgian = function("phone_normalise", &[("country", "32"), ("invalid", "keep")]);
        expect(
            &*belgian,
            &[
                ("081 81 37 00", "+3281813700"),
                ("+32 (0)81/81.37.00", "+3281813700"),
                ("0032 81 81 37 00", "+3281813700"),
                ("tel:+32-81-81-37-00", "+3281813700"),
                ("+1 (650) 555-0123", "+16505550123"),
                ("\u{a0}0470\u{2011}12 34 56 ", "+32470123456"),
                ("+3281813700", "+3281813700"),
                ("call me", "call me"),
                ("081 81 37 00 ext. 12", "081 81 37 00 ext. 12"),
                ("12", "12"),
                ("+0123456789", "+0123456789"),
                ("+12345678901234567", "+12345678901234567"),
                ("", ""),
                ("€uro", "€uro"),
            ],
        );
        assert_eq!(belgian.apply(None), Ok(None));
    }

    #[test]
    fn countries_differ_in_their_trunk_prefix() {
        for (country, value, expected) in [
            ("1", "1 (650) 555-0123", "+16505550123"),
            ("1", "650-555-0123", "+16505550123"),
            ("+39", "06 1234 5678", "+390612345678"),
            ("7", "8 (912) 345-67-89", "+79123456789"),
            ("36", "06 1 234 5678", "+3612345678"),
            ("34", "912 34 56 78", "+34912345678"),
        ] {
            let phone = function(
                "phone_normalise",
                &[("country", country), ("invalid", "null")],
            );
            expect(&*phone, &[(value, expected)]);
            assert_eq!(phone.apply(Some("?")), Ok(None));
        }
        let other = [("country", "999"), ("trunk", "9"), ("invalid", "error")];
        let other = function("phone_normalise", &other);
        expect(&*other, &[("9123456", "+999123456")]);
        assert!(
            other
                .apply(Some("secret"))
                .is_err_and(|why| !why.contains("secret"))
        );
    }
}
