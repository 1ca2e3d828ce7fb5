//! The words of one statement: its tokens without comments, with their text.

use pg_query::protobuf::{ScanToken, Token};

use super::grammar::{is_comment, text_of};

/// The tokens of a statement, comments left out.
pub(super) struct Words<'a> {
    sql: &'a str,
    tokens: Vec<&'a ScanToken>,
}

impl<'a> Words<'a> {
    /// From a statement's tokens in `sql`.
    pub(super) fn new(sql: &'a str, tokens: &'a [ScanToken]) -> Self {
        Self {
            sql,
            tokens: tokens.iter().filter(|token| !is_comment(token)).collect(),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The text of one, as it stands; empty behind the end.
    pub(super) fn text(&self, index: usize) -> &'a str {
        self.tokens
            .get(index)
            .map_or("", |token| text_of(self.sql, token))
    }

    /// Whether one is this word, in whatever case. Quoted identifiers and strings are no words.
    pub(super) fn is(&self, index: usize, word: &str) -> bool {
        self.text(index).eq_ignore_ascii_case(word)
    }

    /// Whether the statement opens with these words.
    pub(super) fn begin_with(&self, words: &str) -> bool {
        words
            .split(' ')
            .enumerate()
            .all(|(index, word)| self.is(index, word))
    }

    /// Where one begins.
    pub(super) fn offset(&self, index: usize) -> usize {
        self.tokens
            .get(index)
            .or(self.tokens.last())
            .map_or(0, |token| token.start as usize)
    }

    /// Where one ends.
    pub(super) fn end(&self, index: usize) -> usize {
        self.tokens
            .get(index)
            .or(self.tokens.last())
            .map_or(0, |token| token.end as usize)
    }

    /// The text from one to the last.
    pub(super) fn rest(&self, from: usize) -> &'a str {
        match (self.tokens.get(from), self.tokens.last()) {
            (Some(first), Some(last)) => self
                .sql
                .get(first.start as usize..last.end as usize)
                .unwrap_or_default(),
            _ => "",
        }
    }

    /// The parenthesis that closes the one at `open`.
    pub(super) fn matching(&self, open: usize) -> Option<usize> {
        let mut depth = 0_usize;
        (open..self.len()).find(|i| {
            match self.text(*i) {
                "(" => depth += 1,
                ")" => depth = depth.saturating_sub(1),
                _ => return false,
            }
            depth == 0
        })
    }

    /// A plain string literal's value; `None` for anything else (escape and Unicode strings too).
    pub(super) fn string(&self, index: usize) -> Option<String> {
        let token = self.tokens.get(index)?;
        let inner = text_of(self.sql, token)
            .strip_prefix('\'')?
            .strip_suffix('\'')?;
        (token.token == Token::Sconst as i32).then(|| inner.replace("''", "'"))
    }

    /// An identifier's name, folded as PostgreSQL does.
    pub(super) fn name(&self, index: usize) -> Option<String> {
        let text = self.text(index);
        if let Some(quoted) = text.strip_prefix('"') {
            return Some(quoted.strip_suffix('"')?.replace("\"\"", "\""));
        }
        text.starts_with(|c: char| c.is_alphabetic() || c == '_')
            .then(|| text.to_lowercase())
    }
}
