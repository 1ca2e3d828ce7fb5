//! Directives: `-- upshift: key = value, …` comments before a statement.

use super::{
    ChunkDirective, Condition, Directives, StrategyDirective, When,
    source::{Findings, Source},
    statement,
};
use crate::suggest::suggestion;

const KEYS: &[&str] = &[
    "undo",
    "when",
    "chunk",
    "strategy",
    "irreversible",
    "label",
    "checkpoint",
];

/// The directive text of a comment and its byte offset in the comment; `None` for other comments.
pub(super) fn in_comment(comment: &str) -> Option<(usize, &str)> {
    let (skip, inner) = if let Some(inner) = comment.strip_prefix("--") {
        (2, inner)
    } else {
        let inner = comment.strip_prefix("/*")?;
        (2, inner.strip_suffix("*/").unwrap_or(inner))
    };
    let head = inner.trim_start();
    let (word, rest) = head.split_at_checked("upshift".len())?;
    if !word.eq_ignore_ascii_case("upshift") {
        return None;
    }
    let text = rest.trim_start().strip_prefix(':')?;
    Some((skip + (inner.len() - text.len()), text))
}

/// Collects the directives of one statement.
#[derive(Debug, Default)]
pub(super) struct Collector {
    directives: Directives,
    /// (key, byte offset in the file), in order.
    seen: Vec<(&'static str, usize)>,
    /// Where the first comment stands.
    first: Option<usize>,
}

impl Collector {
    /// Where the first directive stands, if there is one.
    pub(super) fn first(&self) -> Option<usize> {
        self.first
    }

    /// The directives, checked against each other.
    pub(super) fn finish(self, source: &Source, findings: &mut Findings) -> Directives {
        let at = |key: &str| self.seen.iter().find(|(k, _)| *k == key).map(|(_, at)| *at);
        let Directives {
            chunk, strategy, ..
        } = &self.directives;
        if let (Some(_), Some(irreversible)) = (at("undo"), at("irreversible")) {
            findings.complain(
                source,
                irreversible,
                "a statement with undo is not irreversible: keep one of the two",
            );
        }
        if let (Some(ChunkDirective::By(_)), Some(StrategyDirective::Single), Some(at)) =
            (chunk, strategy, at("chunk"))
        {
            findings.complain(
                source,
                at,
                "strategy = single runs the statement whole: remove chunk = by(…) or the strategy",
            );
        }
        self.directives
    }

    /// Reads one comment's directives. `base` is the offset of `text` in the file.
    pub(super) fn read(
        &mut self,
        source: &Source,
        base: usize,
        text: &str,
        findings: &mut Findings,
    ) {
        self.first.get_or_insert(base);
        let mut cursor = Cursor { text, at: 0 };
        loop {
            cursor.skip_space();
            let start = cursor.at;
            if let Err((offset, message)) = self.item(&mut cursor, base) {
                findings.complain(source, base + offset, message);
                return;
            }
            cursor.skip_space();
            if cursor.rest().is_empty() {
                return;
            }
            if !cursor.eat(',') {
                findings.complain(
                    source,
                    base + cursor.at,
                    "directives of one line are separated by commas: write a comma here, or a new line",
                );
                return;
            }
            debug_assert!(cursor.at > start, "an item or a comma was read");
        }
    }

    fn item(&mut self, cursor: &mut Cursor<'_>, base: usize) -> Result<(), Fault> {
        let start = cursor.at;
        let word = cursor.word();
        let Some(key) = KEYS.iter().copied().find(|key| *key == word) else {
            return Err((
                start,
                if word.is_empty() {
                    format!("a directive is missing here: known are {}", KEYS.join(", "))
                } else {
                    format!("unknown directive \"{word}\"{}", suggestion(word, KEYS))
                },
            ));
        };
        if self.seen.iter().any(|(seen, _)| *seen == key) {
            return Err((
                start,
                format!("directive \"{key}\" is given twice for one statement: keep one"),
            ));
        }
        self.seen.push((key, base + start));
        cursor.skip_space();
        let value = if cursor.eat('=') {
            cursor.skip_space();
            Some((cursor.at, cursor.value()?))
        } else {
            None
        };
        self.assign(key, start, value)
    }

    fn assign(
        &mut self,
        key: &'static str,
        start: usize,
        value: Option<(usize, Value)>,
    ) -> Result<(), Fault> {
        let d = &mut self.directives;
        match (key, value) {
            ("irreversible", None) => d.irreversible = true,
            ("irreversible", Some((_, Value::Bare(text)))) if text == "true" => {
                d.irreversible = true;
            }
            ("irreversible", Some((at, _))) => {
                return Err((at, "irreversible takes no value: remove it".into()));
            }
            (_, None) => return Err((start, format!("{key} needs a value: {}", form(key)))),
            ("undo", Some((at, Value::Quoted(sql)))) => {
                statement::check_undo(&sql).map_err(|why| (at, format!("in undo: {why}")))?;
                d.undo = Some(sql);
            }
            ("label", Some((at, Value::Quoted(label)))) => {
                if label.trim().is_empty() {
                    return Err((
                        at,
                        "an empty label says nothing: write one, or remove it".into(),
                    ));
                }
                d.label = Some(label);
            }
            ("checkpoint", Some((at, Value::Quoted(name)))) => {
                d.checkpoint = Some(checkpoint(&name).map_err(|why| (at, why))?);
            }
            ("undo" | "label" | "checkpoint", Some((at, Value::Bare(_)))) => {
                return Err((
                    at,
                    format!("the value of {key} needs quotes: {}", form(key)),
                ));
            }
            ("when", Some((at, value))) => {
                d.when = Some(when(value.text()).map_err(|why| (at, why))?);
            }
            ("chunk", Some((at, value))) => {
                d.chunk = Some(chunk(value.text()).ok_or_else(|| wrong(key, at, &value))?);
            }
            (_, Some((at, value))) => {
                d.strategy = Some(strategy(value.text()).ok_or_else(|| wrong(key, at, &value))?);
            }
        }
        Ok(())
    }
}

/// Offset in the directive text, and message.
type Fault = (usize, String);

fn form(key: &str) -> &'static str {
    match key {
        "undo" => "write undo = \"SQL\"",
        "when" => {
            "write when = column_exists(table.column), table_exists(table) or module_installed(name)"
        }
        "chunk" => "write chunk = none or chunk = by(column)",
        "strategy" => "write strategy = in_place, shadow or single",
        "checkpoint" => "write checkpoint = \"name\"",
        _ => "write label = \"what it does\"",
    }
}

fn wrong(key: &str, at: usize, value: &Value) -> Fault {
    (
        at,
        format!(
            "\"{}\" is not a value of {key}: {}",
            value.text(),
            form(key)
        ),
    )
}

fn chunk(text: &str) -> Option<ChunkDirective> {
    if text == "none" {
        return Some(ChunkDirective::None);
    }
    let (function, argument) = call(text)?;
    match names(argument)?.as_slice() {
        [column] if function == "by" => Some(ChunkDirective::By(column.clone())),
        _ => None,
    }
}

/// A checkpoint's name: it is typed after `rollback --to`.
pub(super) fn checkpoint(name: &str) -> Result<String, String> {
    let plain = !name.is_empty() && name.trim() == name && !name.contains(char::is_control);
    match plain && !name.starts_with('-') {
        true => Ok(name.to_owned()),
        false => Err(
            "a checkpoint's name is not empty, begins with neither a dash nor a space, ends with no \
             space, and is on one line"
                .to_owned(),
        ),
    }
}

fn strategy(text: &str) -> Option<StrategyDirective> {
    match text {
        "in_place" => Some(StrategyDirective::InPlace),
        "shadow" => Some(StrategyDirective::Shadow),
        "single" => Some(StrategyDirective::Single),
        _ => None,
    }
}

/// Reads a condition: `[not] column_exists(t.c)`, `table_exists(t)`, `module_installed(m)`.
pub(super) fn when(text: &str) -> Result<When, String> {
    const CONDITIONS: &[&str] = &["column_exists", "table_exists", "module_installed"];
    let (negated, rest) = match text.strip_prefix("not") {
        Some(rest) if rest.starts_with(char::is_whitespace) => (true, rest.trim_start()),
        _ => (false, text),
    };
    let Some((function, argument)) = call(rest) else {
        return Err(format!("\"{text}\" is not a condition: {}", form("when")));
    };
    let condition = match function {
        "column_exists" => match names(argument).as_deref() {
            Some([table @ .., column]) if (1..=2).contains(&table.len()) => {
                Condition::ColumnExists {
                    table: table.to_vec(),
                    column: column.clone(),
                }
            }
            _ => return Err("column_exists takes table.column or schema.table.column".into()),
        },
        "table_exists" => match names(argument) {
            Some(table) if table.len() <= 2 => Condition::TableExists { table },
            _ => return Err("table_exists takes table or schema.table".into()),
        },
        "module_installed" => {
            let module = argument.trim().trim_matches('"');
            if module.is_empty() || module.contains([',', '(', '"', ' ']) {
                return Err("module_installed takes the name of one module".into());
            }
            Condition::ModuleInstalled {
                module: module.to_owned(),
            }
        }
        other => {
            return Err(format!(
                "unknown condition \"{other}\"{}",
                suggestion(other, CONDITIONS)
            ));
        }
    };
    Ok(When { negated, condition })
}

/// `function(argument)`.
fn call(text: &str) -> Option<(&str, &str)> {
    let (function, rest) = text.split_once('(')?;
    Some((function.trim_end(), rest.strip_suffix(')')?))
}

/// A qualified name as PostgreSQL reads it: parts between dots, folded unless quoted.
pub(super) fn names(text: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = text.trim();
    loop {
        let (name, after) = if let Some(inner) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut characters = inner.char_indices().peekable();
            let end = loop {
                let (at, c) = characters.next()?;
                if c != '"' {
                    name.push(c);
                } else if characters.next_if(|(_, next)| *next == '"').is_some() {
                    name.push('"');
                } else {
                    break at + 1;
                }
            };
            (name, &inner[end..])
        } else {
            let end = rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
                .unwrap_or(rest.len());
            let name = &rest[..end];
            if name.starts_with(|c: char| c.is_ascii_digit() || c == '$') {
                return None;
            }
            (name.to_lowercase(), &rest[end..])
        };
        if name.is_empty() {
            return None;
        }
        names.push(name);
        let after = after.trim_start();
        if after.is_empty() {
            return Some(names);
        }
        rest = after.strip_prefix('.')?.trim_start();
    }
}

/// The value of a directive.
enum Value {
    /// Between quotes, unescaped.
    Quoted(String),
    /// As it stands, up to the comma.
    Bare(String),
}

impl Value {
    fn text(&self) -> &str {
        let (Self::Quoted(text) | Self::Bare(text)) = self;
        text
    }
}

/// A place in the text of a directive comment.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.rest().starts_with(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))
            .unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn value(&mut self) -> Result<Value, Fault> {
        let start = self.at;
        if self.eat('"') {
            self.escaped(start).map(Value::Quoted)
        } else if self.eat('\'') {
            let rest = self.rest();
            let end = rest.find('\'').ok_or_else(|| unclosed(start))?;
            self.at += end + 1;
            Ok(Value::Quoted(rest[..end].to_owned()))
        } else {
            Ok(Value::Bare(self.bare()))
        }
    }

    /// The rest of a string in double quotes; `\"`, `\\`, `\n` and `\t` are its escapes.
    fn escaped(&mut self, start: usize) -> Result<String, Fault> {
        let mut value = String::new();
        let mut characters = self.rest().char_indices();
        let begin = self.at;
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => {
                    self.at = begin + at + 1;
                    return Ok(value);
                }
                '\\' => match characters.next() {
                    Some((_, c @ ('"' | '\\'))) => value.push(c),
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, 't')) => value.push('\t'),
                    _ => {
                        return Err((
                            begin + at,
                            "unknown escape in a string: write \\\" for a quote and \\\\ for a backslash"
                                .into(),
                        ));
                    }
                },
                c => value.push(c),
            }
        }
        Err(unclosed(start))
    }

    /// Up to a comma outside of parentheses and quotes.
    fn bare(&mut self) -> String {
        let (mut depth, mut quoted) = (0_usize, false);
        let rest = self.rest();
        let end = rest
            .find(|c| {
                match c {
                    '"' => quoted = !quoted,
                    '(' if !quoted => depth += 1,
                    ')' if !quoted => depth = depth.saturating_sub(1),
                    ',' => return depth == 0 && !quoted,
                    _ => {}
                }
                false
            })
            .unwrap_or(rest.len());
        self.at += end;
        rest[..end].trim().to_owned()
    }
}

fn unclosed(start: usize) -> Fault {
    (
        start,
        "this string is not closed: a directive's value ends with its comment".into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_postgresql_does() {
        assert_eq!(names("A.b").as_deref(), Some(&["a".into(), "b".into()][..]));
        assert_eq!(
            names(r#""A.""x" . c"#).as_deref(),
            Some(&["A.\"x".into(), "c".into()][..])
        );
        for wrong in ["", "a.", ".a", "a b", "\"a", "\"\"", "1a", "a,b"] {
            assert_eq!(names(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn comments_that_are_directives() {
        assert_eq!(in_comment("-- upshift: a"), Some((11, " a")));
        assert_eq!(in_comment("--Upshift :a"), Some((11, "a")));
        assert_eq!(in_comment("/* upshift: a */"), Some((11, " a ")));
        assert_eq!(in_comment("-- upshift runs this"), None);
        assert_eq!(in_comment("-- ünders"), None);
    }
}
