//! Reads Odoo's `__manifest__.py`: one Python dict of literals, the way `ast.literal_eval` does. Only what
//! a pack needs is kept; everything else is read over, but it must be literal.

use super::{
    document::Placed,
    source::{Findings, Source},
};

/// What a pack needs of a manifest.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Manifest {
    /// `version`.
    pub(super) version: Option<Placed<String>>,
    /// `depends`.
    pub(super) depends: Vec<Placed<String>>,
    /// `installable`; `true` where it is not given.
    pub(super) installable: bool,
}

/// A Python literal.
#[derive(Debug, Clone, PartialEq)]
enum Literal {
    Text(String),
    Truth(bool),
    List(Vec<Placed<Literal>>),
    Dict(Vec<(Placed<Literal>, Placed<Literal>)>),
    /// Numbers, None, bytes.
    Other,
}

/// Deepest nesting that is read.
const DEEPEST: usize = 64;

/// Reads a manifest; what is wrong with it goes to `findings`.
pub(super) fn read(source: &Source, findings: &mut Findings) -> Option<Manifest> {
    let mut parser = Parser {
        text: &source.text,
        at: 0,
        depth: 0,
    };
    match parser.manifest() {
        Ok(manifest) => Some(manifest),
        Err((at, message)) => {
            findings.complain(source, at, message);
            None
        }
    }
}

type Fault = (usize, String);

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn manifest(&mut self) -> Result<Manifest, Fault> {
        self.skip_space();
        let start = self.at;
        let literal = self.value()?;
        self.skip_space();
        if !self.rest().is_empty() {
            return Err((
                self.at,
                "a manifest is one dict of literals: remove what follows it".into(),
            ));
        }
        let Literal::Dict(entries) = literal else {
            return Err((start, "a manifest is a dict: write { 'name': …, … }".into()));
        };
        let mut manifest = Manifest {
            installable: true,
            ..Manifest::default()
        };
        for ((key, _), (value, at)) in entries {
            let Literal::Text(key) = key else { continue };
            match (key.as_str(), value) {
                ("version", Literal::Text(version)) => manifest.version = Some((version, at)),
                ("version", _) => return Err((at, "version is a text: put it in quotes".into())),
                ("depends", Literal::List(items)) => {
                    manifest.depends = items
                        .into_iter()
                        .map(|(item, at)| match item {
                            Literal::Text(name) => Ok((name, at)),
                            _ => Err((at, "depends is a list of names in quotes".to_owned())),
                        })
                        .collect::<Result<_, _>>()?;
                }
                ("depends", _) => {
                    return Err((at, "depends is a list of names in quotes".into()));
                }
                ("installable", Literal::Truth(truth)) => manifest.installable = truth,
                ("installable", _) => {
                    return Err((at, "installable is True or False".into()));
                }
                _ => {}
            }
        }
        Ok(manifest)
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    fn skip_space(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\n', '\x0C', '\\']);
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with('#') {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn value(&mut self) -> Result<Literal, Fault> {
        self.skip_space();
        let start = self.at;
        if self.depth >= DEEPEST {
            return Err((start, "this is nested too deep for a manifest".into()));
        }
        self.depth += 1;
        let literal = match self.peek() {
            None => Err((start, "the file ends where a value is needed".into())),
            Some('{') => self.dict(),
            Some('[') => self.list(']'),
            Some('(') => self.list(')'),
            Some('\'' | '"') => self.texts(),
            Some(c) if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => {
                self.number();
                Ok(Literal::Other)
            }
            Some(_) => self.named(start),
        };
        self.depth -= 1;
        literal
    }

    /// `True`, `False`, `None`, or a string with a prefix.
    fn named(&mut self, start: usize) -> Result<Literal, Fault> {
        let word: String = self
            .rest()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let quoted = self.rest()[word.len()..].starts_with(['\'', '"']);
        match word.to_ascii_lowercase().as_str() {
            "r" | "u" | "b" | "br" | "rb" if quoted => self.texts(),
            _ if word == "True" || word == "False" => {
                self.at += word.len();
                Ok(Literal::Truth(word == "True"))
            }
            _ if word == "None" => {
                self.at += word.len();
                Ok(Literal::Other)
            }
            _ => Err((
                start,
                "a manifest holds only literals: write the value itself here".into(),
            )),
        }
    }

    fn number(&mut self) {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '_')))
            .unwrap_or(rest.len());
        self.at += end;
    }

    fn dict(&mut self) -> Result<Literal, Fault> {
        let open = self.at;
        self.eat('{');
        let mut entries = Vec::new();
        loop {
            self.skip_space();
            if self.eat('}') {
                return Ok(Literal::Dict(entries));
            }
            let key_at = self.at;
            if self.rest().is_empty() {
                return Err((open, "this { is not closed".into()));
            }
            let key = self.value()?;
            self.skip_space();
            // A set has values alone; it is read over.
            let value = if self.eat(':') {
                self.skip_space();
                let at = self.at;
                (self.value()?, at)
            } else {
                (Literal::Other, self.at)
            };
            entries.push(((key, key_at), value));
            self.separator('}', open)?;
        }
    }

    fn list(&mut self, close: char) -> Result<Literal, Fault> {
        let open = self.at;
        self.at += 1;
        let mut items = Vec::new();
        let mut commas = 0;
        loop {
            self.skip_space();
            if self.eat(close) {
                // ('a') is 'a'; ('a',) is a tuple.
                return Ok(match items.pop() {
                    Some((item, _)) if close == ')' && items.is_empty() && commas == 0 => item,
                    Some(last) => {
                        items.push(last);
                        Literal::List(items)
                    }
                    None => Literal::List(items),
                });
            }
            let at = self.at;
            if self.rest().is_empty() {
                return Err((open, "this bracket is not closed".into()));
            }
            items.push((self.value()?, at));
            commas += usize::from(self.separator(close, open)?);
        }
    }

    /// A comma, or nothing before the closing bracket.
    fn separator(&mut self, close: char, open: usize) -> Result<bool, Fault> {
        self.skip_space();
        if self.eat(',') {
            return Ok(true);
        }
        match self.peek() {
            Some(c) if c == close => Ok(false),
            None => Err((open, "this bracket is not closed".into())),
            Some(_) => Err((self.at, format!("a comma or {close} is missing here"))),
        }
    }

    /// One string, or several that stand side by side.
    fn texts(&mut self) -> Result<Literal, Fault> {
        let mut text = String::new();
        let mut bytes = false;
        loop {
            let rest = self.rest();
            let prefix = rest
                .find(['\'', '"'])
                .filter(|length| *length <= 2)
                .map(|length| rest[..length].to_ascii_lowercase());
            let Some(prefix) = prefix.filter(|prefix| {
                "rub".contains(prefix.as_str()) || matches!(prefix.as_str(), "br")
            }) else {
                break;
            };
            self.at += prefix.len();
            bytes |= prefix.contains('b');
            self.string(prefix.contains('r'), &mut text)?;
            self.skip_space();
        }
        Ok(if bytes {
            Literal::Other
        } else {
            Literal::Text(text)
        })
    }

    fn string(&mut self, raw: bool, text: &mut String) -> Result<(), Fault> {
        let start = self.at;
        let quote = if self.peek() == Some('"') { "\"" } else { "'" };
        let triple = quote.repeat(3);
        let long = self.rest().starts_with(&triple);
        let close = if long { triple.as_str() } else { quote };
        self.at += close.len();
        loop {
            if self.rest().starts_with(close) {
                self.at += close.len();
                return Ok(());
            }
            match self.peek() {
                None => return Err((start, "this string is not closed".into())),
                Some('\n') if !long => {
                    return Err((start, "this string is not closed on its line".into()));
                }
                Some('\\') => self.escape(raw, text),
                Some(c) => {
                    text.push(c);
                    self.at += c.len_utf8();
                }
            }
        }
    }

    /// A backslash and what it escapes. Python leaves unknown escapes as they stand.
    fn escape(&mut self, raw: bool, text: &mut String) {
        self.at += 1;
        let Some(c) = self.peek() else { return };
        self.at += c.len_utf8();
        if raw {
            text.push('\\');
            text.push(c);
            return;
        }
        let digits = match c {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        match c {
            '\n' => {}
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            '\\' | '\'' | '"' => text.push(c),
            _ => {
                let code = self.rest().get(..digits);
                let decoded = code
                    .filter(|_| digits > 0)
                    .and_then(|code| u32::from_str_radix(code, 16).ok())
                    .and_then(char::from_u32);
                if let Some(decoded) = decoded {
                    self.at += digits;
                    text.push(decoded);
                } else {
                    text.push('\\');
                    text.push(c);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Manifest, Fault> {
        Parser {
            text,
            at: 0,
            depth: 0,
        }
        .manifest()
    }

    #[test]
    fn a_real_manifest() {
        let manifest = parse(
            "# -*- coding: utf-8 -*-\n# Part of Odoo.\n{\n 'name': u'Sales', \"version\": '1.' '2',\n \
             'depends': ['sales_team', # why\n r\"account\",],\n 'price': -1.5e3, 'x': None,\n \
             'description': \"\"\"Say \"hi\"\n\\u00e9\"\"\", 'assets': {'a': [('include', 'b')]},\n \
             'installable': True, 'auto_install': ('a',),\n}\n",
        )
        .unwrap_or_else(|(at, message)| panic!("{at}: {message}"));
        assert_eq!(manifest.version.map(|(v, _)| v).as_deref(), Some("1.2"));
        let depends: Vec<_> = manifest.depends.into_iter().map(|(d, _)| d).collect();
        assert_eq!(depends, ["sales_team", "account"]);
        assert!(manifest.installable);
    }

    #[test]
    fn what_is_no_manifest() {
        for (text, at, message) in [
            ("", 0, "the file ends where a value is needed"),
            ("['a']", 0, "a manifest is a dict: write { 'name': …, … }"),
            (
                "{'a': b}",
                6,
                "a manifest holds only literals: write the value itself here",
            ),
            ("{'a': 'b", 6, "this string is not closed"),
            ("{'a': 'b'", 0, "this bracket is not closed"),
            ("{'a': 'b' 'c': 1}", 13, "a comma or } is missing here"),
            (
                "{'depends': 'x'}",
                12,
                "depends is a list of names in quotes",
            ),
            (
                "{'depends': ['x', 1]}",
                18,
                "depends is a list of names in quotes",
            ),
            (
                "{'version': 1.0}",
                12,
                "version is a text: put it in quotes",
            ),
            ("{'installable': 0}", 16, "installable is True or False"),
            (
                "{}\nimport os",
                3,
                "a manifest is one dict of literals: remove what follows it",
            ),
            (
                "{'a': f'b'}",
                6,
                "a manifest holds only literals: write the value itself here",
            ),
        ] {
            assert_eq!(parse(text), Err((at, message.to_owned())), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        assert!(parse(&deep).is_err_and(|(at, _)| at == DEEPEST));
    }
}
