//! Statements that are neither DML nor DDL: opaque, or refused because they only make sense in a
//! session that goes on.

use std::collections::BTreeSet;

use pg_query::{
    NodeEnum,
    protobuf::{DoStmt, Token},
};
use upshift_shared::plan::Sequences;

use super::copy::opaque;
use crate::compile::{
    error::BindError,
    model::{Bound, Class, Resource},
};

pub(super) fn bind(statement: &NodeEnum) -> Result<Bound, BindError> {
    if let Some(why) = refused(statement) {
        return Err(BindError::new(why));
    }
    let why = match statement {
        NodeEnum::DoStmt(_) => "a DO block may do anything",
        NodeEnum::CallStmt(_) => "a procedure may do anything",
        NodeEnum::CopyStmt(_) => "COPY reads or writes what is outside the database",
        NodeEnum::ExplainStmt(_) => "EXPLAIN may run its statement",
        NodeEnum::NotifyStmt(_) => "NOTIFY tells other sessions",
        _ => "Upshift does not know what it does",
    };
    let class = match statement {
        NodeEnum::DoStmt(block) if ends_transactions(block) => Class::Opaque {
            why: format!("{why}, and this one commits by itself"),
            transactional: false,
            recovery: None,
            undo: None,
        },
        NodeEnum::VacuumStmt(vacuum) if vacuum.is_vacuumcmd => Class::Opaque {
            why: "VACUUM rewrites no rows but runs by itself".to_owned(),
            transactional: false,
            recovery: None,
            undo: None,
        },
        _ => opaque(why.to_owned()),
    };
    Ok(Bound {
        class,
        reads: BTreeSet::from([Resource::Everything]),
        writes: BTreeSet::from([Resource::Everything]),
        names: Vec::new(),
        tables: Vec::new(),
        sequences: Sequences::All,
        shares: BTreeSet::new(),
        now_calls: Vec::new(),
        rows: 0,
        warnings: Vec::new(),
    })
}

/// Statements whose effect ends with their session or transaction.
fn refused(statement: &NodeEnum) -> Option<&'static str> {
    Some(match statement {
        NodeEnum::TransactionStmt(_) => {
            "BEGIN, COMMIT and their like have no place in a pack: Upshift puts every step into \
             transactions of its own"
        }
        NodeEnum::PrepareStmt(_) | NodeEnum::ExecuteStmt(_) | NodeEnum::DeallocateStmt(_) => {
            "prepared statements end with their session, and each step has a session of its own: \
             write the statement itself"
        }
        NodeEnum::DeclareCursorStmt(_) | NodeEnum::FetchStmt(_) | NodeEnum::ClosePortalStmt(_) => {
            "cursors end with their transaction, and each step has one of its own: write one \
             statement, or a DO block"
        }
        NodeEnum::LockStmt(_) => {
            "LOCK TABLE ends with its transaction, and each step has one of its own: leave it out"
        }
        NodeEnum::ListenStmt(_) | NodeEnum::UnlistenStmt(_) => {
            "LISTEN ends with its session, and each step has a session of its own: leave it out"
        }
        NodeEnum::DiscardStmt(_) => "DISCARD is about a session, and each step has its own",
        _ => return None,
    })
}

/// Whether a DO block contains COMMIT or ROLLBACK, which PostgreSQL allows only outside a transaction
/// block.
fn ends_transactions(block: &DoStmt) -> bool {
    let bodies = block.args.iter().filter_map(|node| match &node.node {
        Some(NodeEnum::DefElem(element)) if element.defname == "as" => element.arg.as_ref(),
        _ => None,
    });
    bodies
        .filter_map(|node| match &node.node {
            Some(NodeEnum::String(body)) => pg_query::scan(&body.sval).ok(),
            _ => None,
        })
        .flat_map(|scanned| scanned.tokens)
        .any(|token| token.token == Token::Commit as i32)
}
