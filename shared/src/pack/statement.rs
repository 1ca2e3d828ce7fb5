//! Checks SQL that stands in other places than scripts: `undo` directives and the queries of checks.

use super::{
    grammar,
    refuse::refusal,
    source::{Findings, Source},
    split,
    words::Words,
};

/// Whether `sql` can take a statement back: one or more statements that a pack may hold.
///
/// # Errors
/// Why not.
pub(super) fn check_undo(sql: &str) -> Result<(), String> {
    let source = Source::new("undo".into(), sql.to_owned());
    let mut findings = Findings::default();
    let split = split::split(&source, &mut findings);
    if let Some(complaint) = findings.complaints.into_iter().next() {
        return Err(complaint.message);
    }
    if split.statements.is_empty() {
        return Err("there is no statement: write one, or mark the step irreversible".into());
    }
    for statement in &split.statements {
        let words = Words::new(sql, &split.tokens[statement.body.clone()]);
        if let Some((_, why)) = refusal(&words) {
            return Err(why);
        }
    }
    grammar::check(sql).map(drop)
}

/// Whether `sql` is one query that changes nothing.
///
/// # Errors
/// Why not.
pub(super) fn check_query(sql: &str) -> Result<(), String> {
    let parsed = grammar::parse(sql).map_err(|fault| fault.to_string())?;
    let [statement] = parsed.protobuf.stmts.as_slice() else {
        return Err(format!(
            "one query is needed here, and there are {}",
            parsed.protobuf.stmts.len()
        ));
    };
    let node = statement.stmt.as_ref().and_then(|node| node.node.as_ref());
    match node {
        Some(pg_query::NodeEnum::SelectStmt(select))
            if select.into_clause.is_none() && parsed.dml_tables().is_empty() =>
        {
            Ok(())
        }
        _ => Err("a query that changes nothing is needed here: write a SELECT".into()),
    }
}
