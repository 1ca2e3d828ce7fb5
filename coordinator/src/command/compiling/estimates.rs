//! How many rows statements touch, asked of PostgreSQL's planner: EXPLAIN without ANALYZE runs
//! nothing, and is allowed in a read-only transaction. Whether a table is built anew or changed in
//! place hangs on that number. A statement that cannot be explained yet, because an earlier step makes
//! what it needs, is guessed at.

use std::{collections::BTreeMap, time::Duration};

use pg_query::{Node, NodeEnum, protobuf::SelectStmt};
use sqlx::Row;
use upshift_shared::{
    catalog::{Catalog, RelationKind},
    clock::Stopwatch,
    ids::StepId,
    pack::{StepKind, grammar},
    pg::{
        self, PgConnection,
        transaction::{self, Spec},
    },
};

use crate::compile::{
    model::{Resolved, ResolvedStep},
    sql,
};

/// Tables with fewer rows are not asked about.
const LARGE: f64 = 20_000.0;
/// Asking ends after so long: what is left is guessed at.
const PATIENCE: Duration = Duration::from_secs(20);
/// One statement that takes longer to plan is given up.
const ONE: Duration = Duration::from_secs(5);

/// How many rows a statement touches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::command) struct Estimate {
    pub(in crate::command) rows: u64,
    /// Rows of its table.
    pub(in crate::command) of: f64,
}

/// Rows that UPDATEs and DELETEs on large tables touch.
pub(super) async fn ask(
    conn: &mut PgConnection,
    catalog: &Catalog,
    resolved: &Resolved,
) -> BTreeMap<StepId, Estimate> {
    let mut estimates = BTreeMap::new();
    let large = |relation: &upshift_shared::catalog::Relation| {
        relation.kind == RelationKind::Table && relation.rows >= LARGE
    };
    if !catalog.relations().any(large) {
        return estimates;
    }
    let watch = Stopwatch::start();
    for step in &resolved.steps {
        let Some(name) = target(step) else {
            continue;
        };
        // By name alone, whatever the search path: too many may be asked about, never too few.
        let named = catalog.relations().filter(|r| r.name == name && large(r));
        let Some(most) = named.map(|r| r.rows).reduce(f64::max) else {
            continue;
        };
        if watch.elapsed() > PATIENCE {
            break;
        }
        if let Some(rows) = rows(conn, step).await {
            // A row that meets several of FROM is changed once.
            let rows = rows.min(most as u64);
            estimates.insert(step.id, Estimate { rows, of: most });
        }
    }
    estimates
}

/// Rows that a statement touches. One that assigns a column which an earlier step adds is explained as
/// the query for the rows that it would change.
async fn rows(conn: &mut PgConnection, step: &ResolvedStep) -> Option<u64> {
    let StepKind::Sql(text) = &step.kind else {
        return None;
    };
    if let Some(plan) = explain(conn, step, text).await {
        return plan["Plans"][0]["Plan Rows"].as_u64();
    }
    let query = query(text)?;
    explain(conn, step, &query).await?["Plan Rows"].as_u64()
}

/// The rows that an UPDATE changes, as a query.
fn query(text: &str) -> Option<String> {
    let NodeEnum::UpdateStmt(update) = sql::parse(text).ok()?? else {
        return None;
    };
    // Parsed, not built: the deparser aborts the process on an enumeration without a value.
    let NodeEnum::SelectStmt(frame) = sql::parse("SELECT 1").ok()?? else {
        return None;
    };
    let target = Node {
        node: Some(NodeEnum::RangeVar(update.relation?)),
    };
    let select = SelectStmt {
        from_clause: std::iter::once(target).chain(update.from_clause).collect(),
        where_clause: update.where_clause,
        with_clause: update.with_clause,
        ..*frame
    };
    sql::deparse(NodeEnum::SelectStmt(Box::new(select))).ok()
}

/// The name of the table that an UPDATE or DELETE changes.
fn target(step: &ResolvedStep) -> Option<String> {
    let StepKind::Sql(text) = &step.kind else {
        return None;
    };
    // Parsing all of a large pack once more would cost seconds.
    let mentions = |word: &str| {
        text.as_bytes()
            .windows(word.len())
            .any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
    };
    if !mentions("update") && !mentions("delete") {
        return None;
    }
    let parsed = grammar::parse(text).ok()?.protobuf;
    let node = parsed.stmts.into_iter().next()?.stmt?.node?;
    let relation = match node {
        NodeEnum::UpdateStmt(statement) => statement.relation,
        NodeEnum::DeleteStmt(statement) => statement.relation,
        _ => None,
    };
    relation.map(|relation| relation.relname)
}

/// The topmost node of a statement's plan.
async fn explain(
    conn: &mut PgConnection,
    step: &ResolvedStep,
    text: &str,
) -> Option<serde_json::Value> {
    let spec = Spec {
        read_only: true,
        settings: &step.settings,
        statement_timeout: ONE,
        lock_timeout: ONE,
        ..Spec::new("explain a statement")
    };
    let mut tx = transaction::begin(conn, &spec).await.ok()?;
    let row = sqlx::query(pg::sql(format!("EXPLAIN (FORMAT JSON) {text}")))
        .persistent(false)
        .fetch_one(&mut *tx)
        .await;
    // Whatever came of it; the connection says itself when it is gone.
    let _ended = tx.rollback().await;
    // Type json, which this driver decodes only with a feature that is not on.
    let text: String = row.ok()?.try_get_unchecked(0).ok()?;
    let mut plan: serde_json::Value = serde_json::from_str(&text).ok()?;
    Some(plan[0]["Plan"].take())
}
