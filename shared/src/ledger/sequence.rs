//! Sequences as they were before a task. `nextval` does not roll back, so they are recorded before
//! the first attempt, set back before another one, and set back by undo.

use sqlx::{PgConnection, Row};

use super::signed;
use crate::{
    Error, Result,
    ids::{RunId, TaskId},
    pg::{ident::literal, sql},
    plan::Sequences,
};

/// Records the state of a task's sequences, unless it is recorded already. One query however many
/// they are. A name that does not exist (yet) is left out.
///
/// # Errors
/// When a sequence may not be read.
pub async fn record(
    tx: &mut PgConnection,
    run: RunId,
    task: TaskId,
    sequences: &Sequences,
) -> Result<()> {
    let found = match sequences {
        Sequences::None => return Ok(()),
        Sequences::Named(names) => named(tx, names).await?,
        Sequences::All => all(tx).await?,
    };
    if found.is_empty() {
        return Ok(());
    }
    let branches: Vec<String> = found
        .iter()
        .map(|(_, name)| {
            let text = literal(name);
            format!("SELECT {text}::text AS name, last_value, is_called FROM {name}")
        })
        .collect();
    let statement = format!(
        "-- record sequences
        INSERT INTO upshift.sequence_state (run, task, sequence, last_value, is_called)
        SELECT $1::uuid, $2, s.name, s.last_value, s.is_called FROM ({}) AS s
        ON CONFLICT (run, task, sequence) DO NOTHING",
        branches.join(" UNION ALL ")
    );
    sqlx::query(sql(statement))
        .bind(run.to_string())
        .bind(signed(task.0))
        .persistent(false)
        .execute(tx)
        .await
        .map_err(Error::database(format!(
            "recording the sequences of {task}"
        )))?;
    Ok(())
}

/// Sets the task's sequences back to what was recorded, where they differ. To be called last in a
/// transaction that undoes: `setval` does not roll back.
///
/// # Errors
/// When a sequence may not be written.
pub async fn restore(tx: &mut PgConnection, run: RunId, task: TaskId) -> Result<()> {
    let failed = || Error::database(format!("setting the sequences of {task} back"));
    let rows = sqlx::query(
        "-- recorded sequences
        SELECT format('%I.%I', n.nspname, c.relname) AS name, c.oid::bigint AS oid,
               s.last_value, s.is_called
        FROM upshift.sequence_state s
        JOIN pg_class c ON c.oid = to_regclass(s.sequence) AND c.relkind = 'S'
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE s.run = $1::uuid AND s.task = $2",
    )
    .bind(run.to_string())
    .bind(signed(task.0))
    .fetch_all(&mut *tx)
    .await
    .map_err(failed())?;
    let mut branches = Vec::with_capacity(rows.len());
    for row in &rows {
        let name: String = row.try_get("name").map_err(failed())?;
        let oid: i64 = row.try_get("oid").map_err(failed())?;
        let last_value: i64 = row.try_get("last_value").map_err(failed())?;
        let is_called: bool = row.try_get("is_called").map_err(failed())?;
        branches.push(format!(
            "SELECT pg_catalog.setval({oid}::oid::regclass, {last_value}, {is_called}) FROM {name} \
             WHERE last_value <> {last_value} OR is_called <> {is_called}"
        ));
    }
    if !branches.is_empty() {
        let statement = format!("-- set sequences back\n{}", branches.join(" UNION ALL "));
        sqlx::query(sql(statement))
            .persistent(false)
            .execute(tx)
            .await
            .map_err(failed())?;
    }
    Ok(())
}

/// Forgets what was recorded: after an undo, so that doing the task again records afresh, and at
/// commit.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn forget(tx: &mut PgConnection, run: RunId, task: TaskId) -> Result<()> {
    sqlx::query(
        "-- forget recorded sequences
        DELETE FROM upshift.sequence_state WHERE run = $1::uuid AND task = $2",
    )
    .bind(run.to_string())
    .bind(signed(task.0))
    .execute(tx)
    .await
    .map_err(Error::database(format!(
        "forgetting the sequences of {task}"
    )))?;
    Ok(())
}

async fn named(tx: &mut PgConnection, names: &[String]) -> Result<Vec<(i64, String)>> {
    let list: Vec<String> = names.iter().map(|name| literal(name)).collect();
    let condition = format!(
        "c.oid IN (SELECT to_regclass(n) FROM unnest(ARRAY[{}]::text[]) AS n)",
        list.join(", ")
    );
    select(tx, &condition).await
}

async fn all(tx: &mut PgConnection) -> Result<Vec<(i64, String)>> {
    select(
        tx,
        // In a CASE: PostgreSQL may evaluate conditions in any order, and the function fails for what
        // is no sequence.
        "n.nspname !~ '^upshift(_kept_.*)?$' AND NOT pg_is_other_temp_schema(n.oid) \
         AND has_schema_privilege(n.oid, 'USAGE') \
         AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, 'SELECT') END",
    )
    .await
}

async fn select(tx: &mut PgConnection, condition: &str) -> Result<Vec<(i64, String)>> {
    let statement = format!(
        "-- find sequences
        SELECT c.oid::bigint AS oid, format('%I.%I', n.nspname, c.relname) AS name
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'S' AND {condition}
        ORDER BY c.oid"
    );
    let rows = sqlx::query(sql(statement))
        .persistent(false)
        .fetch_all(tx)
        .await
        .map_err(Error::database("finding sequences"))?;
    rows.iter()
        .map(|row| Ok((row.try_get("oid")?, row.try_get("name")?)))
        .collect::<sqlx::Result<_>>()
        .map_err(Error::database("finding sequences"))
}
