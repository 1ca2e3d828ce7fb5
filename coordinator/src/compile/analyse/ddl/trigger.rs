//! CREATE TRIGGER and CREATE RULE.

use pg_query::protobuf::{CmdType, CreateTrigStmt, RuleStmt};
use upshift_shared::{
    catalog::{RuleEvent, Trigger},
    pg::ident::{QualifiedName, ident},
    plan::Capture,
};

use super::{
    constraint,
    draft::{Draft, Outcome},
    named, object,
};
use crate::compile::error::BindError;

/// Bits of `pg_trigger.tgtype`.
const INSERT: i32 = 1 << 2;
const DELETE: i32 = 1 << 3;
const UPDATE: i32 = 1 << 4;
const TRUNCATE: i32 = 1 << 5;

/// CREATE [OR REPLACE] TRIGGER
pub(super) fn create(draft: &mut Draft<'_>, stmt: &CreateTrigStmt) -> Result<Outcome, BindError> {
    let Some(relation) = &stmt.relation else {
        return Err(BindError::new("CREATE TRIGGER needs a table"));
    };
    let table = draft.require(relation)?;
    for member in constraint::family(draft, table) {
        draft.alters(member);
    }
    if let Some(other) = &stmt.constrrel {
        let other = draft.require(other)?;
        draft.alters(other);
    }
    let columns = object::strings(&stmt.columns);
    let trigger = Trigger {
        name: stmt.trigname.clone(),
        enabled: true,
        insert: stmt.events & INSERT != 0,
        update: stmt.events & UPDATE != 0,
        update_of: constraint::columns(draft, table, &columns)?,
        delete: stmt.events & DELETE != 0,
        truncate: stmt.events & TRUNCATE != 0,
        row: stmt.row,
        internal: false,
    };
    let (schema, function) = object::split(&object::strings(&stmt.funcname));
    let schemas: Vec<String> = draft
        .catalog
        .functions
        .get(&function)
        .into_iter()
        .flatten()
        .filter(|known| schema.is_empty() || known.schema == schema)
        .map(|known| known.schema.clone())
        .collect();
    for schema in schemas {
        draft.reads_object("function", &QualifiedName::new(schema, &function));
    }
    let quoted = draft.quoted(table);
    let name = &stmt.trigname;
    let known = draft
        .relation(table)
        .triggers
        .iter()
        .any(|t| t.name == *name);
    if known && !stmt.replace {
        let table = draft.name(table).plain();
        return Err(BindError::at(
            relation.location,
            format!("trigger \"{name}\" for relation \"{table}\" already exists"),
        ));
    }
    if let Some(relation) = draft.catalog.relation_mut(table) {
        relation.triggers.retain(|t| t.name != *name);
        relation.triggers.push(trigger);
    }
    if known {
        return draft.done_captured(vec![Capture::Trigger {
            table: quoted,
            trigger: name.clone(),
        }]);
    }
    draft.done(vec![format!("DROP TRIGGER {} ON {quoted}", ident(name))])
}

/// CREATE [OR REPLACE] RULE
pub(super) fn create_rule(draft: &mut Draft<'_>, stmt: &RuleStmt) -> Result<Outcome, BindError> {
    let Some(relation) = &stmt.relation else {
        return Err(BindError::new("CREATE RULE needs a table"));
    };
    let table = draft.require(relation)?;
    draft.alters(table);
    named::mentions(draft);
    let had_rules = !draft.relation(table).rules.is_empty();
    if let Some(relation) = draft.catalog.relation_mut(table) {
        relation.rules.extend(rule_event(stmt));
    }
    if stmt.replace && had_rules {
        return draft.done_without_inverse("CREATE OR REPLACE RULE on a table with rules");
    }
    let quoted = draft.quoted(table);
    draft.done(vec![format!(
        "DROP RULE {} ON {quoted}",
        ident(&stmt.rulename)
    )])
}

/// What a rule is on; nothing for SELECT, which only views have.
fn rule_event(stmt: &RuleStmt) -> Option<RuleEvent> {
    match CmdType::try_from(stmt.event) {
        Ok(CmdType::CmdUpdate) => Some(RuleEvent::Update),
        Ok(CmdType::CmdInsert) => Some(RuleEvent::Insert),
        Ok(CmdType::CmdDelete) => Some(RuleEvent::Delete),
        _ => None,
    }
}
