//! Edits of a statement's text, at places that the parse tree gives.

use pg_query::protobuf::{ScanToken, Token};
use serde_json::Value;
use upshift_shared::pack::grammar;

/// A statement's text, its tokens, and what is to be changed.
pub(super) struct Text<'a> {
    sql: &'a str,
    tokens: Vec<ScanToken>,
    edits: Vec<(usize, usize, String)>,
}

impl<'a> Text<'a> {
    pub(super) fn new(sql: &'a str) -> Result<Self, String> {
        let mut tokens = grammar::scan(sql)?;
        tokens.retain(|token| !grammar::is_comment(token));
        Ok(Self {
            sql,
            tokens,
            edits: Vec::new(),
        })
    }

    /// The token that begins at a node's location.
    fn token(&self, location: &Value) -> Option<usize> {
        let location = i32::try_from(location.as_i64()?).ok()?;
        self.tokens
            .binary_search_by_key(&location, |token| token.start)
            .ok()
    }

    fn is(&self, token: usize, kind: Token) -> bool {
        self.tokens
            .get(token)
            .is_some_and(|token| token.token == kind as i32)
    }

    fn bounds(&self, token: usize) -> Option<(usize, usize)> {
        let token = self.tokens.get(token)?;
        let place = |place: i32| usize::try_from(place).ok();
        Some((place(token.start)?, place(token.end)?))
    }

    /// The last token of a dotted name.
    fn name_end(&self, mut token: usize) -> usize {
        while self.is(token + 1, Token::Ascii46) {
            token += 2;
        }
        token
    }

    /// Replaces a dotted name, such as `t.*`.
    pub(super) fn replace_name(&mut self, location: &Value, text: String) -> Option<()> {
        let first = self.token(location)?;
        let (start, _) = self.bounds(first)?;
        let (_, end) = self.bounds(self.name_end(first))?;
        self.edits.push((start, end, text));
        Some(())
    }

    /// What stands before the star of `t.*`, the point included.
    pub(super) fn before_star(&self, location: &Value) -> Option<&'a str> {
        let first = self.token(location)?;
        let (start, _) = self.bounds(first)?;
        let (star, _) = self.bounds(self.name_end(first))?;
        self.sql.get(start..star)
    }

    /// Puts a list behind the name of a target, and its alias.
    pub(super) fn after_target(&mut self, location: &Value, text: String) -> Option<()> {
        let mut last = self.name_end(self.token(location)?);
        if self.is(last + 1, Token::As) {
            last += 2;
        }
        let (_, end) = self.bounds(last)?;
        self.edits.push((end, end, text));
        Some(())
    }

    /// Replaces the keyword of `TABLE t`, given the place of `t`.
    pub(super) fn replace_table_command(&mut self, location: &Value, text: String) -> Option<()> {
        let name = self.token(location)?;
        let keyword = (0..name)
            .rev()
            .find(|token| self.is(*token, Token::Table))?;
        let (start, end) = self.bounds(keyword)?;
        self.edits.push((start, end, text));
        Some(())
    }

    /// The new text, where anything was changed.
    pub(super) fn finish(mut self) -> Option<String> {
        if self.edits.is_empty() {
            return None;
        }
        self.edits.sort();
        let mut text = String::with_capacity(self.sql.len() * 2);
        let mut position = 0;
        for (start, end, edit) in &self.edits {
            text.push_str(&self.sql[position..*start]);
            text.push_str(edit);
            position = *end;
        }
        text.push_str(&self.sql[position..]);
        Some(text)
    }
}
