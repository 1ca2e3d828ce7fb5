//! What else goes on: other sessions, long transactions, prepared transactions, replication, other
//! runs.

use sqlx::Row;
use upshift_shared::{
    ledger::{self, run::RunState},
    pg::PgConnection,
};

use super::{Finding, or_hidden};
use crate::coordination;

/// Replication that is this far behind holds back WAL, and may fill the disk.
const LAG_BYTES: i64 = 1 << 30;

pub(super) async fn examine(conn: &mut PgConnection) -> Vec<Finding> {
    vec![
        sessions(conn).await,
        transactions(conn).await,
        prepared(conn).await,
        slots(conn).await,
        publications(conn).await,
        runs(conn).await,
    ]
}

async fn sessions(conn: &mut PgConnection) -> Finding {
    let check = "other sessions";
    let query = sqlx::query(
        "-- upshift: doctor: sessions
         SELECT count(*) AS sessions,
                coalesce((array_agg(DISTINCT coalesce(nullif(application_name, ''), usename::text, '?')
                ))[1:5], '{}') AS names
           FROM pg_catalog.pg_stat_activity
          WHERE datname = current_database() AND pid <> pg_catalog.pg_backend_pid()
            AND backend_type = 'client backend'",
    );
    let found = query.fetch_one(conn).await.and_then(|row| {
        let number: i64 = row.try_get("sessions")?;
        let names: Vec<String> = row.try_get("names")?;
        Ok(if number == 0 {
            Finding::ok(check, "none")
        } else {
            Finding::warn(
                check,
                format!("{number} in this database ({})", names.join(", ")),
                "stop the application while its schema changes, or be sure that it bears with it",
            )
        })
    });
    or_hidden(check, found)
}

async fn transactions(conn: &mut PgConnection) -> Finding {
    let check = "long transactions";
    let query = sqlx::query(
        "-- upshift: doctor: long transactions
         SELECT coalesce(array_agg(format('process %s for %s', pid,
                    date_trunc('second', clock_timestamp() - xact_start)) ORDER BY xact_start), '{}')
                AS found
           FROM pg_catalog.pg_stat_activity
          WHERE datname = current_database() AND pid <> pg_catalog.pg_backend_pid()
            AND xact_start < clock_timestamp() - interval '1 minute'",
    );
    let found = query.fetch_one(conn).await.and_then(|row| {
        let found: Vec<String> = row.try_get("found")?;
        Ok(if found.is_empty() {
            Finding::ok(check, "none over a minute")
        } else {
            Finding::warn(
                check,
                found.join("; "),
                "DDL waits for their locks and gives up: let them end, or end them with SELECT \
                 pg_terminate_backend(process)",
            )
        })
    });
    or_hidden(check, found)
}

async fn prepared(conn: &mut PgConnection) -> Finding {
    let check = "prepared transactions";
    let query = sqlx::query(
        "-- upshift: doctor: prepared transactions
         SELECT coalesce(array_agg(format('%L since %s', gid, prepared::timestamptz(0))
                ORDER BY prepared), '{}') AS found
           FROM pg_catalog.pg_prepared_xacts WHERE database = current_database()",
    );
    let found = query.fetch_one(conn).await.and_then(|row| {
        let found: Vec<String> = row.try_get("found")?;
        Ok(if found.is_empty() {
            Finding::ok(check, "none")
        } else {
            Finding::problem(
                check,
                found.join("; "),
                "they hold locks until COMMIT PREPARED or ROLLBACK PREPARED says what becomes of them; \
                 one that begins with upshift_ belongs to a group: upshift resume or rollback with \
                 --group ends it, as it is decided",
            )
        })
    });
    or_hidden(check, found)
}

async fn slots(conn: &mut PgConnection) -> Finding {
    let check = "replication";
    let query = sqlx::query(
        "-- upshift: doctor: replication slots
         SELECT slot_name::text AS name, active,
                CASE WHEN pg_catalog.pg_is_in_recovery() THEN 0
                     ELSE coalesce(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(),
                                                              restart_lsn), 0) END::bigint AS behind
           FROM pg_catalog.pg_replication_slots ORDER BY slot_name",
    );
    let found = query.fetch_all(conn).await.and_then(|rows| {
        let mut bad = Vec::new();
        for row in &rows {
            let (name, active): (String, bool) = (row.try_get("name")?, row.try_get("active")?);
            let behind: i64 = row.try_get("behind")?;
            if !active || behind > LAG_BYTES {
                let how = if active { "active" } else { "not active" };
                bad.push(format!("slot {name} is {how} and {} MB behind", behind >> 20));
            }
        }
        Ok(if bad.is_empty() {
            Finding::ok(check, format!("{} slots, none of them behind", rows.len()))
        } else {
            Finding::warn(
                check,
                bad.join("; "),
                "the server keeps WAL for it, and an upgrade writes much: let it catch up, or drop it",
            )
        })
    });
    or_hidden(check, found)
}

async fn publications(conn: &mut PgConnection) -> Finding {
    let check = "logical replication";
    let query = sqlx::query(
        "-- upshift: doctor: publications
         SELECT coalesce(array_agg(pubname::text ORDER BY pubname), '{}') AS names
           FROM pg_catalog.pg_publication",
    );
    let found = query.fetch_one(conn).await.and_then(|row| {
        let names: Vec<String> = row.try_get("names")?;
        Ok(if names.is_empty() {
            Finding::ok(check, "nothing is published")
        } else {
            Finding::warn(
                check,
                format!("published by {}", names.join(", ")),
                "subscribers do not follow DDL: stop them and set them up anew afterwards",
            )
        })
    });
    or_hidden(check, found)
}

async fn runs(conn: &mut PgConnection) -> Finding {
    let check = "runs";
    match unfinished(conn).await {
        Ok(None) => Finding::ok(check, "none is unfinished"),
        Ok(Some(found)) => Finding::warn(check, found, "see upshift status"),
        Err(error) => Finding::problem(check, error.to_string(), "see upshift status"),
    }
}

async fn unfinished(conn: &mut PgConnection) -> upshift_shared::Result<Option<String>> {
    if !ledger::exists(conn).await? {
        return Ok(None);
    }
    let holder = coordination::database_lock_holder(conn).await?;
    let by = holder.map_or_else(String::new, |by| format!(", driven by {by}"));
    let rows = ledger::run::list(conn).await?;
    let open = rows.into_iter().find(|row| match row.state {
        RunState::RolledBack => row.rollback_to.is_some(),
        state => !state.is_final(),
    });
    Ok(open.map(|row| format!("run {} of pack {} is {}{by}", row.run, row.pack, row.state)))
}
