//! Triggers and rules that must not fire while rows are put back: what they did when the application or the
//! pack wrote is in the database already, and what they would do now would stay in it.
//!
//! They are disabled for the moment. That takes a lock which keeps others from writing, and nobody else sees
//! it before the transaction ends, when they are enabled again.

use sqlx::PgConnection;
use upshift_shared::{Error, Result, pg::execute_raw};

/// What rows are put back by: bits of `pg_trigger.tgtype`.
#[derive(Debug, Clone, Copy)]
pub(super) enum By {
    Insert = 1 << 2,
    Delete = 1 << 3,
    Update = 1 << 4,
    Any = (1 << 2) | (1 << 3) | (1 << 4),
}

/// How those that are disabled are enabled again.
#[must_use]
pub(super) struct Reactions(Vec<String>);

/// Disables what would fire on the tables and their partitions. `assigned`: the columns that an UPDATE
/// assigns, where it is one.
pub(super) async fn disable(
    tx: &mut PgConnection,
    tables: &[&str],
    by: By,
    assigned: Option<&[String]>,
) -> Result<Reactions> {
    let (disable, enable): (Vec<String>, Vec<String>) = reactions(tx, tables, by, assigned)
        .await?
        .into_iter()
        .unzip();
    if !disable.is_empty() {
        queue(tx, tables).await?;
    }
    for statement in disable {
        execute_raw(tx, statement)
            .await
            .map_err(Error::database("disabling triggers"))?;
    }
    Ok(Reactions(enable))
}

/// How long a unit may wait for others like it; each of those has a deadline of its own.
const LONGEST_QUEUE: &str = "SET LOCAL lock_timeout = '1h'";

/// Other units that put rows of the same tables back wait here, for as long as it takes: in the queue for
/// the table's lock they would stand in the application's way, and give up after a while.
async fn queue(tx: &mut PgConnection, tables: &[&str]) -> Result<()> {
    let failed = || Error::database("waiting for another unit");
    let mut sorted = tables.to_vec();
    sorted.sort_unstable();
    let patience: String = sqlx::query_scalar(
        "-- how long a lock is waited for\nSELECT current_setting('lock_timeout')",
    )
    .persistent(false)
    .fetch_one(&mut *tx)
    .await
    .map_err(failed())?;
    execute_raw(tx, LONGEST_QUEUE).await.map_err(failed())?;
    sqlx::query(
        "-- one puts rows of a table back at a time
        SELECT pg_advisory_xact_lock(7381015, hashtext(t)) FROM unnest($1::text[]) t",
    )
    .bind(&sorted)
    .persistent(false)
    .execute(&mut *tx)
    .await
    .map_err(failed())?;
    sqlx::query("-- as before\nSELECT set_config('lock_timeout', $1, true)")
        .bind(patience)
        .persistent(false)
        .execute(tx)
        .await
        .map_err(failed())?;
    Ok(())
}

impl Reactions {
    /// Enables them as they were. What is deferred is checked first: a table with pending events cannot be
    /// altered.
    pub(super) async fn enable(self, tx: &mut PgConnection) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let first = std::iter::once("SET CONSTRAINTS ALL IMMEDIATE".to_owned());
        for statement in first.chain(self.0) {
            execute_raw(tx, statement)
                .await
                .map_err(Error::database("enabling triggers"))?;
        }
        Ok(())
    }
}

/// What disables each, and what enables it again.
async fn reactions(
    tx: &mut PgConnection,
    tables: &[&str],
    by: By,
    assigned: Option<&[String]>,
) -> Result<Vec<(String, String)>> {
    sqlx::query_as(
        "-- triggers and rules of tables and their partitions that fire
        SELECT format('ALTER TABLE ONLY %I.%I DISABLE %s %I', n.nspname, c.relname, r.kind, r.name),
               format('ALTER TABLE ONLY %I.%I ENABLE %s%s %I', n.nspname, c.relname,
                      CASE r.enabled WHEN 'A' THEN 'ALWAYS ' ELSE '' END,
                      r.kind, r.name)
        FROM (
            SELECT tgrelid AS relation, 'TRIGGER' AS kind, tgname AS name, tgenabled AS enabled,
                   tgtype::integer AS events
            FROM pg_trigger
            -- UPDATE OF other columns does not fire.
            WHERE NOT tgisinternal
              AND ($3::text[] IS NULL OR tgattr = ''::int2vector
                   OR EXISTS (SELECT FROM pg_attribute a
                              WHERE a.attrelid = tgrelid AND a.attnum = ANY (tgattr)
                                AND (a.attname = ANY ($3) OR a.attgenerated <> '')))
            UNION ALL
            SELECT ev_class, 'RULE', rulename, ev_enabled,
                   CASE ev_type WHEN '3' THEN 4 WHEN '4' THEN 8 ELSE 16 END
            FROM pg_rewrite WHERE rulename <> '_RETURN'
        ) r
        JOIN pg_class c ON c.oid = r.relation
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE r.enabled IN ('O', 'A') AND r.events & $2 <> 0
          AND r.relation IN (SELECT t.oid FROM unnest($1::text[]::regclass[]::oid[]) t (oid)
                             UNION ALL
                             SELECT p.relid
                             FROM unnest($1::text[]::regclass[]) t (oid), pg_partition_tree(t.oid) p)
        ORDER BY c.oid, r.kind, r.name",
    )
    .bind(tables)
    .bind(by as i32)
    .bind(assigned)
    .persistent(false)
    .fetch_all(tx)
    .await
    .map_err(Error::database("reading triggers and rules"))
}
