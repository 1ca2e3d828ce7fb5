//! Checks of arguments: what is wrong with them, before anything runs.

use regex::Regex;

use super::Rule;

/// A country's calling code.
pub(super) fn country_code(text: &str) -> Result<(), String> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let right = (1..=3).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !digits.starts_with('0');
    if right {
        return Ok(());
    }
    Err(format!(
        "\"{text}\" is not a country's calling code: write its digits, such as \"32\""
    ))
}

/// What is dialled before a number within its country.
pub(super) fn trunk_prefix(text: &str) -> Result<(), String> {
    if text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(());
    }
    Err(format!(
        "\"{text}\" is not a trunk prefix: write the digits that are dialled before a number within its \
         country, such as \"0\", or \"\" for none"
    ))
}

/// Compiles a pattern.
///
/// # Errors
/// What is wrong with it.
pub fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| {
        let error = error.to_string();
        // The whole message draws the pattern over several lines; the last one says what is wrong.
        let last = error.lines().last().unwrap_or_default();
        format!(
            "this pattern is wrong: {}",
            last.trim_start_matches("error: ").trim()
        )
    })
}

/// Whether a replacement refers to groups that its pattern has. The crate `regex` takes an unknown
/// one for an empty text, and `$1a` for a group called `1a`.
pub(crate) fn rule(rule: &Rule) -> Result<(), (Part, String)> {
    let compiled = pattern(&rule.pattern).map_err(|why| (Part::Pattern, why))?;
    let mut rest = rule.replacement.as_str();
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
            continue;
        }
        let name = match rest.strip_prefix('{') {
            Some(inner) => inner.split_once('}').map_or("", |(name, _)| name),
            None => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                &rest[..end.unwrap_or(rest.len())]
            }
        };
        let known = match name.parse::<usize>() {
            Ok(number) => number < compiled.captures_len(),
            Err(_) => compiled.capture_names().flatten().any(|n| n == name),
        };
        if !known && !name.is_empty() {
            return Err((
                Part::Replacement,
                format!(
                    "the pattern has no group {name}: write ${{1}} where a letter or digit follows, and \
                     $$ for a dollar sign"
                ),
            ));
        }
    }
    Ok(())
}

/// Whether patterns can be looked for together.
pub(crate) fn together(rules: &[Rule]) -> Result<(), String> {
    let patterns = rules.iter().map(|rule| &rule.pattern);
    regex::RegexSet::new(patterns).map(drop).map_err(|_| {
        "these patterns are too large together: make two steps of them, the one after the other"
            .to_owned()
    })
}

/// Which part of a rule is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Pattern,
    Replacement,
}

/// A path: keys between dots, `*` for every element, a backslash before a dot or star that is part of
/// a key.
pub(crate) fn path(text: &str) -> Result<Vec<Option<String>>, String> {
    let wrong = || {
        format!(
            "\"{text}\" is not a path: write keys between dots, such as \"options.color\"; * stands for \
             every element, and a backslash takes a dot or star for part of a key"
        )
    };
    let mut keys = Vec::new();
    let (mut key, mut literal) = (String::new(), false);
    let mut characters = text.chars();
    loop {
        match characters.next() {
            Some('\\') => {
                key.push(characters.next().ok_or_else(wrong)?);
                literal = true;
            }
            Some(c) if c != '.' => key.push(c),
            end => {
                if key.is_empty() {
                    return Err(wrong());
                }
                let every = key == "*" && !literal;
                keys.push((!every).then(|| std::mem::take(&mut key)));
                (key, literal) = (String::new(), false);
                if end.is_none() {
                    return Ok(keys);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read() {
        let key = |text: &str| Some(text.to_owned());
        assert_eq!(path("a.b"), Ok(vec![key("a"), key("b")]));
        assert_eq!(path("a.*.b"), Ok(vec![key("a"), None, key("b")]));
        assert_eq!(path(r"a\.b.\*"), Ok(vec![key("a.b"), key("*")]));
        for wrong in ["", ".", "a.", ".a", "a..b", "a\\"] {
            assert!(path(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn replacements_name_groups_that_are_there() {
        let check = |pattern: &str, replacement: &str| {
            rule(&Rule {
                pattern: pattern.to_owned(),
                replacement: replacement.to_owned(),
            })
            .map_err(|(part, _)| part)
        };
        for right in ["", "$1", "${1}a", "$0", "$n", "$$5", "a $ b", "€$"] {
            assert_eq!(check("(a)(?<n>b)", right), Ok(()), "{right}");
        }
        for wrong in ["$3", "$1a", "${x}", "$x"] {
            assert_eq!(
                check("(a)(?<n>b)", wrong),
                Err(Part::Replacement),
                "{wrong}"
            );
        }
        assert_eq!(check("(a", ""), Err(Part::Pattern));
    }

    #[test]
    fn codes_are_digits() {
        for right in ["32", "+1", "351"] {
            assert!(country_code(right).is_ok(), "{right}");
        }
        for wrong in ["", "032", "BE", "12345", "+", "٣٢"] {
            assert!(country_code(wrong).is_err(), "{wrong}");
        }
        assert!(
            trunk_prefix("").is_ok() && trunk_prefix("06").is_ok() && trunk_prefix("x").is_err()
        );
    }
}
