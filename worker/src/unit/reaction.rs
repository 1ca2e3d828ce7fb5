//! Triggers and rules that must not fire while rows are put back: what they did when the application or the
//! pack wrote is in the database already, and what they would do now would stay in it.
//!
//! They are disabled for the moment. That takes a lock which keeps others from writing, and nobody else sees
//! it before the transaction ends, when they are enabled again.

use sqlx::{PgConnection, Row};
use upshift_shared::{Error, Result, pg::execute_raw};

/// What rows are put back by: bits of `pg_trigger.tgtype`.
#[derive(Debug, Clone, Copy)]
pub(super) enum By {
    Insert = 1 << 2,
    Delete = 1 << 3,
    Update = 1 << 4,
    Any = (1 << 2) | (1 << 3) | (1 << 4),
}

/// Those that are disabled.
#[must_use]
pub(super) struct Reactions(Vec<Reaction>);

struct Reaction {
    disable: String,
    enable: String,
}

/// Disables what would fire on the tables and their partitions.
pub(super) async fn disable(tx: &mut PgConnection, tables: &[&str], by: By) -> Result<Reactions> {
    let reactions = reactions(tx, tables, by).await?;
    for reaction in &reactions {
        execute_raw(tx, reaction.disable.clone())
            .await
            .map_err(Error::database("disabling triggers"))?;
    }
    Ok(Reactions(reactions))
}

impl Reactions {
    /// Enables them as they were. What is deferred is checked first: a table with pending events cannot be
    /// altered.
    pub(super) async fn enable(self, tx: &mut PgConnection) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let enable = self.0.into_iter().map(|reaction| reaction.enable);
        for statement in std::iter::once("SET CONSTRAINTS ALL IMMEDIATE".to_owned()).chain(enable) {
            execute_raw(tx, statement)
                .await
                .map_err(Error::database("enabling triggers"))?;
        }
        Ok(())
    }
}

async fn reactions(tx: &mut PgConnection, tables: &[&str], by: By) -> Result<Vec<Reaction>> {
    let failed = || Error::database("reading triggers and rules");
    let rows = sqlx::query(
        "-- triggers and rules of tables and their partitions that fire
        SELECT format('ALTER TABLE ONLY %I.%I DISABLE %s %I', n.nspname, c.relname, r.kind, r.name)
                   AS disable,
               format('ALTER TABLE ONLY %I.%I ENABLE %s%s %I', n.nspname, c.relname,
                      CASE r.enabled WHEN 'A' THEN 'ALWAYS ' ELSE '' END,
                      r.kind, r.name) AS enable
        FROM (
            SELECT tgrelid AS relation, 'TRIGGER' AS kind, tgname AS name, tgenabled AS enabled,
                   tgtype::integer AS events
            FROM pg_trigger WHERE NOT tgisinternal
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
    .persistent(false)
    .fetch_all(tx)
    .await
    .map_err(failed())?;
    rows.iter()
        .map(|row| {
            Ok(Reaction {
                disable: row.try_get("disable")?,
                enable: row.try_get("enable")?,
            })
        })
        .collect::<sqlx::Result<_>>()
        .map_err(failed())
}
