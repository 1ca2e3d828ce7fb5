//! Work that cannot be in a transaction: CREATE INDEX CONCURRENTLY, VACUUM, external programs. The
//! ledger says `started` before it and `done` after; what broke in between is cleared away and done
//! again.
//!
//! Meanwhile the fence is not held, because such work may take hours and waits for other sessions
//! itself. Who takes the run over ends these sessions by their application_name.

use sqlx::PgConnection;
use upshift_shared::{
    Error, Result,
    ledger::{
        self, fence,
        unit::{Claim, UnitState},
    },
    pg::{
        execute_raw,
        ident::literal,
        transaction::{self, Spec},
    },
    plan::{Operator, Statement, StatementUndo},
};

use super::{Direction, UnitContext, exec, shadow, statement};
use crate::failpoint;

/// Whether this operator works outside a transaction.
pub(super) fn concerns(operator: &Operator) -> bool {
    match operator {
        Operator::Exec(_) => true,
        Operator::Statement(op) => !op.transactional,
        Operator::Shadow(op) => shadow::is_outside(op),
        Operator::Metadata(_)
        | Operator::InPlace(_)
        | Operator::Transform(_)
        | Operator::Append(_)
        | Operator::Check(_) => false,
    }
}

/// Rows that it touched; `None` when the ledger had it already.
pub(super) async fn execute(
    conn: &mut PgConnection,
    unit: &UnitContext<'_>,
) -> Result<Option<u64>> {
    match unit.direction {
        Direction::Undo => back(conn, unit).await,
        Direction::Do | Direction::Commit => forward(conn, unit).await,
    }
}

async fn forward(conn: &mut PgConnection, unit: &UnitContext<'_>) -> Result<Option<u64>> {
    failpoint::at(failpoint::BEFORE_LOCK, unit.task).await;
    let mut tx = fenced(conn, unit).await?;
    let claim = ledger::unit::claim(&mut tx, unit.key(), UnitState::Started, None).await?;
    if claim == Claim::Already {
        tx.rollback().await?;
        return Ok(None);
    }
    ledger::sequence::restore(&mut tx, unit.holder.run, unit.task.id).await?;
    tx.commit().await?;
    failpoint::at(failpoint::AFTER_STARTED, unit.task).await;
    let rows = work(conn, unit, claim).await?;
    failpoint::at(failpoint::AFTER_WORK, unit.task).await;
    let mut tx = fenced(conn, unit).await?;
    fence::check(&mut tx, unit.holder).await?;
    ledger::unit::finish(&mut tx, unit.key(), rows).await?;
    failpoint::at(failpoint::BEFORE_COMMIT, unit.task).await;
    tx.commit().await?;
    failpoint::at(failpoint::AFTER_COMMIT, unit.task).await;
    Ok(Some(rows))
}

async fn work(conn: &mut PgConnection, unit: &UnitContext<'_>, claim: Claim) -> Result<u64> {
    match &unit.task.operator {
        Operator::Exec(op) => exec::run(unit, op, &op.command).await,
        Operator::Shadow(op) => {
            enter(conn, unit).await?;
            let outcome = shadow::outside(conn, unit, op).await;
            leave(conn, unit).await;
            outcome
        }
        Operator::Statement(op) => {
            enter(conn, unit).await?;
            let outcome = bare(conn, unit, op, claim).await;
            leave(conn, unit).await;
            outcome
        }
        _ => Err(Error::Refused(
            "this operator works inside a transaction: please report this".into(),
        )),
    }
}

async fn bare(
    conn: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Statement,
    claim: Claim,
) -> Result<u64> {
    // An attempt that failed in this process, too, leaves `started` behind.
    if let (Claim::Again, Some(recovery)) = (claim, &op.recovery) {
        execute_raw(conn, recovery.as_str())
            .await
            .map_err(Error::database(format!(
                "clearing away {}",
                unit.task.label
            )))?;
    }
    execute_raw(conn, op.sql.as_str())
        .await
        .map_err(Error::database(unit.task.label.clone()))
}

async fn back(conn: &mut PgConnection, unit: &UnitContext<'_>) -> Result<Option<u64>> {
    failpoint::at(failpoint::BEFORE_LOCK, unit.task).await;
    // Claimed and rolled back: whether there is anything to take back, and by the right holder.
    let mut tx = fenced(conn, unit).await?;
    let claimed = ledger::unit::claim_undo(&mut tx, unit.key()).await?;
    tx.rollback().await?;
    if claimed.is_none() {
        return Ok(None);
    }
    failpoint::at(failpoint::DURING_UNDO, unit.task).await;
    match &unit.task.operator {
        Operator::Exec(op) => {
            let command = op
                .undo
                .as_ref()
                .ok_or_else(|| statement::irreversible(unit))?;
            exec::run(unit, op, command).await?;
        }
        Operator::Statement(op) => match &op.undo {
            StatementUndo::Nothing => {}
            StatementUndo::Sql { statements } => {
                enter(conn, unit).await?;
                let outcome = take_back(conn, unit, statements).await;
                leave(conn, unit).await;
                outcome?;
            }
            StatementUndo::Irreversible => return Err(statement::irreversible(unit)),
            StatementUndo::Copy { .. } => {
                return Err(Error::Refused(
                    "a statement outside a transaction has no copies: please report this".into(),
                ));
            }
        },
        _ => {}
    }
    failpoint::at(failpoint::AFTER_WORK, unit.task).await;
    let mut tx = fenced(conn, unit).await?;
    ledger::unit::claim_undo(&mut tx, unit.key()).await?;
    ledger::sequence::restore(&mut tx, unit.holder.run, unit.task.id).await?;
    failpoint::at(failpoint::BEFORE_COMMIT, unit.task).await;
    tx.commit().await?;
    failpoint::at(failpoint::AFTER_COMMIT, unit.task).await;
    Ok(Some(0))
}

async fn take_back(
    conn: &mut PgConnection,
    unit: &UnitContext<'_>,
    statements: &[String],
) -> Result<()> {
    for statement in statements {
        execute_raw(conn, statement.clone())
            .await
            .map_err(Error::database(format!("undo of {}", unit.task.label)))?;
    }
    Ok(())
}

async fn fenced<'c>(
    conn: &'c mut PgConnection,
    unit: &UnitContext<'_>,
) -> Result<transaction::Transaction<'c>> {
    let name = unit.application_name();
    let locks = [fence::LOCK.to_owned()];
    let mut spec = Spec::new(&name);
    spec.application_name = Some(&name);
    spec.locks = &locks;
    transaction::begin(conn, &spec).await
}

/// Sets the session up for a statement outside a transaction.
async fn enter(conn: &mut PgConnection, unit: &UnitContext<'_>) -> Result<()> {
    let mut settings: Vec<String> = unit
        .task
        .settings
        .iter()
        .map(|(name, value)| format!("SET {} TO {value}", transaction::setting_name(name)))
        .collect();
    settings.push(format!(
        "SET lock_timeout TO {}; SET statement_timeout TO {}; SET application_name TO {}",
        unit.timeouts.lock.as_millis(),
        unit.timeouts.statement.as_millis(),
        literal(&unit.application_name()),
    ));
    execute_raw(conn, settings.join("; "))
        .await
        .map_err(Error::database("setting up the session"))?;
    Ok(())
}

/// And back. Where the connection is gone there is nothing to put back.
async fn leave(conn: &mut PgConnection, unit: &UnitContext<'_>) {
    let names = unit.task.settings.iter().map(|(name, _)| name.as_str());
    let resets: Vec<String> = names
        .chain(["lock_timeout", "statement_timeout", "application_name"])
        .map(|name| format!("RESET {}", transaction::setting_name(name)))
        .collect();
    let _ignored = execute_raw(conn, resets.join("; ")).await;
}
