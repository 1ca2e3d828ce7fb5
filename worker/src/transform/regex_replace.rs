//! `regex_replace`: patterns and what replaces them, in order, each seeing what those before it left.

use regex::{Regex, RegexSet};
use upshift_shared::transform::{Call, Value, pattern};

use super::{Function, missing};

pub(super) struct RegexReplace {
    /// All patterns in one pass: most values hold none of them.
    any: RegexSet,
    rules: Vec<(Regex, String)>,
}

impl RegexReplace {
    pub(super) fn new(call: &Call) -> Result<Self, String> {
        let Some(Value::Rules(rules)) = call.arguments.get("rules") else {
            return Err(missing(call, "rules"));
        };
        let any = RegexSet::new(rules.iter().map(|rule| &rule.pattern));
        let compiled = rules
            .iter()
            .map(|rule| Ok((pattern(&rule.pattern)?, rule.replacement.clone())));
        Ok(Self {
            any: any
                .map_err(|_| "the patterns are too large together: split the step".to_owned())?,
            rules: compiled.collect::<Result<_, String>>()?,
        })
    }
}

impl Function for RegexReplace {
    fn apply(&self, value: Option<&str>) -> Result<Option<String>, String> {
        let Some(value) = value else {
            return Ok(None);
        };
        if !self.any.is_match(value) {
            return Ok(Some(value.to_owned()));
        }
        let mut text = value.to_owned();
        for (pattern, replacement) in &self.rules {
            if let std::borrow::Cow::Owned(changed) =
                pattern.replace_all(&text, replacement.as_str())
            {
                text = changed;
            }
        }
        Ok(Some(text))
    }
}

#[cfg(test)]
mod tests {
    use upshift_shared::transform::{Rule, Value};

    use crate::transform::testing::{built, expect};

    #[test]
    fn patterns_are_replaced_in_order() {
        let rule = |(pattern, replacement): (&str, &str)| Rule {
            pattern: pattern.to_owned(),
            replacement: replacement.to_owned(),
        };
        let rules = [("a", "b"), ("b+", "c"), (r"(\d+)-(\d+)", "$2.$1")].map(rule);
        let rules = vec![("rules".to_owned(), Value::Rules(rules.to_vec()))];
        let replace = built("regex_replace", rules);
        expect(
            &*replace,
            &[
                ("", ""),
                ("xyz", "xyz"),
                ("xabz", "xcz"),
                ("12-34 5-6", "34.12 6.5"),
                ("größe-a", "größe-c"),
            ],
        );
        assert_eq!(replace.apply(None), Ok(None));
    }
}
