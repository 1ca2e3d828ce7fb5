//! Odoo's `{parallel_filter}` (odoo/upgrade-util, `explode_execute`): stands in a WHERE for the condition
//! that selects a share of the rows. It becomes `true` here, which is what it means for the whole table.

use pg_query::protobuf::ScanToken;

use super::words::Words;

const MARKER: &str = "{parallel_filter}";

/// A statement whose marker was replaced.
pub(super) struct Replaced {
    /// The text without markers and with `{{` and `}}` undone.
    pub(super) sql: String,
    /// (offset in `sql`, offset in the statement) behind each replacement, ascending.
    moved: Vec<(usize, usize)>,
}

impl Replaced {
    /// The offset in the statement as written.
    pub(super) fn original(&self, offset: usize) -> usize {
        let index = self.moved.partition_point(|(new, _)| *new <= offset);
        match index.checked_sub(1).map(|i| self.moved[i]) {
            Some((new, old)) => old + (offset - new),
            None => offset,
        }
    }
}

/// Whether the marker stands in a statement outside of strings and comments. `tokens` are its own,
/// with places in `sql`, the file.
pub(super) fn present(statement: &str, sql: &str, tokens: &[ScanToken]) -> bool {
    if !statement.contains(MARKER) {
        return false;
    }
    let words = Words::new(sql, tokens);
    (0..words.len()).any(|i| {
        words.text(i) == "{"
            && words.text(i + 1) == "parallel_filter"
            && words.text(i + 2) == "}"
            && words.end(i + 2) - words.offset(i) == MARKER.len()
    })
}

/// Replaces as Python's `str.format` does, strings included: that is what the authors of such
/// statements write for.
///
/// # Errors
/// The offset in the statement of a brace that is neither the marker nor doubled.
pub(super) fn replace(statement: &str) -> Result<Replaced, usize> {
    let mut replaced = Replaced {
        sql: String::with_capacity(statement.len()),
        moved: Vec::new(),
    };
    let mut at = 0;
    while let Some(brace) = statement[at..].find(['{', '}']).map(|i| at + i) {
        replaced.sql.push_str(&statement[at..brace]);
        let rest = &statement[brace..];
        let (text, length) = if rest.starts_with(MARKER) {
            ("true", MARKER.len())
        } else if rest.starts_with("{{") {
            ("{", 2)
        } else if rest.starts_with("}}") {
            ("}", 2)
        } else {
            return Err(brace);
        };
        replaced.sql.push_str(text);
        at = brace + length;
        replaced.moved.push((replaced.sql.len(), at));
    }
    replaced.sql.push_str(&statement[at..]);
    Ok(replaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marker_becomes_true_and_braces_single() {
        let statement = "UPDATE t SET c = '{{\"a\": 1}}' WHERE {parallel_filter} AND b";
        let replaced = replace(statement).unwrap_or_else(|at| panic!("brace at {at}"));
        assert_eq!(
            replaced.sql,
            "UPDATE t SET c = '{\"a\": 1}' WHERE true AND b"
        );
        assert_eq!(replaced.original(0), 0);
        let b = replaced.sql.len() - 1;
        assert_eq!(replaced.original(b), statement.len() - 1);
        assert_eq!(
            replace("WHERE {parallel_filter} AND c = '{}'").err(),
            Some(33)
        );
    }
}
