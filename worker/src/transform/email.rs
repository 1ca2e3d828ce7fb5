//! `email_normalise`: white space off, the domain in lower case (the part before the @ belongs to its
//! server, which may tell cases apart). `Name <address>` keeps its name; several addresses between
//! commas or semicolons are each done.

use upshift_shared::transform::Call;

use super::{Function, Otherwise, text};

pub(super) struct EmailNormalise {
    lower_local: bool,
    invalid: Otherwise,
}

impl EmailNormalise {
    pub(super) fn new(call: &Call) -> Result<Self, String> {
        Ok(Self {
            lower_local: text(call, "local")? == "lower",
            invalid: Otherwise::of(call, "invalid")?,
        })
    }
}

impl Function for EmailNormalise {
    fn apply(&self, value: Option<&str>) -> Result<Option<String>, String> {
        let Some(value) = value else {
            return Ok(None);
        };
        match self.all(value) {
            Some(normal) => Ok(Some(normal)),
            None => self
                .invalid
                .apply(value, "its value is not an e-mail address"),
        }
    }
}

impl EmailNormalise {
    /// `None` where one of them is no address.
    fn all(&self, value: &str) -> Option<String> {
        let mut normal = String::with_capacity(value.len());
        let (mut begin, mut quoted) = (0, false);
        for (at, c) in value.char_indices() {
            quoted ^= c == '"';
            if matches!(c, ',' | ';') && !quoted {
                self.one(&value[begin..at], &mut normal)?;
                normal.push(c);
                normal.push(' ');
                begin = at + 1;
            }
        }
        self.one(&value[begin..], &mut normal)?;
        Some(normal)
    }

    fn one(&self, text: &str, normal: &mut String) -> Option<()> {
        let text = text.trim();
        let Some(inner) = text.strip_suffix('>') else {
            return self.address(text, normal);
        };
        let (name, address) = inner.rsplit_once('<')?;
        let name = name.trim();
        if !name.is_empty() {
            normal.push_str(name);
            normal.push(' ');
        }
        normal.push('<');
        self.address(address.trim(), normal)?;
        normal.push('>');
        Some(())
    }

    fn address(&self, text: &str, normal: &mut String) -> Option<()> {
        let (local, domain) = text.rsplit_once('@')?;
        let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
        let odd = |c: char| c.is_whitespace() || matches!(c, '@' | '<' | '>' | ',' | ';' | '"');
        if local.is_empty() || (local.contains(odd) && !quoted) {
            return None;
        }
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        let right = domain.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_alphanumeric() || c == '-')
        });
        if !right {
            return None;
        }
        if self.lower_local && !quoted {
            normal.push_str(&local.to_lowercase());
        } else {
            normal.push_str(local);
        }
        normal.push('@');
        normal.push_str(&domain.to_lowercase());
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use crate::transform::testing::{expect, function};

    #[test]
    fn addresses_are_normalised() {
        let email = function("email_normalise", &[("local", "keep"), ("invalid", "keep")]);
        expect(
            &*email,
            &[
                (" Bob.B@Example.COM ", "Bob.B@example.com"),
                ("a@b.c.", "a@b.c"),
                ("Bob <Bob@X.org>", "Bob <Bob@x.org>"),
                ("\"B, Bob\" <b@X.org>", "\"B, Bob\" <b@x.org>"),
                ("<b@X.org>", "<b@x.org>"),
                ("a@X.org;b@Y.org", "a@x.org; b@y.org"),
                ("a@X.org ,  b@Y.org", "a@x.org, b@y.org"),
                ("info@MÜNCHEN.de", "info@münchen.de"),
                ("\"odd one\"@X.org", "\"odd one\"@x.org"),
                ("nobody", "nobody"),
                (" a@b@C ", " a@b@C "),
                ("a@-B.c", "a@-B.c"),
                ("", ""),
            ],
        );
        assert_eq!(email.apply(None), Ok(None));
        let lower = function(
            "email_normalise",
            &[("local", "lower"), ("invalid", "null")],
        );
        expect(&*lower, &[("Bob@X.org", "bob@x.org")]);
        assert_eq!(lower.apply(Some("nobody")), Ok(None));
        let strict = function(
            "email_normalise",
            &[("local", "keep"), ("invalid", "error")],
        );
        assert!(
            strict
                .apply(Some("secret"))
                .is_err_and(|why| !why.contains("secret"))
        );
    }
}
