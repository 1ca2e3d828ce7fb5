//! Patterns of names: `*` for any characters, `?` for one.

use serde::{Deserialize, Serialize};

use super::MemberName;

/// A pattern as shells have it, without classes. One with a slash is compared with the whole name
/// of a member (`db1/tenant_*`), another one with the name of its database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(String);

impl Pattern {
    /// The pattern that is written so.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// How it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a text fits as a whole.
    #[must_use]
    pub fn fits(&self, text: &str) -> bool {
        fits(&self.0, text)
    }

    /// Whether a member is meant.
    #[must_use]
    pub fn fits_member(&self, name: &MemberName) -> bool {
        match self.0.contains('/') {
            true => self.fits(&name.to_string()),
            false => self.fits(name.database()),
        }
    }
}

/// Goes back to the last `*` alone, so that hostile patterns cost no more than the product of both
/// lengths.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_those_of_shells() {
        for (pattern, text, expected) in [
            ("tenant_*", "tenant_1", true),
            ("tenant_*", "tenant_", true),
            ("tenant_*", "my_tenant_1", false),
            ("*_?", "a_b_c", true),
            ("*_?", "a_b_cd", false),
            ("a*b*c", "a-b-b-c", true),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("ä?", "äö", true),
        ] {
            assert_eq!(
                Pattern::new(pattern).fits(text),
                expected,
                "{pattern} {text}"
            );
        }
        let name = MemberName::on("db1", "tenant_1");
        assert!(Pattern::new("tenant_*").fits_member(&name));
        assert!(Pattern::new("db1/tenant_*").fits_member(&name));
        assert!(!Pattern::new("db2/*").fits_member(&name));
    }
}
