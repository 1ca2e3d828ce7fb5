//! `[[transform]]` steps: names, condition and arguments, checked against the declared functions.

use std::{collections::BTreeMap, path::Path};

use pg_query::NodeEnum;
use toml::de::DeTable;

use super::{
    Step, StepKind, TransformStep, directive,
    document::{Placed, Reader},
    grammar,
    source::{Findings, Source},
    typed, value_map,
};
use crate::{
    pg::ident::ident,
    suggest::suggestion,
    transform::{
        self, Argument, Call, Declaration, FUNCTIONS, Kind, PathChange, Rule, Value,
        check::{self, Part},
    },
};

/// Reads one step.
pub(super) fn step(
    root: &Path,
    source: &Source,
    mut reader: Reader<'_>,
    findings: &mut Findings,
) -> Option<Step> {
    let at = reader.at;
    let before = findings.complaints.len();
    let directives = typed::directives(source, &mut reader, findings);
    let table = reader
        .needed_text("table", findings)
        .and_then(|table| table_name(source, table, findings));
    let columns = columns(source, &mut reader, findings);
    let condition = reader.text("where", findings);
    if let Some((text, at)) = condition
        && let Err(why) = check_condition(text)
    {
        findings.complain(source, at, format!("in where: {why}"));
    }
    let function = reader
        .needed_text("function", findings)
        .and_then(|name| declaration(source, name, findings));
    let arguments = reader.table("arguments", "[transform.arguments]", findings);
    reader.finish(findings);
    let call = function.map(|function| {
        let empty = DeTable::new();
        let arguments =
            arguments.unwrap_or_else(|| Reader::new(source, &empty, "[transform.arguments]", at));
        call(root, source, (function, arguments), findings)
    });
    let (table, (from, to), call) = (table?, columns?, call?);
    if findings.complaints.len() > before {
        return None;
    }
    let condition = condition.map_or_else(String::new, |(text, _)| format!(" WHERE (\n{text}\n)"));
    Some(Step {
        location: source.location(at),
        kind: StepKind::Transform(TransformStep {
            statement: format!(
                "UPDATE {table} SET {} = {}{condition}",
                ident(&to),
                ident(&from)
            ),
            source: from,
            target: to,
            call,
        }),
        directives,
        settings: Vec::new(),
    })
}

/// The table's name as SQL.
fn table_name(
    source: &Source,
    (text, at): Placed<&str>,
    findings: &mut Findings,
) -> Option<String> {
    match directive::names(text) {
        Some(names) if names.len() <= 2 => {
            let names: Vec<String> = names.iter().map(|name| ident(name)).collect();
            Some(names.join("."))
        }
        _ => {
            let why = format!("\"{text}\" is not a table's name: write table or schema.table");
            findings.complain(source, at, why);
            None
        }
    }
}

/// The column that is read and the one that is written.
fn columns(
    source: &Source,
    reader: &mut Reader<'_>,
    findings: &mut Findings,
) -> Option<(String, String)> {
    let mut name = |key: &'static str| {
        let (text, at) = reader.text(key, findings)?;
        let name = match directive::names(text).as_deref() {
            Some([name]) => Ok(name.clone()),
            _ => {
                let why = format!("\"{text}\" is not a column's name");
                findings.complain(source, at, why);
                Err(())
            }
        };
        Some((name, at))
    };
    let (column, from, to) = (name("column"), name("source"), name("target"));
    match (column, from, to) {
        (Some((column, _)), None, None) => column.ok().map(|column| (column.clone(), column)),
        (None, Some((from, _)), Some((to, _))) => from.ok().zip(to.ok()),
        (column, from, to) => {
            let at = column.or(from).or(to).map_or(reader.at, |(_, at)| at);
            let why = "[[transform]] needs column = \"…\", or source = \"…\" and target = \"…\"";
            findings.complain(source, at, why);
            None
        }
    }
}

/// Whether a text is one condition, and nothing that reaches beyond its parentheses.
fn check_condition(text: &str) -> Result<(), String> {
    let parsed = grammar::parse(&format!("SELECT (\n{text}\n)")).map_err(|e| e.to_string())?;
    let select = match parsed.protobuf.stmts.as_slice() {
        [only] => only.stmt.as_ref().and_then(|node| node.node.as_ref()),
        _ => None,
    };
    let alone = match select {
        Some(NodeEnum::SelectStmt(select)) => {
            select.target_list.len() == 1
                && select.from_clause.is_empty()
                && select.where_clause.is_none()
                && select.having_clause.is_none()
                && select.group_clause.is_empty()
                && select.sort_clause.is_empty()
                && select.limit_count.is_none()
                && select.larg.is_none()
                && select.into_clause.is_none()
        }
        _ => false,
    };
    if alone && parsed.dml_tables().is_empty() {
        return Ok(());
    }
    Err("one condition is needed here, without the word WHERE".to_owned())
}

fn declaration(
    source: &Source,
    (name, at): Placed<&str>,
    findings: &mut Findings,
) -> Option<&'static Declaration> {
    let found = transform::find(name);
    if found.is_none() {
        let known: Vec<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
        let hint = suggestion(name, &known);
        findings.complain(source, at, format!("unknown function \"{name}\"{hint}"));
    }
    found
}

/// The arguments, each checked; what is wrong is a complaint.
fn call(
    root: &Path,
    source: &Source,
    (function, mut reader): (&'static Declaration, Reader<'_>),
    findings: &mut Findings,
) -> Call {
    let mut arguments = BTreeMap::new();
    for argument in function.arguments {
        let value = value(root, source, (argument, &mut reader), findings);
        arguments.extend(value.map(|value| (argument.name.to_owned(), value)));
    }
    reader.finish(findings);
    Call {
        function: function.name.to_owned(),
        arguments,
    }
}

fn value(
    root: &Path,
    source: &Source,
    (argument, reader): (&'static Argument, &mut Reader<'_>),
    findings: &mut Findings,
) -> Option<Value> {
    let name = argument.name;
    match &argument.kind {
        Kind::Word(words) => {
            let Some((word, at)) = reader.text(name, findings) else {
                return words.first().map(|word| Value::Text((*word).to_owned()));
            };
            if !words.contains(&word) {
                let why = format!("unknown {name} \"{word}\"{}", suggestion(word, words));
                findings.complain(source, at, why);
            }
            Some(Value::Text(word.to_owned()))
        }
        Kind::Text(check) | Kind::OptionalText(check) => {
            let (text, at) = match argument.kind {
                Kind::Text(_) => reader.needed_text(name, findings)?,
                _ => reader.text(name, findings)?,
            };
            if let Err(why) = check(text) {
                findings.complain(source, at, why);
            }
            Some(Value::Text(text.to_owned()))
        }
        Kind::Rules => {
            let before = findings.complaints.len();
            let items = list(source, (name, RULES), reader, findings)?;
            let first = items.first().map_or(reader.at, |item| item.at);
            let rules = items
                .into_iter()
                .filter_map(|item| rule(source, item, findings));
            let rules: Vec<Rule> = rules.collect();
            if findings.complaints.len() == before
                && let Err(why) = check::together(&rules)
            {
                findings.complain(source, first, why);
            }
            Some(Value::Rules(rules))
        }
        Kind::Paths => {
            let items = list(source, (name, PATHS), reader, findings)?;
            let paths = items
                .into_iter()
                .filter_map(|item| path_change(source, item, findings));
            Some(Value::Paths(paths.collect()))
        }
        Kind::Map => {
            let file = reader.needed_text(name, findings)?;
            value_map::read(root, source, file, findings).map(Value::Map)
        }
    }
}

const RULES: &str = "[{ pattern = \"…\", replacement = \"…\" }, …]";
const PATHS: &str =
    "[{ move = \"…\", to = \"…\" }, { rename = \"…\", to = \"…\" }, { delete = \"…\" }, …]";

/// The items of a list that must be there.
fn list<'a>(
    source: &Source,
    (name, form): (&'static str, &str),
    reader: &mut Reader<'a>,
    findings: &mut Findings,
) -> Option<Vec<Reader<'a>>> {
    if !reader.has(name) {
        let why = format!("[transform.arguments] lacks {name} = {form}");
        findings.complain(source, reader.at, why);
    }
    reader.items(name, (name, form), findings)
}

fn rule(source: &Source, mut reader: Reader<'_>, findings: &mut Findings) -> Option<Rule> {
    let pattern = reader.needed_text("pattern", findings);
    let replacement = reader.needed_text("replacement", findings);
    reader.finish(findings);
    let ((pattern, pattern_at), (replacement, replacement_at)) = (pattern?, replacement?);
    let rule = Rule {
        pattern: pattern.to_owned(),
        replacement: replacement.to_owned(),
    };
    if let Err((part, why)) = check::rule(&rule) {
        let at = match part {
            Part::Pattern => pattern_at,
            Part::Replacement => replacement_at,
        };
        findings.complain(source, at, why);
    }
    Some(rule)
}

fn path_change(
    source: &Source,
    mut reader: Reader<'_>,
    findings: &mut Findings,
) -> Option<PathChange> {
    let at = reader.at;
    let moved = reader.text("move", findings);
    let renamed = reader.text("rename", findings);
    let deleted = reader.text("delete", findings);
    let to = reader.text("to", findings);
    reader.finish(findings);
    let mut path = |(text, at): Placed<&str>, stars: bool| match check::path(text) {
        Ok(path) if !stars && path.contains(&None) => {
            let why = "a move is from one place to one place: * cannot stand here";
            findings.complain(source, at, why);
            None
        }
        Ok(path) => Some(path),
        Err(why) => {
            findings.complain(source, at, why);
            None
        }
    };
    match (moved, renamed, deleted, to) {
        (Some(from), None, None, Some(to)) => Some(PathChange::Move {
            from: path(from, false)?,
            to: path(to, false)?,
        }),
        (None, Some(renamed), None, Some((to, to_at))) => {
            let path = path(renamed, true)?;
            if path.last() == Some(&None) {
                let why = "the last key of this path gets another name, so it cannot be *";
                findings.complain(source, renamed.1, why);
            }
            if to.is_empty() {
                findings.complain(source, to_at, "the new name of the key is missing");
            }
            let to = to.to_owned();
            Some(PathChange::Rename { path, to })
        }
        (None, None, Some(deleted), None) => Some(PathChange::Delete {
            path: path(deleted, true)?,
        }),
        _ => {
            findings.complain(source, at, format!("a change of paths is one of {PATHS}"));
            None
        }
    }
}
