//! The destruction that waited for `commit`: hidden columns and tables, and what was kept for a way
//! back that is now closed. Again is fine: what is destroyed is taken out of the ledger in the same
//! transaction.

use sqlx::{PgConnection, Row};
use upshift_shared::{
    Error, Result,
    ledger::{
        deferred::{self, Deferred},
        fence,
    },
    pg::{execute_raw, ident::ident},
};

use super::UnitContext;
use crate::{failpoint, prepare};

/// Destroys what the task deferred and kept; returns how many things it destroyed.
pub(super) async fn destroy(tx: &mut PgConnection, unit: &UnitContext<'_>) -> Result<u64> {
    fence::check(tx, unit.holder).await?;
    let mut destroyed = 0;
    for one in deferred::take(tx, unit.holder.run, unit.task.id).await? {
        let statement = match one {
            Deferred::Column {
                relation,
                attribute,
            } => column(tx, relation, attribute).await?,
            Deferred::Table { relation } => table(tx, relation).await?,
            Deferred::Statement(statement) => Some(statement),
        };
        if let Some(statement) = statement {
            execute_raw(tx, statement)
                .await
                .map_err(Error::database("destroying what was hidden"))?;
            destroyed += 1;
        }
    }
    prepare::clear_within(tx, unit.holder.run, unit.task).await?;
    failpoint::at(failpoint::DURING_DESTRUCTION, unit.task).await;
    Ok(destroyed)
}

/// `None` where somebody else destroyed it.
async fn column(tx: &mut PgConnection, relation: u32, attribute: i16) -> Result<Option<String>> {
    let failed = || Error::database("finding a hidden column");
    let row = sqlx::query(
        "-- find a hidden column
        SELECT format('%I.%I', n.nspname, c.relname) AS table_name, a.attname::text AS name
        FROM pg_attribute a
        JOIN pg_class c ON c.oid = a.attrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE a.attrelid = $1::bigint::oid AND a.attnum = $2 AND NOT a.attisdropped",
    )
    .bind(i64::from(relation))
    .bind(attribute)
    .fetch_optional(tx)
    .await
    .map_err(failed())?;
    let Some(row) = row else {
        return Ok(None);
    };
    let table: String = row.try_get("table_name").map_err(failed())?;
    let name: String = row.try_get("name").map_err(failed())?;
    Ok(Some(format!(
        "ALTER TABLE {table} DROP COLUMN {}",
        ident(&name)
    )))
}

async fn table(tx: &mut PgConnection, relation: u32) -> Result<Option<String>> {
    let failed = || Error::database("finding a hidden relation");
    let row = sqlx::query(
        "-- find a hidden relation
        SELECT format('DROP %s %I.%I',
                      CASE c.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW'
                                     WHEN 'm' THEN 'MATERIALIZED VIEW'
                                     WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END,
                      n.nspname, c.relname) AS statement
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = $1::bigint::oid",
    )
    .bind(i64::from(relation))
    .fetch_optional(tx)
    .await
    .map_err(failed())?;
    row.map(|row| row.try_get("statement"))
        .transpose()
        .map_err(failed())
}
