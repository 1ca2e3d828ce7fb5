//! Laying out text: wrapping, cutting, tables. Widths are in characters.

/// On one line and without control characters, so that a name in a pack or database can neither break
/// the layout nor speak to the terminal.
pub(crate) fn printable(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let joined = words.join(" ");
    let shown = joined
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c });
    shown.collect()
}

pub(super) fn width(text: &str) -> usize {
    text.chars().count()
}

/// Cut to at most that width, with an ellipsis where something is missing.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(most.saturating_sub(1)).collect();
    kept.truncate(kept.trim_end().len());
    kept.push('…');
    kept
}

/// Wrapped at spaces; words that are too long for a line are left whole, so that paths and names can
/// be copied.
pub(super) fn wrap(text: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(line) + 1 + width(word) <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// `a`, `a and b`, `a, b and c`, or `a, b, c and 4 more` where there are more than `most`.
pub(super) fn list(items: &[String], most: usize) -> String {
    let Some((last, rest)) = items.split_last() else {
        return String::new();
    };
    if items.len() > most {
        let shown = items[..most].join(", ");
        return format!("{shown} and {} more", items.len() - most);
    }
    if rest.is_empty() {
        last.clone()
    } else {
        format!("{} and {last}", rest.join(", "))
    }
}

/// Text under `heading`, an item each with a dash, wrapped and indented.
pub(super) fn items<I: IntoIterator<Item = String>>(
    out: &mut String,
    heading: &str,
    items: I,
    most: usize,
) {
    let mut items = items.into_iter().peekable();
    if items.peek().is_none() {
        return;
    }
    out.push_str(&format!("\n{heading}\n"));
    for item in items {
        let mut bullet = "  - ";
        for line in wrap(&item, most.saturating_sub(4)) {
            out.push_str(bullet);
            out.push_str(&line);
            out.push('\n');
            bullet = "    ";
        }
    }
}

/// How a column of a table stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A table with a heading over each column. The last column is not padded.
pub(super) fn table(columns: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let headings: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut widths: Vec<usize> = headings.iter().map(|name| width(name)).collect();
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width(cell));
        }
    }
    let mut out = String::new();
    for row in std::iter::once(&headings).chain(rows) {
        let mut line = String::new();
        for ((cell, (_, align)), width) in row.iter().zip(columns).zip(&widths) {
            match align {
                Align::Left => line.push_str(&format!("{cell:<width$}  ")),
                Align::Right => line.push_str(&format!("{cell:>width$}  ")),
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_laid_out() {
        assert_eq!(printable("a\n  b\u{1b}[31m\tc"), "a b\u{fffd}[31m c");
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abc defg", 5), "abc…");
        assert_eq!(
            wrap("one two three fourteen", 8),
            ["one two", "three", "fourteen"]
        );
        assert_eq!(wrap("", 8), Vec::<String>::new());
        let names = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(list(&names, 3), "a, b and c");
        assert_eq!(list(&names, 2), "a, b and 1 more");
        assert_eq!(list(&names[..1], 2), "a");
    }
}
