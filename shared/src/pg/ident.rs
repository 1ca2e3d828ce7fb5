//! Quoting. The only module that turns names and values into SQL text.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Quotes an identifier. Always with quotes: that is right for every name, keywords included.
///
/// A NUL byte cannot occur in a name that PostgreSQL gave us; it is dropped, because the wire
/// protocol would end the statement there.
#[must_use]
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('\0', "").replace('"', "\"\""))
}

/// Quotes a string literal, with `E''` where it holds a backslash, so that it means the same under
/// either setting of `standard_conforming_strings`.
#[must_use]
pub fn literal(value: &str) -> String {
    let value = value.replace('\0', "").replace('\'', "''");
    if value.contains('\\') {
        format!("E'{}'", value.replace('\\', "\\\\"))
    } else {
        format!("'{value}'")
    }
}

/// A schema and a name. Displays quoted and qualified.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QualifiedName {
    /// Schema, not quoted.
    pub schema: String,
    /// Name, not quoted.
    pub name: String,
}

impl QualifiedName {
    /// From its parts, not quoted.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            schema: schema.into(),
            name: name.into(),
        }
    }

    /// For people: `schema.name`, without `public.`, not quoted.
    #[must_use]
    pub fn plain(&self) -> String {
        if self.schema == "public" {
            self.name.clone()
        } else {
            format!("{}.{}", self.schema, self.name)
        }
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", ident(&self.schema), ident(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_names() {
        assert_eq!(
            ident(r#"a"; DROP TABLE b; --"#),
            r#""a""; DROP TABLE b; --""#
        );
        assert_eq!(ident("Größe\0"), "\"Größe\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"\' OR 1=1"), r"E'\\'' OR 1=1'");
    }
}
