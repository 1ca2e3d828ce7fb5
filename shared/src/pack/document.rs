//! TOML with places: tables whose keys are asked for by name, so that what nobody asked for is a
//! complaint.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::source::{Findings, Source};
use crate::suggest::suggestion;

/// A value and the byte offset where it stands.
pub(super) type Placed<T> = (T, usize);

/// Parses a document; a syntax error is a complaint.
pub(super) fn parse<'a>(
    source: &'a Source,
    findings: &mut Findings,
) -> Option<Spanned<DeTable<'a>>> {
    match DeTable::parse(&source.text) {
        Ok(table) => Some(table),
        Err(e) => {
            let at = e.span().map_or(0, |span| span.start);
            let why = e.message().replace('\n', ", ");
            findings.complain(source, at, format!("this is not TOML: {why}"));
            None
        }
    }
}

/// A table being read.
pub(super) struct Reader<'a> {
    source: &'a Source,
    table: &'a DeTable<'a>,
    /// What it is, for messages: `pack.toml`, `[installed]`.
    what: &'static str,
    /// Where it begins.
    pub(super) at: usize,
    known: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    /// Begins to read a table.
    pub(super) fn new(
        source: &'a Source,
        table: &'a DeTable<'a>,
        what: &'static str,
        at: usize,
    ) -> Self {
        Self {
            source,
            table,
            what,
            at,
            known: Vec::new(),
        }
    }

    /// Complains about every key that was not asked for.
    pub(super) fn finish(self, findings: &mut Findings) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if !self.known.contains(&name) {
                findings.complain(
                    self.source,
                    key.span().start,
                    format!(
                        "unknown key \"{name}\" in {}{}",
                        self.what,
                        suggestion(name, &self.known)
                    ),
                );
            }
        }
    }

    /// A text.
    pub(super) fn text(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
    ) -> Option<Placed<&'a str>> {
        let value = self.value(key)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong(key, value, "a text in quotes", findings);
        }
        Some((text?, value.span().start))
    }

    /// A text that must be there.
    pub(super) fn needed_text(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
    ) -> Option<Placed<&'a str>> {
        if self.value(key).is_none() {
            findings.complain(
                self.source,
                self.at,
                format!("{} lacks {key} = \"…\"", self.what),
            );
        }
        self.text(key, findings)
    }

    /// `true` or `false`.
    pub(super) fn truth(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
    ) -> Option<Placed<bool>> {
        let value = self.value(key)?;
        let truth = value.get_ref().as_bool();
        if truth.is_none() {
            self.wrong(key, value, "true or false", findings);
        }
        Some((truth?, value.span().start))
    }

    /// A list of texts.
    pub(super) fn texts(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
    ) -> Option<Placed<Vec<Placed<&'a str>>>> {
        let value = self.value(key)?;
        let texts = value.get_ref().as_array().and_then(|array| {
            array
                .iter()
                .map(|item| Some((item.get_ref().as_str()?, item.span().start)))
                .collect::<Option<Vec<_>>>()
        });
        if texts.is_none() {
            self.wrong(key, value, "a list of texts", findings);
        }
        Some((texts?, value.span().start))
    }

    /// A table.
    pub(super) fn table(
        &mut self,
        key: &'static str,
        what: &'static str,
        findings: &mut Findings,
    ) -> Option<Reader<'a>> {
        let value = self.value(key)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong(key, value, "a table", findings);
        }
        Some(Reader::new(self.source, table?, what, value.span().start))
    }

    /// Tables written `[[key]]`.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        what: &'static str,
        findings: &mut Findings,
    ) -> Vec<Reader<'a>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let tables = value.get_ref().as_array().and_then(|array| {
            array
                .iter()
                .map(|item| {
                    let table = item.get_ref().as_table()?;
                    Some(Reader::new(self.source, table, what, item.span().start))
                })
                .collect::<Option<Vec<_>>>()
        });
        tables.unwrap_or_else(|| {
            let at = value.span().start;
            findings.complain(self.source, at, format!("steps are written [[{key}]]"));
            Vec::new()
        })
    }

    /// A list of tables that may as well stand between braces: `key = [{ … }, …]`.
    pub(super) fn items(
        &mut self,
        key: &'static str,
        (what, form): (&'static str, &str),
        findings: &mut Findings,
    ) -> Option<Vec<Reader<'a>>> {
        let value = self.value(key)?;
        let items = value.get_ref().as_array().and_then(|array| {
            array
                .iter()
                .map(|item| {
                    let table = item.get_ref().as_table()?;
                    Some(Reader::new(self.source, table, what, item.span().start))
                })
                .collect::<Option<Vec<_>>>()
        });
        let items = items.filter(|items| !items.is_empty());
        if items.is_none() {
            let at = value.span().start;
            findings.complain(self.source, at, format!("{key} is written {form}"));
        }
        items
    }

    /// Whether a key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table.get(key)
    }

    fn wrong(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        needed: &str,
        findings: &mut Findings,
    ) {
        findings.complain(
            self.source,
            value.span().start,
            format!(
                "{key} needs {needed}, and this is of type {}",
                value.get_ref().type_str()
            ),
        );
    }
}
