//! Metadata: short DDL, its actions in order in one transaction under a lock timeout.
//!
//! Advances its unit to `done`. Tried again when a lock is not granted in time, aborted by anything
//! else. How it is taken back is found out while it runs (definitions are read from the live catalog
//! before they change) and recorded in `upshift.undo` in the same transaction; undo executes that
//! from the last statement to the first. What a DROP would destroy is hidden until commit.

pub(super) mod capture;
mod dependents;
mod hide;
mod hide_table;
mod keep_column;

use sqlx::PgConnection;
use upshift_shared::{
    Error, Result,
    ledger::{
        self,
        deferred::{self, Deferred},
    },
    pg::execute_raw,
    plan::{Capture, DdlAction, DdlEffect, Hide, Metadata},
};

use super::{UnitContext, shadow::share, statement};

/// What actions leave for the ledger.
#[derive(Default)]
struct Effects {
    /// Statements that take the actions back, the last one to be executed first.
    stack: Vec<String>,
    /// What commit destroys.
    deferred: Vec<Deferred>,
}

impl Effects {
    /// Records what takes one action back, in the order in which it is to be executed.
    fn undo(&mut self, statements: Vec<String>) {
        self.stack.extend(statements.into_iter().rev());
    }
}

/// Runs the actions in order.
pub(super) async fn run(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Metadata,
) -> Result<u64> {
    let mut effects = Effects::default();
    if op.actions.iter().any(builds_index) {
        execute_raw(tx, share(unit.units_at_once))
            .await
            .map_err(Error::database("sharing memory out"))?;
    }
    for action in &op.actions {
        run_action(tx, unit, action, &mut effects).await?;
    }
    let (run, task) = (unit.holder.run, unit.task.id);
    ledger::undo::insert(tx, run, task, &effects.stack).await?;
    deferred::insert(tx, run, task, &effects.deferred).await?;
    Ok(0)
}

/// Whether a piece of DDL builds an index, which several units may do at once.
fn builds_index(action: &DdlAction) -> bool {
    let mut words = action.sql.split_whitespace().map(str::to_ascii_uppercase);
    let create = words.next().is_some_and(|word| word == "CREATE");
    create && words.take(2).any(|word| word == "INDEX")
}

async fn run_action(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    action: &DdlAction,
    effects: &mut Effects,
) -> Result<()> {
    match &action.effect {
        DdlEffect::Invert { undo } => {
            run_sql(tx, unit, &action.sql).await?;
            effects.undo(undo.clone());
        }
        DdlEffect::Capture { objects } => {
            let undo = run_captured(tx, unit, &action.sql, objects).await?;
            effects.undo(undo);
        }
        DdlEffect::KeepColumn { table, column } => {
            keep_column::run(tx, unit, (table, column), &action.sql, effects).await?;
        }
        DdlEffect::Hide(Hide::Column { table, column, .. }) => {
            hide::column(tx, unit, (table, column), &action.sql, effects).await?;
        }
        DdlEffect::Hide(Hide::Table { table, .. }) => {
            hide_table::table(tx, unit, table, &action.sql, effects).await?;
        }
        DdlEffect::Hide(Hide::Object { class, object }) => {
            hide::object(tx, unit, (class, object), &action.sql, effects).await?;
        }
        DdlEffect::Irreversible => run_sql(tx, unit, &action.sql).await?,
    }
    Ok(())
}

async fn run_sql(tx: &mut PgConnection, unit: &UnitContext<'_>, text: &str) -> Result<()> {
    execute_raw(tx, text)
        .await
        .map_err(Error::database(unit.task.label.clone()))?;
    Ok(())
}

/// Runs DDL between reading the definitions that it changes and finding out what it did to them.
async fn run_captured(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    text: &str,
    objects: &[Capture],
) -> Result<Vec<String>> {
    let path = capture::enter_qualified(tx).await?;
    let mut captured = Vec::with_capacity(objects.len());
    for object in objects {
        captured.push(capture::before(tx, object).await?);
    }
    capture::leave_qualified(tx, &path).await?;
    run_sql(tx, unit, text).await?;
    // Again: the DDL may have set it.
    let path = capture::enter_qualified(tx).await?;
    let mut undo = Vec::new();
    for one in captured {
        undo.extend(capture::after(tx, one).await?);
    }
    capture::leave_qualified(tx, &path).await?;
    Ok(undo)
}

/// Takes the actions back.
pub(super) async fn undo(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Metadata,
) -> Result<u64> {
    let irreversible = |action: &DdlAction| action.effect == DdlEffect::Irreversible;
    if op.actions.iter().any(irreversible) {
        return Err(statement::irreversible(unit));
    }
    // A function may be made again before what it mentions.
    execute_raw(tx, "SET LOCAL check_function_bodies TO off")
        .await
        .map_err(Error::database("undo of DDL"))?;
    let statements = ledger::undo::take(tx, unit.holder.run, unit.task.id).await?;
    for statement in statements {
        let context = format!("undo of {} ({})", unit.task.label, first_words(&statement));
        execute_raw(tx, statement)
            .await
            .map_err(Error::database(context))?;
    }
    deferred::take(tx, unit.holder.run, unit.task.id).await?;
    Ok(0)
}

/// The beginning of a statement, for people.
fn first_words(statement: &str) -> String {
    const LENGTH: usize = 160;
    match statement.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", &statement[..end]),
        None => statement.to_owned(),
    }
}
