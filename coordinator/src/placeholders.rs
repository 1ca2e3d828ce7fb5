//! Placeholders in the words of commands that a configuration names.

/// A word with what stands between braces in it filled in; what was filled in is not looked at again.
pub(crate) fn filled(word: &str, values: &[(&'static str, String)]) -> String {
    let mut rest = word;
    let mut out = String::with_capacity(word.len());
    'word: while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        for (name, value) in values {
            let after = rest[1..].strip_prefix(name);
            if let Some(after) = after.and_then(|after| after.strip_prefix('}')) {
                out.push_str(value);
                rest = after;
                continue 'word;
            }
        }
        out.push('{');
        rest = &rest[1..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_filled_in_is_not_looked_at_again() {
        let values = [("a", "{b}".to_owned()), ("b", "x".to_owned())];
        assert_eq!(filled("-{a}{b}{c}{", &values), "-{b}x{c}{");
    }
}
