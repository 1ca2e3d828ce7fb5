//! What `upshift pack lint` says about a pack without a database: everything that keeps it from being used,
//! and what may surprise its author.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use pg_query::{NodeEnum, protobuf::SelectStmt};
use serde::Serialize;
use upshift_shared::{
    Error,
    pack::{self, Complaint, Location, Pack, Step, StepKind, grammar},
};

use crate::compile::resolve;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lint {
    /// Whether the pack can be used.
    pub ok: bool,
    /// The pack's name, where it could be read.
    pub pack: Option<String>,
    /// How many modules it has.
    pub modules: usize,
    /// How many steps its scripts have.
    pub steps: usize,
    /// Why it cannot be used.
    pub errors: Vec<Remark>,
    /// What may surprise.
    pub warnings: Vec<Remark>,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// What, and what to do.
    pub message: String,
    /// Where; `None` for what is about the pack as a whole.
    pub location: Option<Location>,
    /// The line, as it stands there.
    pub source_line: Option<String>,
}

impl From<Complaint> for Remark {
    fn from(complaint: Complaint) -> Self {
        Self {
            message: complaint.message,
            location: Some(complaint.location),
            source_line: Some(complaint.source_line),
        }
    }
}

impl Remark {
    fn whole(message: String) -> Self {
        Self {
            message,
            location: None,
            source_line: None,
        }
    }

    fn render(&self, kind: &str) -> String {
        match (&self.location, &self.source_line) {
            (Some(location), Some(line)) => {
                let complaint = Complaint {
                    location: location.clone(),
                    message: self.message.clone(),
                    source_line: line.clone(),
                };
                format!("{kind}: {complaint}\n")
            }
            _ => format!("{kind}: {}\n", self.message),
        }
    }
}

/// Reads the pack in `root` and renders what was found: as text, or as JSON. The second value says
/// whether the pack can be used; warnings do not keep it from that.
#[must_use]
pub fn lint(root: &Path, json: bool) -> (String, bool) {
    let found = examine(root);
    let rendered = if json {
        serde_json::to_string_pretty(&found).unwrap_or_else(|e| format!("{{\"error\": \"{e}\"}}"))
    } else {
        render(&found)
    };
    (rendered, found.ok)
}

/// Reads the pack in `root` and examines it.
#[must_use]
pub fn examine(root: &Path) -> Lint {
    let mut lint = Lint {
        ok: false,
        pack: None,
        modules: 0,
        steps: 0,
        errors: Vec::new(),
        warnings: Vec::new(),
    };
    match pack::load_with_remarks(root) {
        Ok((pack, remarks)) => {
            let faults = resolve::graph_faults(&pack);
            lint.errors = faults.into_iter().map(Remark::whole).collect();
            lint.warnings = remarks.into_iter().map(Remark::from).collect();
            lint.warnings.extend(warnings(root, &pack));
            lint.modules = pack.modules.len();
            lint.steps = steps(&pack).count();
            lint.pack = Some(pack.name);
        }
        Err(Error::Pack(complaints)) => {
            lint.errors = complaints.into_iter().map(Remark::from).collect();
        }
        Err(other) => lint.errors.push(Remark::whole(other.to_string())),
    }
    lint.warnings.sort_by(|a, b| a.location.cmp(&b.location));
    lint.ok = lint.errors.is_empty();
    lint
}

fn render(lint: &Lint) -> String {
    let mut text = String::new();
    for error in &lint.errors {
        text.push_str(&error.render("error"));
    }
    for warning in &lint.warnings {
        text.push_str(&warning.render("warning"));
    }
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    // Writing to a String does not fail.
    let _ = match &lint.pack {
        Some(name) => writeln!(
            text,
            "pack {name}: {}, {}: {}, {}",
            count(lint.modules, "module"),
            count(lint.steps, "step"),
            count(lint.errors.len(), "error"),
            count(lint.warnings.len(), "warning")
        ),
        None => writeln!(text, "{}", count(lint.errors.len(), "error")),
    };
    text
}

fn steps(pack: &Pack) -> impl Iterator<Item = &Step> {
    pack.modules
        .values()
        .flat_map(|module| &module.migrations)
        .flat_map(|migration| &migration.scripts)
        .flat_map(|script| &script.steps)
}

/// What may surprise the author of a step.
fn warnings(root: &Path, pack: &Pack) -> Vec<Remark> {
    let mut files: BTreeMap<&Path, Vec<String>> = BTreeMap::new();
    let mut found = Vec::new();
    for step in steps(pack) {
        let StepKind::Sql(sql) = &step.kind else {
            continue;
        };
        for message in of_statement(sql, step) {
            let lines = files.entry(&step.location.file).or_insert_with(|| {
                fs::read_to_string(root.join(&step.location.file))
                    .map(|text| text.lines().map(ToOwned::to_owned).collect())
                    .unwrap_or_default()
            });
            found.push(Remark {
                message,
                location: Some(step.location.clone()),
                source_line: lines
                    .get(step.location.line.saturating_sub(1) as usize)
                    .map(|line| line.trim_start_matches('\u{feff}').to_owned()),
            });
        }
    }
    found
}

fn of_statement(sql: &str, step: &Step) -> Vec<String> {
    let mut messages = of_functions(sql);
    let parsed = match grammar::parse(sql) {
        Ok(parsed) => Some(parsed),
        Err(fault) => {
            // What does not parse does not come out of `load`; what is left is depth.
            messages.push(format!(
                "{fault}, so it runs whole, after everything before it and before everything behind it: split it up"
            ));
            None
        }
    };
    let statement = parsed
        .as_ref()
        .and_then(|parsed| parsed.protobuf.stmts.first())
        .and_then(|statement| statement.stmt.as_ref())
        .and_then(|node| node.node.as_ref());
    let way_back = step.directives.undo.is_some() || step.directives.irreversible;
    match statement {
        Some(NodeEnum::DoStmt(_) | NodeEnum::CallStmt(_)) if !way_back => messages.push(
            "a DO block or CALL cannot be taken back by itself: put -- upshift: undo = \"SQL\" before it, or irreversible".into(),
        ),
        Some(NodeEnum::InsertStmt(insert)) => {
            if let Some(select) = insert.select_stmt.as_ref().and_then(|node| as_select(node.node.as_ref())) {
                messages.extend(of_insert(&insert.cols, select));
            }
        }
        Some(NodeEnum::CreateTableAsStmt(create)) => {
            let query = create.query.as_ref().and_then(|node| as_select(node.node.as_ref()));
            if query.is_some_and(has_star) {
                messages.push("SELECT * stores whichever columns there are by then: name them".into());
            }
        }
        Some(NodeEnum::SelectStmt(select)) if !select.locking_clause.is_empty() => messages.push(
            "FOR UPDATE locks rows to the end of this statement only, as every statement is a transaction of its own: remove it".into(),
        ),
        Some(NodeEnum::SelectStmt(_)) if !writes(sql) => messages.push(
            "this query changes nothing: remove it, or make it a [[check]] step".into(),
        ),
        _ => {}
    }
    messages
}

fn as_select(node: Option<&NodeEnum>) -> Option<&SelectStmt> {
    match node {
        Some(NodeEnum::SelectStmt(select)) => Some(select),
        _ => None,
    }
}

/// INSERT … SELECT, told by its column list.
fn of_insert(columns: &[pg_query::Node], select: &SelectStmt) -> Vec<String> {
    let mut messages = Vec::new();
    if !select.values_lists.is_empty() {
        return messages;
    }
    if columns.is_empty() {
        messages.push(
            "INSERT without a list of columns fills whichever columns there are by then: name them"
                .into(),
        );
    } else if has_star(select) {
        messages.push("SELECT * returns whichever columns there are by then: name them".into());
    }
    let fills_id = columns.iter().any(|column| {
        matches!(column.node.as_ref(), Some(NodeEnum::ResTarget(target)) if target.name == "id")
    });
    if !columns.is_empty() && !fills_id && select.sort_clause.is_empty() && !returns_one(select) {
        messages.push(
            "if the table numbers its rows, they are numbered as the SELECT happens to return them: add ORDER BY, so that every database gets the same ids".into(),
        );
    }
    messages
}

/// A SELECT without FROM returns one row.
fn returns_one(select: &SelectStmt) -> bool {
    select.from_clause.is_empty() && select.larg.is_none()
}

fn has_star(select: &SelectStmt) -> bool {
    select.target_list.iter().any(|target| {
        let Some(NodeEnum::ResTarget(target)) = target.node.as_ref() else {
            return false;
        };
        let value = target.val.as_ref().and_then(|value| value.node.as_ref());
        matches!(value, Some(NodeEnum::ColumnRef(column))
            if column.fields.iter().any(|f| matches!(f.node, Some(NodeEnum::AStar(_)))))
    })
}

/// Whether a SELECT may have an effect: it calls something, or holds a statement that writes.
fn writes(sql: &str) -> bool {
    const WRITING: &[&str] = &["(", "insert", "update", "delete", "merge", "into"];
    words(sql)
        .iter()
        .any(|word| WRITING.contains(&word.as_str()))
}

/// Functions whose effect belongs to a session.
fn of_functions(sql: &str) -> Vec<String> {
    const SESSION: &[&str] = &["currval", "lastval", "set_config", "set_limit"];
    let tokens = words(sql);
    let called = |name: &str| {
        tokens
            .windows(2)
            .any(|pair| pair[0] == name && pair[1] == "(")
    };
    let mut messages: Vec<String> = SESSION
        .iter()
        .filter(|name| called(name))
        .map(|name| {
            format!("{name}() belongs to a session, and every statement may have another: its value may be missing or be lost")
        })
        .collect();
    if tokens
        .windows(2)
        .any(|pair| pair[1] == "(" && pair[0].contains("advisory") && pair[0].starts_with("pg_"))
    {
        messages.push(
            "an advisory lock ends with its transaction or session, and every statement has its own: remove it, Upshift keeps others out by itself".into(),
        );
    }
    messages
}

/// The words of a statement, folded; strings and comments left out.
fn words(sql: &str) -> Vec<String> {
    grammar::scan(sql)
        .unwrap_or_default()
        .iter()
        .filter(|token| !grammar::is_comment(token))
        .map(|token| grammar::text_of(sql, token))
        .filter(|text| !text.starts_with('\''))
        .map(str::to_lowercase)
        .collect()
}
